//===- Failure.h - What goes wrong behind the C interface -------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_EMBED_FAILURE_H
#define LUMEN_RUNTIME_EMBED_FAILURE_H

#include "runtime/embed/lumen.h"

#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <utility>

namespace mlir::lumen {

/// An error on its way to the caller of the C interface.
struct Failure {
  lumen_status status;
  std::string text;
};

/// Raises a `Failure` with a text as of printf.
[[noreturn]] __attribute__((format(printf, 2, 3))) void
fail(lumen_status status, const char *format, ...);

/// Text from a file as messages show it: control characters made visible, and
/// not too much of it.
std::string shown(const std::string &text);

/// Runs what is behind a function of the C interface: no exception leaves it.
template <typename Body>
int guarded(char *error, size_t errorSize, Body body) noexcept {
  auto report = [&](lumen_status status, const char *text) {
    if (error && errorSize)
      std::snprintf(error, errorSize, "%s", text);
    return int(status);
  };
  try {
    body();
    return report(LUMEN_OK, "");
  } catch (const Failure &failure) {
    return report(failure.status, failure.text.c_str());
  } catch (const std::bad_alloc &) {
    return report(LUMEN_ERROR_MEMORY, "there is not enough memory");
  } catch (const std::exception &failure) {
    // What is left of the standard library: threads that cannot be started.
    return report(LUMEN_ERROR_MEMORY, failure.what());
  }
}

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_EMBED_FAILURE_H

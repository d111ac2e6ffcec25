//===- Failure.cpp - What goes wrong behind the C interface ---------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/embed/Failure.h"

#include <cstdarg>

using namespace mlir::lumen;

void mlir::lumen::fail(lumen_status status, const char *format, ...) {
  char text[LUMEN_ERROR_SIZE];
  va_list values;
  va_start(values, format);
  std::vsnprintf(text, sizeof(text), format, values);
  va_end(values);
  throw Failure{status, text};
}

std::string mlir::lumen::shown(const std::string &text) {
  constexpr size_t most = 80;
  std::string result;
  for (unsigned char byte : text.substr(0, most)) {
    if (byte >= 0x20 && byte < 0x7f) {
      result += char(byte);
      continue;
    }
    char escaped[8];
    std::snprintf(escaped, sizeof(escaped), "\\x%02x", byte);
    result += escaped;
  }
  return text.size() > most ? result + "..." : result;
}

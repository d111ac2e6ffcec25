//===- Failure.h - What ends a call with an error ------------- -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_TOKENIZER_FAILURE_H
#define LUMEN_RUNTIME_TOKENIZER_FAILURE_H

#include <string>
#include <utility>

namespace lumen::tokenizer {

/// Thrown inside, and caught where C calls. The numbers are those of
/// lumen_status (lumen.h).
struct Failure {
  enum Status { Argument = 1, File = 2, Damaged = 3, Version = 4, Memory = 7 };

  Failure(Status status, std::string text)
      : status(status), text(std::move(text)) {}

  Status status;
  std::string text;
};

} // namespace lumen::tokenizer

#endif // LUMEN_RUNTIME_TOKENIZER_FAILURE_H

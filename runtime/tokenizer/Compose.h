//===- Compose.h - Unicode's normal form C -------------------- -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_TOKENIZER_COMPOSE_H
#define LUMEN_RUNTIME_TOKENIZER_COMPOSE_H

#include "runtime/tokenizer/File.h"

#include <string>

namespace mlir::lumen::tokenizer {

/// `text` in normal form C, by the data of the file.
std::u32string compose(const File &file, std::u32string_view text);

} // namespace mlir::lumen::tokenizer

#endif // LUMEN_RUNTIME_TOKENIZER_COMPOSE_H

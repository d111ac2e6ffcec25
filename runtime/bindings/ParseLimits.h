//===- ParseLimits.h - How deep and large text may be -----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// MLIR's parser and printer are recursive, and print an attribute again
// wherever it is part of another one.
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_BINDINGS_PARSELIMITS_H
#define LUMEN_RUNTIME_BINDINGS_PARSELIMITS_H

#include "llvm/ADT/StringRef.h"

#include <string>

namespace mlir {
class Operation;
} // namespace mlir

namespace mlir::lumen::python {

/// What is wrong with the nesting of brackets in MLIR's text, or nothing.
std::string checkNesting(llvm::StringRef text);

/// What is wrong with the types and attributes of `op` and all inside, or
/// nothing: few lines of aliases can stand for more text than there is memory.
std::string checkExpansion(Operation *op);

} // namespace mlir::lumen::python

#endif // LUMEN_RUNTIME_BINDINGS_PARSELIMITS_H

// SPDX-License-Identifier: Apache-2.0
//
// The table of x86's instructions that Lumen uses by name.
#ifndef LUMEN_PASSES_TARGET_X86_INSTRUCTIONS_H
#define LUMEN_PASSES_TARGET_X86_INSTRUCTIONS_H

#include "dialect/LumenDialect.h"

namespace mlir::lumen::x86 {

/// LLVM's intrinsic that computes `dot`; empty where there is none.
StringRef findDot(DotAttr dot);

/// Intrinsics on vectors of bytes; empty where there is none.
struct ByteInstructions {
  /// Shuffle inside 128-bit lanes.
  StringRef shuffle;
  /// The first operand, negated where the second is negative.
  StringRef negate;
};
ByteInstructions findBytes(int64_t vectorBits);

} // namespace mlir::lumen::x86

#endif // LUMEN_PASSES_TARGET_X86_INSTRUCTIONS_H

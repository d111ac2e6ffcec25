// SPDX-License-Identifier: Apache-2.0
//
// The table of x86's instructions that Lumen uses by name.
#ifndef LUMEN_PASSES_TARGET_X86_INSTRUCTIONS_H
#define LUMEN_PASSES_TARGET_X86_INSTRUCTIONS_H

#include "dialect/LumenDialect.h"

namespace mlir::lumen::x86 {

/// LLVM's intrinsic that computes `dot`; empty where there is none.
StringRef findDot(DotAttr dot);

/// The one that adds products of pairs of bf16 to f32; empty where the target
/// has none.
StringRef findBf16Dot(TargetAttr target);

/// Intrinsics on vectors of bytes; empty where there is none.
struct ByteInstructions {
  /// Shuffle inside 128-bit lanes.
  StringRef shuffle;
  /// The first operand, negated where the second is negative.
  StringRef negate;
};
ByteInstructions findBytes(int64_t vectorBits);

/// The intrinsic that multiplies matrices of this shape in tiles, of which the
/// processor is told the sizes; empty where there is none, or the target has no
/// tiles. It takes the tokens, the bytes of a row of sums and of codes, the
/// sums and the codes.
StringRef findMma(TargetAttr target, DotAttr shape);

/// What fills a tile and stores it: of so many rows and bytes of a row, in
/// memory at an address, each row so many bytes behind the one before.
inline constexpr StringLiteral kTileZero = "llvm.x86.tilezero.internal";
inline constexpr StringLiteral kTileLoad = "llvm.x86.tileloadd64.internal";
inline constexpr StringLiteral kTileStore = "llvm.x86.tilestored64.internal";

} // namespace mlir::lumen::x86

#endif // LUMEN_PASSES_TARGET_X86_INSTRUCTIONS_H

// SPDX-License-Identifier: Apache-2.0
//
// AArch64's instructions that Lumen uses by name.
#ifndef LUMEN_PASSES_TARGET_ARM_INSTRUCTIONS_H
#define LUMEN_PASSES_TARGET_ARM_INSTRUCTIONS_H

#include "dialect/LumenDialect.h"

namespace mlir::lumen::arm {

/// Bytes of a vector register.
inline constexpr int64_t kBytes = 16;

// LLVM's intrinsics. The sums of dot products come first.
/// Signed bytes, four to a sum of 32 bits.
inline constexpr StringLiteral kSdot = "llvm.aarch64.neon.sdot.v4i32.v16i8";
/// Unsigned bytes and signed ones.
inline constexpr StringLiteral kUsdot = "llvm.aarch64.neon.usdot.v4i32.v16i8";
/// Signed bytes, each product 16 bits.
inline constexpr StringLiteral kSmull = "llvm.aarch64.neon.smull.v8i16";
/// Pairs of bf16, added to f32.
inline constexpr StringLiteral kBfdot = "llvm.aarch64.neon.bfdot.v4f32.v8bf16";
/// Sums of pairs of neighbours: of the lanes of two vectors, and of one vector
/// as lanes of twice the width.
inline constexpr StringLiteral kAddp16 = "llvm.aarch64.neon.addp.v8i16";
inline constexpr StringLiteral kAddp32 = "llvm.aarch64.neon.addp.v4i32";
inline constexpr StringLiteral kSaddlp = "llvm.aarch64.neon.saddlp.v4i32.v8i16";
/// The bytes of a table of 16 at indices; 0 for indices behind its end.
inline constexpr StringLiteral kTbl = "llvm.aarch64.neon.tbl1.v16i8";

/// Bytes of the second vector, shifted to the left or right, inserted into
/// those of the first, which keep the bits below or above.
inline constexpr StringLiteral kSli = "llvm.aarch64.neon.vsli.v16i8";
inline constexpr StringLiteral kSri = "llvm.aarch64.neon.vsri.v16i8";

/// How a target multiplies 8-bit codes.
enum class DotForm {
  /// By arithmetic that LLVM finds instructions for.
  None,
  /// smull and smlal: products are added up in 16 bits, then in 32.
  Products,
  /// sdot or usdot
  Dots,
};

/// Empty where no instruction computes the target's `dot`.
std::optional<DotForm> findDot(TargetAttr target);

/// The instruction that multiplies matrices of this shape; empty where there is
/// none, or the target lacks it. With m = 1 that is a dot product, which takes
/// the codes of the rows before those of the token.
StringRef findMma(TargetAttr target, DotAttr shape);

/// Whether the target has usdot.
bool hasUsdot(TargetAttr target);

} // namespace mlir::lumen::arm

#endif // LUMEN_PASSES_TARGET_ARM_INSTRUCTIONS_H

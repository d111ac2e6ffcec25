// SPDX-License-Identifier: Apache-2.0
#include "passes/target/x86/Instructions.h"

#include "dialect/layout/FormatLayout.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {
/// All have one row of signed activations.
struct Dot {
  int64_t n, k;
  /// Of the codes, which are unsigned where they have 8 bits.
  unsigned bits;
  unsigned accBits;
  bool accumulates;
  StringRef intrinsic;
};
} // namespace

static constexpr Dot kDots[] = {
    // Four bytes to 32 bits.
    {16, 4, 8, 32, true, "llvm.x86.avx512.vpdpbusd.512"},
    {8, 4, 8, 32, true, "llvm.x86.avx512.vpdpbusd.256"},
    // Two bytes to 16 bits, which saturate.
    {32, 2, 8, 16, false, "llvm.x86.avx512.pmaddubs.w.512"},
    {16, 2, 8, 16, false, "llvm.x86.avx2.pmadd.ub.sw"},
    {8, 2, 8, 16, false, "llvm.x86.ssse3.pmadd.ub.sw.128"},
    // Two times 16 bits to 32.
    {16, 2, 16, 32, true, "llvm.x86.avx512.vpdpwssd.512"},
    {8, 2, 16, 32, true, "llvm.x86.avx512.vpdpwssd.256"},
    {16, 2, 16, 32, false, "llvm.x86.avx512.pmaddw.d.512"},
    {8, 2, 16, 32, false, "llvm.x86.avx2.pmadd.wd"},
    {4, 2, 16, 32, false, "llvm.x86.sse2.pmadd.wd"},
};

StringRef x86::findDot(DotAttr dot) {
  if (dot.getM() != 1 || !dot.getLhs().isSigned())
    return {};
  for (const Dot &row : kDots)
    if (row.n == dot.getN() && row.k == dot.getK() &&
        row.bits == dot.getRhs().getWidth() &&
        (row.bits == 8) == dot.getRhs().isUnsigned() &&
        row.accBits == dot.getAcc().getWidth() &&
        row.accumulates == dot.getAccumulates())
      return row.intrinsic;
  return {};
}

StringRef x86::findBf16Dot(TargetAttr target) {
  if (!target.getBf16Dot() || !target.hasFeature("avx512bf16"))
    return {};
  switch (target.getVectorBits()) {
  case 512:
    return "llvm.x86.avx512bf16.dpbf16ps.512";
  case 256:
    return "llvm.x86.avx512bf16.dpbf16ps.256";
  case 128:
    return "llvm.x86.avx512bf16.dpbf16ps.128";
  default:
    return {};
  }
}

x86::ByteInstructions x86::findBytes(int64_t vectorBits) {
  switch (vectorBits) {
  case 512:
    return {"llvm.x86.avx512.pshuf.b.512", ""};
  case 256:
    return {"llvm.x86.avx2.pshuf.b", "llvm.x86.avx2.psign.b"};
  case 128:
    return {"llvm.x86.ssse3.pshuf.b.128", "llvm.x86.ssse3.psign.b.128"};
  default:
    return {};
  }
}

StringRef x86::findMma(TargetAttr target, DotAttr shape) {
  SmallVector<StringRef> features;
  target.getFeatures().split(features, ',');
  // A tile has up to 16 rows of 64 bytes.
  constexpr int64_t kRows = 16, kBytes = 64;
  if (!llvm::is_contained(features, "+amx-int8") ||
      shape.getStepSize() != kDotStep || shape.getM() > kRows ||
      4 * shape.getN() > kBytes || shape.getK() > kBytes)
    return {};
  bool isLhsSigned = shape.getLhs().isSigned(),
       isRhsSigned = shape.getRhs().isSigned();
  if (isLhsSigned)
    return isRhsSigned ? "llvm.x86.tdpbssd.internal"
                       : "llvm.x86.tdpbsud.internal";
  return isRhsSigned ? "llvm.x86.tdpbusd.internal"
                     : "llvm.x86.tdpbuud.internal";
}

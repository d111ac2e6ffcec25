// SPDX-License-Identifier: Apache-2.0
//
// lumen.dot2 on bf16, as the one instruction that a target has for it.
#ifndef LUMEN_PASSES_TARGET_COMMON_BF16DOT_H
#define LUMEN_PASSES_TARGET_COMMON_BF16DOT_H

#include "passes/target/common/VectorPieces.h"

#include "dialect/LumenDialect.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::lumen {

/// Becomes `intrinsic(sums, codes, x)` on vectors of `lanes` lanes of 32 bits.
/// `spreadPair` gives the pair of all lanes as such a vector.
struct LowerBf16Dot2 final : OpRewritePattern<Dot2Op> {
  using Spread = Value (*)(KernelBuilder &, Value, VectorType);

  LowerBf16Dot2(MLIRContext *context, StringRef intrinsic, int64_t lanes,
                Spread spreadPair = spread)
      : OpRewritePattern(context), intrinsic(intrinsic), lanes(lanes),
        spreadPair(spreadPair) {}

  LogicalResult matchAndRewrite(Dot2Op op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<VectorType>(op.getAcc().getType());
    if (!op.isFloat() || type.getNumElements() % lanes)
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    auto sums = VectorType::get(lanes, b.getF32Type());
    auto pairs = VectorType::get(2 * lanes, b.getBF16Type());
    bool laneWise = op.getX().getType() == op.getCodes().getType();
    Value same = laneWise ? Value() : spreadPair(b, op.getX(), pairs);
    rewriter.replaceOp(
        op, splitVector(b, type, lanes, [&](int64_t first) -> Value {
          Value codes = b.extract(op.getCodes(), 2 * first, 2 * lanes);
          Value x =
              laneWise ? b.extract(op.getX(), 2 * first, 2 * lanes) : same;
          Value acc = b.extract(op.getAcc(), first, lanes);
          return callIntrinsic(b, intrinsic, sums, {acc, codes, x});
        }));
    return success();
  }

private:
  StringRef intrinsic;
  int64_t lanes;
  Spread spreadPair;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_COMMON_BF16DOT_H

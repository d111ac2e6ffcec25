// SPDX-License-Identifier: Apache-2.0
#include "passes/Passes.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_FUSEQUANTIZEDLINEARPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// The weight as it is stored: `weight`, or what it was dequantized from.
Value getStored(Value weight) {
  auto dequantize = weight.getDefiningOp<DequantizeOp>();
  return dequantize ? dequantize.getWeight() : weight;
}

/// linear(x, w) or linear(x, dequantize(w)) -> qlinear(x, w).
struct FuseLinear : OpRewritePattern<LinearOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LinearOp op,
                                PatternRewriter &rewriter) const override {
    SmallVector<Value, 1> biases;
    if (Value bias = op.getBias())
      biases.push_back(bias);
    rewriter.replaceOpWithNewOp<QLinearOp>(
        op, op->getResultTypes(), ValueRange(op.getX()),
        ValueRange(getStored(op.getWeight())), biases, /*groups=*/Value());
    return success();
  }
};

/// expert_linear(x, w, groups), w dequantized or not -> qlinear(x, w, groups).
struct FuseExpertLinear : OpRewritePattern<ExpertLinearOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(ExpertLinearOp op,
                                PatternRewriter &rewriter) const override {
    rewriter.replaceOpWithNewOp<QLinearOp>(
        op, op->getResultTypes(), ValueRange(op.getX()),
        ValueRange(getStored(op.getWeight())), /*biases=*/ValueRange(),
        op.getGroups());
    return success();
  }
};

struct FuseQuantizedLinearPass
    : lumen::impl::FuseQuantizedLinearPassBase<FuseQuantizedLinearPass> {
  using FuseQuantizedLinearPassBase::FuseQuantizedLinearPassBase;

  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseLinear, FuseExpertLinear>(&getContext());
    EmbeddingOp::getCanonicalizationPatterns(patterns, &getContext());
    FrozenRewritePatternSet frozen(std::move(patterns));
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (failed(applyPatternsGreedily(function, frozen)))
        return signalPassFailure();
  }
};

} // namespace

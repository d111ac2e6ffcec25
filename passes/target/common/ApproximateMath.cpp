// SPDX-License-Identifier: Apache-2.0
//
// Replaces functions that LLVM would call a library for by arithmetic.
#include "passes/Passes.h"

#include "dialect/LumenDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_APPROXIMATEMATHPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// math.fma must round once, which without the instruction is a call per
/// element. These fuse where the target can and round twice where it cannot.
struct RelaxFma : OpRewritePattern<math::FmaOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(math::FmaOp op,
                                PatternRewriter &rewriter) const override {
    if (isa<ShapedType>(op.getType()) && !isa<VectorType>(op.getType()))
      return failure();
    if (isa<VectorType>(op.getType()))
      rewriter.replaceOpWithNewOp<vector::FMAOp>(op, op.getA(), op.getB(),
                                                 op.getC());
    else
      rewriter.replaceOpWithNewOp<LLVM::FMulAddOp>(op, op.getType(), op.getA(),
                                                   op.getB(), op.getC());
    return success();
  }
};

struct ApproximateMathPass final
    : lumen::impl::ApproximateMathPassBase<ApproximateMathPass> {
  using ApproximateMathPassBase::ApproximateMathPassBase;

  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    populateMathPolynomialApproximationPatterns(patterns, [](StringRef name) {
      return name == math::ExpOp::getOperationName();
    });
    TargetAttr target = TargetAttr::lookup(getOperation());
    // (Shaders have the instruction.)
    if (!target || target.getArchitecture() != llvm::Triple::spirv64)
      patterns.add<RelaxFma>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace

// SPDX-License-Identifier: Apache-2.0
//
// Turns the ops of linalg in kernels of tensors into loops of vectors.
#include "passes/Passes.h"
#include "passes/check/KernelContract.h"
#include "passes/vectorize/LinalgEmitter.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_VECTORIZETENSORSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Floats of 16 bits are computed in 32, and rounded behind every op.
constexpr StringLiteral kWidenFloats =
    "func.func(math-extend-to-supported-types{target-type=f32},"
    "arith-emulate-unsupported-floats{source-types=f16,bf16 target-type=f32})";

/// What passes behind this one know, or patterns of this one.
bool isKnown(StringRef name) {
  return name == math::ExpOp::getOperationName() ||
         name == math::FmaOp::getOperationName() ||
         name == math::RsqrtOp::getOperationName();
}

/// `value`, in every lane of `type`.
Value createConstant(PatternRewriter &rewriter, Location loc, Type type,
                     double value) {
  TypedAttr attr = rewriter.getFloatAttr(getElementTypeOrSelf(type), value);
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return arith::ConstantOp::create(rewriter, loc, attr);
}

/// One over the root, which every target computes exactly.
struct ExpandRsqrt : OpRewritePattern<math::RsqrtOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(math::RsqrtOp op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Value root = math::SqrtOp::create(rewriter, loc, op.getOperand());
    rewriter.replaceOpWithNewOp<arith::DivFOp>(
        op, createConstant(rewriter, loc, op.getType(), 1.0), root);
    return success();
  }
};

/// The natural logarithm has a polynomial.
struct ExpandLog10 : OpRewritePattern<math::Log10Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(math::Log10Op op,
                                PatternRewriter &rewriter) const override {
    constexpr double kLog10OfE = 0.43429448190325182765;
    Location loc = op.getLoc();
    Value natural = math::LogOp::create(rewriter, loc, op.getOperand());
    rewriter.replaceOpWithNewOp<arith::MulFOp>(
        op, natural, createConstant(rewriter, loc, op.getType(), kLog10OfE));
    return success();
  }
};

/// The larger (or smaller) of two numbers, or the one that is no NaN: some
/// targets would call a function for it.
template <typename Op, arith::CmpFPredicate better>
struct ExpandChoice : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;

  LogicalResult matchAndRewrite(Op op,
                                PatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Value lhs = op.getLhs(), rhs = op.getRhs();
    Value isBetter = arith::CmpFOp::create(rewriter, loc, better, lhs, rhs);
    Value chosen = arith::SelectOp::create(rewriter, loc, isBetter, lhs, rhs);
    Value isNan = arith::CmpFOp::create(rewriter, loc,
                                        arith::CmpFPredicate::UNO, rhs, rhs);
    rewriter.replaceOpWithNewOp<arith::SelectOp>(op, isNan, lhs, chosen);
    return success();
  }
};

struct VectorizeTensorsPass final
    : lumen::impl::VectorizeTensorsPassBase<VectorizeTensorsPass> {
  using VectorizeTensorsPassBase::VectorizeTensorsPassBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    VectorizeTensorsPassBase::getDependentDialects(registry);
    if (FailureOr<OpPassManager> widen = parsePassPipeline(kWidenFloats);
        succeeded(widen))
      widen->getDependentDialects(registry);
  }

  void runOnOperation() override {
    SmallVector<func::FuncOp> kernels =
        getKernels(getOperation(), KernelKind::Tensor);
    for (func::FuncOp kernel : kernels)
      if (failed(widenFloats(kernel)) || failed(vectorize(kernel)) ||
          failed(approximate(kernel)))
        return signalPassFailure();
  }

private:
  LogicalResult widenFloats(func::FuncOp kernel) {
    FailureOr<OpPassManager> widen = parsePassPipeline(kWidenFloats);
    return failed(widen) ? failure() : runPipeline(*widen, kernel);
  }
  LogicalResult vectorize(func::FuncOp kernel);
  LogicalResult approximate(func::FuncOp kernel);
};

LogicalResult VectorizeTensorsPass::vectorize(func::FuncOp kernel) {
  TargetAttr target = TargetAttr::lookup(kernel);
  // (A thread of a GPU works on single registers.)
  int64_t bits = !target             ? 128
                 : target.hasWarps() ? 128
                                     : target.getVectorBits();
  SmallVector<linalg::LinalgOp> ops;
  kernel.walk([&](linalg::LinalgOp op) { ops.push_back(op); });
  for (linalg::LinalgOp op : ops) {
    if (!op.hasPureBufferSemantics())
      return op->emitOpError("works on tensors, which have no buffers");
    LinalgEmitter(op, bits).emit();
    op->erase();
  }
  return success();
}

LogicalResult VectorizeTensorsPass::approximate(func::FuncOp kernel) {
  RewritePatternSet patterns(&getContext());
  populateMathF32ExpansionPatterns(
      patterns, [](StringRef name) { return !isKnown(name); });
  populateMathPolynomialApproximationPatterns(
      patterns, [](StringRef name) { return !isKnown(name); });
  math::populateExpansionPatterns(
      patterns, {"sinh", "cosh", "tan", "asinh", "acosh", "atanh", "powf",
                 "fpowi", "exp2", "round", "roundeven", "clampf"});
  patterns.add<ExpandRsqrt, ExpandLog10,
               ExpandChoice<arith::MaxNumFOp, arith::CmpFPredicate::OGT>,
               ExpandChoice<arith::MinNumFOp, arith::CmpFPredicate::OLT>>(
      &getContext());
  arith::populateCeilFloorDivExpandOpsPatterns(patterns);
  arith::populateExpandBFloat16Patterns(patterns);
  return applyPatternsGreedily(kernel, std::move(patterns));
}

} // namespace

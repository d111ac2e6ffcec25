// SPDX-License-Identifier: Apache-2.0
#include "passes/Passes.h"
#include "passes/support/ProductBody.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_RAISELINALGPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// The two loops over which a matrix is read, in the order of its dimensions.
using Loops = std::pair<unsigned, unsigned>;

std::optional<Loops> loopsOf(AffineMap map) {
  if (map.getNumResults() != 2 || map.getNumSymbols() != 0 ||
      !map.isProjectedPermutation())
    return std::nullopt;
  return Loops(map.getDimPosition(0), map.getDimPosition(1));
}

/// The dequantized weight behind transpositions, and whether their number is
/// odd. (Other matrices have no packed layout.)
std::pair<Value, bool> findWeight(Value value) {
  bool transposed = false;
  while (auto op = value.getDefiningOp<linalg::TransposeOp>()) {
    if (op.getPermutation() != ArrayRef<int64_t>{1, 0})
      return {};
    transposed = !transposed;
    value = op.getInput();
  }
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!type || type.getRank() != 2 || !type.hasStaticShape())
    return {};
  if (!value.getDefiningOp<DequantizeOp>())
    return {};
  return {value, transposed};
}

bool isRows(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() == 2 && !type.getEncoding() &&
         !type.isDynamicDim(1) && type.getElementType().isF32();
}

bool isZero(Value value) {
  if (auto fill = value.getDefiningOp<linalg::FillOp>())
    value = fill.getInputs().front();
  return matchPattern(value, m_AnyZeroFloat());
}

/// out[m, n] + sum_k x[m, k] weight[n, k], in any form that linalg has for it
/// -> lumen.linear, and lumen.add where `out` is not zero.
struct RaiseProduct : OpInterfaceRewritePattern<linalg::LinalgOp> {
  using OpInterfaceRewritePattern::OpInterfaceRewritePattern;

  LogicalResult matchAndRewrite(linalg::LinalgOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.hasPureTensorSemantics() || op.getNumDpsInputs() != 2 ||
        op.getNumDpsInits() != 1 || op.getNumLoops() != 3 ||
        op.getNumReductionLoops() != 1 || !isProductBody(op))
      return failure();
    // The right factor first: that is where a weight stands in most texts.
    for (unsigned i : {1u, 0u})
      if (succeeded(raise(op, i, rewriter)))
        return success();
    return failure();
  }

private:
  LogicalResult raise(linalg::LinalgOp op, unsigned index,
                      PatternRewriter &rewriter) const {
    OpOperand *out = op.getDpsInitOperand(0);
    OpOperand *x = op.getDpsInputOperand(1 - index);
    auto [weight, transposed] = findWeight(op.getDpsInputOperand(index)->get());
    if (!weight || !isRows(x->get()) || !isRows(out->get()))
      return failure();
    auto ofOut = loopsOf(op.getMatchingIndexingMap(out));
    auto ofX = loopsOf(op.getMatchingIndexingMap(x));
    auto ofWeight =
        loopsOf(op.getMatchingIndexingMap(op.getDpsInputOperand(index)));
    if (!ofOut || !ofX || !ofWeight)
      return failure();
    if (transposed)
      std::swap(ofWeight->first, ofWeight->second);
    auto [m, n] = *ofOut;
    unsigned k = ofX->second;
    if (op.getIteratorTypesArray()[k] != utils::IteratorType::reduction ||
        ofX->first != m || *ofWeight != Loops(n, k))
      return failure();
    auto type = cast<RankedTensorType>(out->get().getType());
    auto xType = cast<RankedTensorType>(x->get().getType());
    auto weightType = cast<RankedTensorType>(weight.getType());
    if (type.getDimSize(0) != xType.getDimSize(0) ||
        type.getDimSize(1) != weightType.getDimSize(0) ||
        xType.getDimSize(1) != weightType.getDimSize(1))
      return failure();
    Value product = LinearOp::create(rewriter, op.getLoc(), type, x->get(),
                                     weight, /*bias=*/Value());
    if (!isZero(out->get()))
      product = AddOp::create(rewriter, op.getLoc(), type, out->get(), product);
    rewriter.replaceOp(op, product);
    return success();
  }
};

/// linalg.add and linalg.mul of rows -> lumen.add and lumen.mul.
template <typename From, typename To>
struct RaiseBinary : OpRewritePattern<From> {
  using OpRewritePattern<From>::OpRewritePattern;

  LogicalResult matchAndRewrite(From op,
                                PatternRewriter &rewriter) const override {
    if (!op.hasPureTensorSemantics() || op.hasUserDefinedMaps())
      return failure();
    Value lhs = op.getInputs()[0], rhs = op.getInputs()[1];
    Type type = op->getResult(0).getType();
    if (!isRows(op->getResult(0)) || lhs.getType() != type ||
        rhs.getType() != type)
      return failure();
    rewriter.replaceOpWithNewOp<To>(op, type, lhs, rhs);
    return success();
  }
};

struct RaiseLinalgPass : lumen::impl::RaiseLinalgPassBase<RaiseLinalgPass> {
  using RaiseLinalgPassBase::RaiseLinalgPassBase;

  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<RaiseProduct, RaiseBinary<linalg::AddOp, lumen::AddOp>,
                 RaiseBinary<linalg::MulOp, lumen::MulOp>>(&getContext());
    FrozenRewritePatternSet frozen(std::move(patterns));
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      // Functions of lumen ops alone stay as they are, constants included.
      bool hasLinalg =
          function
              .walk([](linalg::LinalgOp) { return WalkResult::interrupt(); })
              .wasInterrupted();
      if (hasLinalg && failed(applyPatternsGreedily(function, frozen)))
        return signalPassFailure();
    }
  }
};

} // namespace

// SPDX-License-Identifier: Apache-2.0
#include "passes/Passes.h"
#include "passes/fuse/TensorOps.h"
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

/// The loops over which a tensor is read, in the order of its dimensions.
std::optional<SmallVector<unsigned>> loopsOf(AffineMap map) {
  if (map.getNumSymbols() != 0 || !map.isProjectedPermutation())
    return std::nullopt;
  SmallVector<unsigned> loops;
  for (unsigned i = 0; i < map.getNumResults(); ++i)
    loops.push_back(map.getDimPosition(i));
  return loops;
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

/// Whether the dimensions of a tensor but the last one can be seen as rows.
bool hasRows(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!type || type.getRank() == 0 || type.getEncoding() ||
      !type.getElementType().isF32() ||
      ShapedType::isDynamic(type.getShape().back()))
    return false;
  return type.getNumDynamicDims() <= 1;
}

/// The dimensions that become rows, and the last one.
SmallVector<ReassociationIndices> groupRows(int64_t rank) {
  return {llvm::to_vector<2>(llvm::seq<int64_t>(0, rank - 1)), {rank - 1}};
}

/// A tensor as rows: one where it has a single dimension.
Value toRows(OpBuilder &b, Location loc, Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  int64_t rank = type.getRank(), columns = type.getShape().back();
  if (rank == 2)
    return value;
  if (rank == 1)
    return tensor::ExpandShapeOp::create(
        b, loc, RankedTensorType::get({1, columns}, type.getElementType()),
        value, SmallVector<ReassociationIndices>{{0, 1}});
  return tensor::CollapseShapeOp::create(b, loc, value, groupRows(rank));
}

/// Rows in the form of `like`.
Value fromRows(OpBuilder &b, Location loc, Value rows, Value like) {
  auto type = cast<RankedTensorType>(like.getType());
  if (type.getRank() == 2)
    return rows;
  if (type.getRank() == 1)
    return tensor::CollapseShapeOp::create(
        b, loc, rows, SmallVector<ReassociationIndices>{{0, 1}});
  return tensor::ExpandShapeOp::create(b, loc, type, rows,
                                       groupRows(type.getRank()),
                                       tensor::getMixedSizes(b, loc, like));
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
        op.getNumDpsInits() != 1 || op.getNumReductionLoops() != 1 ||
        !isProductBody(op))
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
    if (!weight || !hasRows(x->get()) || !hasRows(out->get()))
      return failure();
    auto ofOut = loopsOf(op.getMatchingIndexingMap(out));
    auto ofX = loopsOf(op.getMatchingIndexingMap(x));
    auto ofWeight =
        loopsOf(op.getMatchingIndexingMap(op.getDpsInputOperand(index)));
    if (!ofOut || !ofX || !ofWeight || ofWeight->size() != 2)
      return failure();
    if (transposed)
      std::swap(ofWeight->front(), ofWeight->back());
    // [rows…, n] from [rows…, k] and [n, k].
    unsigned n = ofOut->back(), k = ofX->back();
    if (op.getIteratorTypesArray()[k] != utils::IteratorType::reduction ||
        op.getNumLoops() != ofOut->size() + 1 ||
        ArrayRef(*ofOut).drop_back() != ArrayRef(*ofX).drop_back() ||
        *ofWeight != SmallVector<unsigned>{n, k})
      return failure();
    auto type = cast<RankedTensorType>(out->get().getType());
    auto xType = cast<RankedTensorType>(x->get().getType());
    auto weightType = cast<RankedTensorType>(weight.getType());
    if (type.getShape().drop_back() != xType.getShape().drop_back() ||
        type.getShape().back() != weightType.getDimSize(0) ||
        xType.getShape().back() != weightType.getDimSize(1))
      return failure();
    Location loc = op.getLoc();
    Value rows = toRows(rewriter, loc, x->get());
    auto rowsType = RankedTensorType::get(
        {cast<RankedTensorType>(rows.getType()).getDimSize(0),
         weightType.getDimSize(0)},
        type.getElementType());
    Value product = LinearOp::create(rewriter, loc, rowsType, rows, weight,
                                     /*bias=*/Value());
    if (!isZero(out->get()))
      product = AddOp::create(rewriter, loc, rowsType,
                              toRows(rewriter, loc, out->get()), product);
    product = fromRows(rewriter, loc, product, out->get());
    rewriter.replaceOp(op, product);
    return success();
  }
};

bool isLumenOp(Operation *op) {
  return op && isa_and_nonnull<LumenDialect>(op->getDialect());
}

/// linalg.add and arith.addf of rows -> lumen.add, and products alike, beside
/// ops of lumen: their kernels then compute it along. (Others are fused among
/// themselves.)
template <typename From, typename To>
struct RaiseBinary : OpRewritePattern<From> {
  using OpRewritePattern<From>::OpRewritePattern;

  LogicalResult matchAndRewrite(From op,
                                PatternRewriter &rewriter) const override {
    if constexpr (std::is_base_of_v<linalg::LinalgOp::Trait<From>, From>)
      if (!op.hasPureTensorSemantics() || op.hasUserDefinedMaps())
        return failure();
    Value lhs = op->getOperand(0), rhs = op->getOperand(1);
    bool isBeside = isLumenOp(lhs.getDefiningOp()) ||
                    isLumenOp(rhs.getDefiningOp()) ||
                    llvm::any_of(op->getUsers(), isLumenOp);
    if (!isBeside)
      return failure();
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
                 RaiseBinary<linalg::MulOp, lumen::MulOp>,
                 RaiseBinary<arith::AddFOp, lumen::AddOp>,
                 RaiseBinary<arith::MulFOp, lumen::MulOp>>(&getContext());
    FrozenRewritePatternSet frozen(std::move(patterns));
    // Functions of lumen ops alone stay as they are, constants included.
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (hasTensorOps(function) &&
          failed(applyPatternsGreedily(function, frozen)))
        return signalPassFailure();
  }
};

} // namespace

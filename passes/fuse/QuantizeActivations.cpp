// SPDX-License-Identifier: Apache-2.0
#include "dialect/layout/PackedLayout.h"
#include "passes/Passes.h"

#include "llvm/ADT/MapVector.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_QUANTIZEACTIVATIONSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

/// The codes of an activation that share a scale where it meets the weights of
/// `product`: 256 where their blocks are multiples of it, and 32 otherwise, as
/// ggml has it. In a block the sums of its groups are then added up with the
/// scales of the weights alone.
static int64_t chooseActivationGroup(QLinearOp product) {
  constexpr int64_t kBlock = 256;
  bool inBlocks = llvm::all_of(product.getWeights().getTypes(), [&](Type type) {
    auto format = lookupFormat(cast<RankedTensorType>(type), product);
    return int64_t(format.getBlock()) % kBlock == 0;
  });
  return inBlocks ? kBlock : kSpan;
}

/// An activation as products read it: the values, and the codes that share a
/// scale. Weights of other blocks read other codes, so that no result depends
/// on what else reads the same values.
using Activation = std::pair<Value, int64_t>;

/// The products of `function` that can read 8-bit activations, by activation,
/// in program order.
static llvm::MapVector<Activation, SmallVector<QLinearOp>>
collectProducts(func::FuncOp function) {
  llvm::MapVector<Activation, SmallVector<QLinearOp>> products;
  function.walk([&](QLinearOp op) {
    auto isQuantized = [](Type type) {
      return isa<QuantType>(cast<RankedTensorType>(type).getElementType());
    };
    int64_t columns = op.getColumns();
    if (!op.isInteger() &&
        llvm::all_of(op.getWeights().getTypes(), isQuantized) &&
        !ShapedType::isDynamic(columns) && columns % kSpan == 0) {
      Activation x = {op.getActivations().front(), chooseActivationGroup(op)};
      products[x].push_back(op);
    }
  });
  return products;
}

/// The smallest group of codes that shares a scale among the weights of
/// `products`. The groups of two formats always nest: they are powers of two
/// below a span.
static int64_t getSharedSumGroup(ArrayRef<QLinearOp> products) {
  int64_t sumGroup = kSpan;
  for (QLinearOp op : products)
    for (Type type : op.getWeights().getTypes())
      sumGroup = std::min(
          sumGroup,
          lookupFormat(cast<RankedTensorType>(type), op).getSumGroup());
  return sumGroup;
}

/// What sums of codes are multiplied with, so that most integer sums start from
/// the product as it is: the bias that divides those of all weights of
/// `products`, as these are packed for `target`.
static int64_t getSharedBias(ArrayRef<QLinearOp> products, TargetAttr target) {
  int64_t shared = 0;
  for (QLinearOp op : products)
    for (Type type : op.getWeights().getTypes()) {
      auto weight = cast<RankedTensorType>(type);
      PackedAttr layout =
          target ? getPackedLayout(target, weight, op) : PackedAttr();
      int64_t bias = getStoredBias(lookupFormat(weight, op), layout);
      if (!bias)
        continue;
      if (!shared || shared % bias == 0)
        shared = bias;
      else if (bias % shared)
        return -1;
    }
  return shared ? shared : -1;
}

/// Whether sums had better be pairs of 16 bits, two of which meet two minima in
/// one instruction: all weights of `products` take them, and one has minima.
static bool wantIntegerSums(ArrayRef<QLinearOp> products, int64_t group,
                            int64_t sumGroup) {
  bool found = false;
  for (QLinearOp op : products)
    for (Type type : op.getWeights().getTypes()) {
      FormatOp format = lookupFormat(cast<RankedTensorType>(type), op);
      if (!takesIntegerSums(format, group, sumGroup))
        return false;
      found |= !format.getDecoded().getMin().empty();
    }
  return found;
}

/// The products of `function` whose weights all are bf16, by activation, in
/// program order. Their rows are whole pairs.
static llvm::MapVector<Value, SmallVector<QLinearOp>>
collectBf16Products(func::FuncOp function) {
  llvm::MapVector<Value, SmallVector<QLinearOp>> products;
  function.walk([&](QLinearOp op) {
    auto isBf16 = [](Type type) { return getElementTypeOrSelf(type).isBF16(); };
    int64_t columns = op.getColumns();
    if (!op.isInteger() && !op.isBf16() &&
        llvm::all_of(op.getWeights().getTypes(), isBf16) &&
        !ShapedType::isDynamic(columns) && columns && columns % 2 == 0)
      products[op.getActivations().front()].push_back(op);
  });
  return products;
}

namespace {

struct QuantizeActivationsPass
    : lumen::impl::QuantizeActivationsPassBase<QuantizeActivationsPass> {
  using QuantizeActivationsPassBase::QuantizeActivationsPassBase;

  void runOnOperation() override {
    if (mode == ActivationMode::Exact)
      return;
    OpBuilder builder(&getContext());
    TargetAttr target = TargetAttr::lookup(getOperation());
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (target && target.getBf16Dot())
        roundActivations(function, builder);
      for (auto &[activation, products] : collectProducts(function)) {
        auto [x, group] = activation;
        // Next to its definition the codes are visible wherever x is.
        builder.setInsertionPointAfterValue(x);
        int64_t bias = getSharedBias(products, target);
        int64_t sumGroup = getSharedSumGroup(products);
        auto quantize =
            QuantizeOp::create(builder, x.getLoc(), x, group, sumGroup, bias,
                               wantIntegerSums(products, group, sumGroup));
        for (QLinearOp op : products) {
          op.getActivationsMutable().assign(quantize->getResults());
          op.setOffsetBias(bias);
        }
      }
    }
  }

private:
  static void roundActivations(func::FuncOp function, OpBuilder &builder) {
    for (auto &[x, products] : collectBf16Products(function)) {
      builder.setInsertionPointAfterValue(x);
      auto type = cast<RankedTensorType>(x.getType());
      Value rounded = ToBf16Op::create(builder, x.getLoc(),
                                       type.clone(builder.getBF16Type()), x);
      for (QLinearOp op : products)
        op.getActivationsMutable().assign(rounded);
    }
  }
};

} // namespace

// SPDX-License-Identifier: Apache-2.0
#include "passes/Passes.h"

#include "mlir/IR/Builders.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_MERGELINEARSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

/// True where `op` can move up to `place` (in the same block): what it reads
/// besides the activations is there already. That also rules out that it
/// depends on `place`.
static bool canMoveTo(QLinearOp op, QLinearOp place) {
  return llvm::all_of(op->getOperands(), [&](Value operand) {
    Operation *producer = operand.getDefiningOp();
    return !producer || producer->getBlock() != place->getBlock() ||
           producer->isBeforeInBlock(place);
  });
}

/// Quantized and float weights have kernels of different kinds.
static bool areQuantized(QLinearOp op) {
  auto type = cast<RankedTensorType>(op.getWeights().front().getType());
  return isa<QuantType>(type.getElementType());
}

/// The products of a block, divided into sets that can be one op.
static SmallVector<SmallVector<QLinearOp>> collectMergeable(Block &block) {
  SmallVector<SmallVector<QLinearOp>> sets;
  for (auto op : block.getOps<QLinearOp>()) {
    auto *set = llvm::find_if(sets, [&](ArrayRef<QLinearOp> members) {
      QLinearOp first = members.front();
      return first.getActivations() == op.getActivations() &&
             first.getBiases().empty() == op.getBiases().empty() &&
             first.getGroups() == op.getGroups() &&
             first.getOffsetBias() == op.getOffsetBias() &&
             areQuantized(first) == areQuantized(op) && canMoveTo(op, first);
    });
    if (set == sets.end())
      sets.push_back({op});
    else
      set->push_back(op);
  }
  return sets;
}

static void merge(ArrayRef<QLinearOp> members) {
  SmallVector<Value> weights, biases;
  SmallVector<Type> types;
  SmallVector<Location> locations;
  for (QLinearOp op : members) {
    llvm::append_range(weights, op.getWeights());
    llvm::append_range(biases, op.getBiases());
    llvm::append_range(types, op->getResultTypes());
    locations.push_back(op.getLoc());
  }
  QLinearOp first = members.front();
  OpBuilder builder(first);
  auto merged = QLinearOp::create(
      builder, builder.getFusedLoc(locations), types, first.getActivations(),
      weights, biases, first.getGroups(), first.getOffsetBias());
  unsigned position = 0;
  for (QLinearOp op : members) {
    unsigned count = op->getNumResults();
    op->replaceAllUsesWith(merged->getResults().slice(position, count));
    position += count;
    op->erase();
  }
}

namespace {

struct MergeLinearsPass : lumen::impl::MergeLinearsPassBase<MergeLinearsPass> {
  using MergeLinearsPassBase::MergeLinearsPassBase;

  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>())
      function.walk([](Block *block) {
        for (ArrayRef<QLinearOp> set : collectMergeable(*block))
          if (set.size() > 1)
            merge(set);
      });
  }
};

} // namespace

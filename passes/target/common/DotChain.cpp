// SPDX-License-Identifier: Apache-2.0
#include "passes/target/common/DotChain.h"

using namespace mlir;
using namespace mlir::lumen;

bool lumen::isLink(Dot4Op op) {
  if (!op->hasOneUse())
    return false;
  auto next = dyn_cast<Dot4Op>(*op->user_begin());
  return next && next.getAcc() == op.getResult() &&
         next->getBlock() == op->getBlock();
}

SmallVector<Dot4Op> lumen::collectChain(Dot4Op op) {
  SmallVector<Dot4Op> chain = {op};
  while (auto before = chain.back().getAcc().getDefiningOp<Dot4Op>()) {
    if (!isLink(before))
      break;
    chain.push_back(before);
  }
  return llvm::to_vector(llvm::reverse(chain));
}

DenseMap<Operation *, Value>
lumen::spreadActivations(KernelBuilder &b, ArrayRef<Dot4Op> chain,
                         function_ref<Value(Value)> spread) {
  OpBuilder::InsertionGuard guard(b);
  DenseMap<Operation *, Value> activations;
  for (Dot4Op step : chain) {
    b.setInsertionPoint(step);
    activations[step] = spread(step.getX());
  }
  return activations;
}

int64_t NarrowSums::getMost(Dot4Op op) const {
  int64_t largest = op.getSignedCodes() ? 128 : (1 << op.getBits()) - 1;
  return largest * 127 * products;
}

SmallVector<ArrayRef<Dot4Op>>
NarrowSums::splitRuns(ArrayRef<Dot4Op> chain) const {
  SmallVector<ArrayRef<Dot4Op>> runs;
  while (!chain.empty()) {
    size_t length = 1;
    int64_t most = getMost(chain.front());
    while (length < chain.size() && (most += getMost(chain[length])) <= limit)
      ++length;
    runs.push_back(chain.take_front(length));
    chain = chain.drop_front(length);
  }
  return runs;
}

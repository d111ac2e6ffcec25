// SPDX-License-Identifier: Apache-2.0
#include "passes/support/KernelBuffers.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"

using namespace mlir;
using namespace mlir::lumen;

bool lumen::hasTensor(TypeRange types) {
  return llvm::any_of(types, llvm::IsaPred<TensorType>);
}

bool lumen::isCache(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor &&
         (tensor.getRank() == 5 ||
          (tensor.getRank() == 4 && tensor.getElementType().isInteger(8)));
}

bool lumen::worksOnTensors(Operation *op) {
  return hasTensor(op->getOperandTypes()) || hasTensor(op->getResultTypes());
}

Value lumen::getSourceBuffer(Value tensor) {
  while (auto kernelOp = tensor.getDefiningOp<KernelOpInterface>()) {
    OpOperand *updated = kernelOp.getUpdated();
    if (!updated)
      return {};
    tensor = updated->get();
  }
  if (auto toTensor = tensor.getDefiningOp<bufferization::ToTensorOp>())
    return toTensor.getBuffer();
  if (auto fromBytes = tensor.getDefiningOp<FromBytesOp>())
    return fromBytes.getBytes();
  return {};
}

SmallVector<Value> lumen::getDestinations(Value result) {
  SmallVector<Value> destinations;
  for (Operation *user : result.getUsers())
    if (auto store = dyn_cast<bufferization::MaterializeInDestinationOp>(user))
      if (store.getSource() == result)
        destinations.push_back(store.getDest());
  return destinations;
}

void lumen::eraseTensorOps(func::FuncOp kernel) {
  for (Operation &op :
       llvm::make_early_inc_range(llvm::reverse(kernel.getBody().front())))
    if (worksOnTensors(&op))
      op.erase();
}

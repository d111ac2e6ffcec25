// SPDX-License-Identifier: Apache-2.0
#include "passes/vectorize/RegisterValues.h"

#include "passes/vectorize/GenericUnroller.h"

using namespace mlir;
using namespace mlir::lumen;

RegisterValues::RegisterValues(func::FuncOp kernel)
    : b(kernel.getLoc(), kernel.getContext()) {
  TargetAttr target = TargetAttr::lookup(kernel);
  vectorBits = target ? target.getVectorBits() : 128;
  registers = target ? target.getVectorRegisters() : 16;
}

RegisterValues::~RegisterValues() = default;

int64_t lumen::getVectorCount(ArrayRef<int64_t> shape) {
  int64_t count = 1;
  for (int64_t size : shape.drop_back())
    count *= size;
  return count;
}

const RegisterTile *RegisterValues::findTile(Value tensor) {
  if (auto unroller = deferred.find(tensor); unroller != deferred.end())
    return &unroller->second->getResult();
  auto tile = tiles.find(tensor);
  return tile == tiles.end() ? nullptr : &tile->second;
}

Value RegisterValues::collapseInner(Value buffer) {
  Value &result = collapsed[buffer];
  if (result)
    return result;
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointAfterValue(buffer);
  return result = b.collapseInner(buffer);
}

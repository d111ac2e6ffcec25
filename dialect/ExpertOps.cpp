// SPDX-License-Identifier: Apache-2.0
#include "dialect/OpVerification.h"

using namespace mlir;
using namespace mlir::lumen;

LogicalResult RouteOp::verify() {
  if (getGating() != "softmax" && getGating() != "sigmoid")
    return emitOpError() << "gating must be \"softmax\" or \"sigmoid\", got \""
                         << getGating() << "\"";
  int64_t experts = rankedType(getLogits()).getDimSize(1);
  int64_t used = rankedType(getExperts()).getDimSize(1);
  if (ShapedType::isDynamic(experts) || ShapedType::isDynamic(used))
    return emitOpError() << "needs known numbers of experts";
  constexpr int64_t kMostExperts = 4096; // a vector
  if (experts > kMostExperts)
    return emitOpError() << "takes at most " << kMostExperts << " experts, got "
                         << experts;
  if (used < 1 || used > experts)
    return emitOpError() << "must choose 1 to " << experts
                         << " experts per token, got " << used;
  if (failed(verifyDim(*this, "columns of weights", used,
                       rankedType(getWeights()).getDimSize(1))))
    return failure();
  if (getBias())
    return verifyDim(*this, "bias size", experts,
                     rankedType(getBias()).getDimSize(0));
  return success();
}

SmallVector<NamedOperand> RouteOp::getBufferOperands() {
  SmallVector<NamedOperand> operands = {{"logits", getLogits()}};
  if (getBias())
    operands.emplace_back("bias", getBias());
  return operands;
}

LogicalResult GroupTokensOp::verify() {
  auto experts = rankedType(getExperts()), groups = rankedType(getGroups());
  if (getSource().getType() != experts || getPlace().getType() != experts)
    return emitOpError() << "source and place must be like experts, "
                         << experts;
  return verifyGroups(*this, groups);
}

LogicalResult GatherRowsOp::verify() {
  int64_t slots = rankedType(getSource()).getDimSize(1);
  return verifyDim(*this, "result columns",
                   countColumns(slots, rankedType(getX()).getDimSize(1)),
                   rankedType(getResult()).getDimSize(1));
}

LogicalResult CombineOp::verify() {
  auto weights = rankedType(getWeights()), place = rankedType(getPlace());
  int64_t slots = place.getDimSize(1);
  if (failed(
          verifyDim(*this, "columns of weights", slots, weights.getDimSize(1))))
    return failure();
  return verifyDim(*this, "columns of x",
                   countColumns(slots, rankedType(getResult()).getDimSize(1)),
                   rankedType(getX()).getDimSize(1));
}

// SPDX-License-Identifier: Apache-2.0
#include "dialect/OpVerification.h"

using namespace mlir;
using namespace mlir::lumen;

LogicalResult lumen::verifyBoundedShapes(Operation *op) {
  constexpr int64_t kMostDim = int64_t(1) << 31, kMostElements = int64_t(1)
                                                                 << 48;
  auto isBounded = [](Type type) {
    auto shaped = dyn_cast<ShapedType>(type);
    if (!shaped || !shaped.hasRank())
      return true;
    int64_t elements = 1;
    for (int64_t size : shaped.getShape()) {
      if (ShapedType::isDynamic(size))
        continue;
      if (size >= kMostDim || (size && elements > kMostElements / size))
        return false;
      elements *= size;
    }
    return true;
  };
  for (TypeRange types :
       {TypeRange(op->getOperandTypes()), TypeRange(op->getResultTypes())})
    for (Type type : types)
      if (!isBounded(type))
        return op->emitOpError()
               << "takes dimensions below 2^31 and at most 2^48 elements, got "
               << type;
  return success();
}

LogicalResult lumen::verifyDim(Operation *op, StringRef what, int64_t expected,
                               int64_t actual) {
  if (compatible(expected, actual))
    return success();
  return op->emitOpError() << what << " must be " << expected << ", got "
                           << actual;
}

LogicalResult lumen::verifyGroups(Operation *op, RankedTensorType groups) {
  if (groups.hasStaticShape() && groups.getDimSize(0) >= 2 &&
      groups.getDimSize(1) == 2)
    return success();
  return op->emitOpError() << "groups must have one row per expert and one "
                              "more, of two columns, got "
                           << groups;
}

LogicalResult lumen::verifyWeight(Operation *op, RankedTensorType type,
                                  SymbolTableCollection &symbols) {
  auto quant = dyn_cast<QuantType>(type.getElementType());
  if (!quant)
    return success();
  auto format =
      symbols.lookupNearestSymbolFrom<FormatOp>(op, quant.getFormat());
  if (!format)
    return op->emitOpError() << "uses the unknown format " << quant.getFormat();
  int64_t columns = type.getDimSize(1), block = format.getBlock();
  if (!ShapedType::isDynamic(columns) && columns % block) {
    InFlightDiagnostic diag =
        op->emitOpError()
        << "needs a weight whose columns are a multiple of the block of "
        << quant.getFormat() << " (" << block << "), got " << columns;
    diag.attachNote(format.getLoc()) << "the format is described here";
    return diag;
  }
  return success();
}

LogicalResult lumen::verifyWeights(Operation *op, TypeRange types,
                                   SymbolTableCollection &symbols) {
  for (Type type : types)
    if (auto tensor = dyn_cast<RankedTensorType>(type))
      if (failed(verifyWeight(op, tensor, symbols)))
        return failure();
  return success();
}

// SPDX-License-Identifier: Apache-2.0
#include "dialect/OpVerification.h"

#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::lumen;

LogicalResult EmbeddingOp::verify() {
  if (rankedType(getTable()).getEncoding())
    return emitOpError() << "table must be in the file's layout, got "
                         << getTable().getType();
  if (failed(verifyDim(*this, "result rows",
                       rankedType(getTokens()).getDimSize(0),
                       rankedType(getResult()).getDimSize(0))))
    return failure();
  return verifyDim(*this, "result columns",
                   rankedType(getTable()).getDimSize(1),
                   rankedType(getResult()).getDimSize(1));
}

LogicalResult EmbeddingOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyWeights(*this, (*this)->getOperandTypes(), symbols);
}

void EmbeddingOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                              MLIRContext *) {
  // embedding(tokens, dequantize(table)) -> embedding(tokens, table)
  patterns.add(+[](EmbeddingOp op, PatternRewriter &rewriter) -> LogicalResult {
    auto dequantize = op.getTable().getDefiningOp<DequantizeOp>();
    if (!dequantize)
      return failure();
    rewriter.modifyOpInPlace(
        op, [&] { op.getTableMutable().assign(dequantize.getWeight()); });
    return success();
  });
}

LogicalResult RmsNormOp::verify() {
  if (getEpsilon().isNegative())
    return emitOpError() << "epsilon must not be negative";
  int64_t columns = rankedType(getX()).getDimSize(1);
  int64_t size = rankedType(getWeight()).getDimSize(0);
  bool known = !ShapedType::isDynamic(columns) && !ShapedType::isDynamic(size);
  if (known && (size == 0 || columns % size))
    return emitOpError() << "weight size must divide the columns of x ("
                         << columns << "), got " << size;
  return success();
}

bool RmsNormOp::isPerHead() {
  return rankedType(getX()).getDimSize(1) !=
         rankedType(getWeight()).getDimSize(0);
}

LogicalResult GateOp::verify() {
  return verifyDim(*this, "columns of gate", 1,
                   rankedType(getGate()).getDimSize(1));
}

LogicalResult ToBf16Op::verify() {
  auto x = rankedType(getX()), result = rankedType(getResult());
  if (x.getShape() != result.getShape())
    return emitOpError() << "result must have the shape of x, got " << result;
  return success();
}

LogicalResult SelectRowsOp::verify() {
  if (failed(verifyDim(*this, "result rows",
                       rankedType(getRows()).getDimSize(0),
                       rankedType(getResult()).getDimSize(0))))
    return failure();
  return verifyDim(*this, "result columns", rankedType(getX()).getDimSize(1),
                   rankedType(getResult()).getDimSize(1));
}

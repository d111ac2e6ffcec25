// SPDX-License-Identifier: Apache-2.0
#include "dialect/OpVerification.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

int64_t GroupKeysOp::countKeys(int64_t columns, int64_t group) {
  if (ShapedType::isDynamic(columns) || ShapedType::isDynamic(group))
    return ShapedType::kDynamic;
  return llvm::alignTo(llvm::divideCeil(columns, group), kStep);
}

/// A group is read as a whole.
static LogicalResult verifyColumns(Operation *op, RankedTensorType x,
                                   int64_t group) {
  int64_t columns = x.getDimSize(1);
  if (ShapedType::isDynamic(columns) || columns >= group)
    return success();
  return op->emitOpError() << "x must have at least " << group
                           << " columns, got " << columns;
}

LogicalResult GroupKeysOp::verify() {
  auto x = rankedType(getX()), result = rankedType(getResult());
  int64_t group = getGroup(), columns = x.getDimSize(1);
  if (failed(verifyColumns(*this, x, group)) ||
      failed(verifyDim(*this, "result rows", x.getDimSize(0),
                       result.getDimSize(0))))
    return failure();
  return verifyDim(*this, "result columns", countKeys(columns, group),
                   result.getDimSize(1));
}

LogicalResult LargestGroupsOp::verify() {
  auto x = rankedType(getX()), keys = rankedType(getKeys());
  auto rows = rankedType(getRows()), ranks = rankedType(getRanks());
  auto values = rankedType(getValues()), numbers = rankedType(getNumbers());
  int64_t group = getGroup(), columns = x.getDimSize(1);
  if (group < 32 || group > 256 || !llvm::isPowerOf2_64(group))
    return emitOpError()
           << "values columns must be a power of 2 from 32 to 256, got "
           << group;
  if (failed(verifyColumns(*this, x, group)) ||
      failed(
          verifyDim(*this, "keys rows", x.getDimSize(0), keys.getDimSize(0))) ||
      failed(verifyDim(*this, "keys columns",
                       GroupKeysOp::countKeys(columns, group),
                       keys.getDimSize(1))) ||
      failed(verifyDim(*this, "ranks size", rows.getDimSize(0),
                       ranks.getDimSize(0))) ||
      failed(verifyDim(*this, "values rows", rows.getDimSize(0),
                       values.getDimSize(0))) ||
      failed(verifyDim(*this, "numbers rows", rows.getDimSize(0),
                       numbers.getDimSize(0))))
    return failure();
  return verifyDim(*this, "numbers columns", 1, numbers.getDimSize(1));
}

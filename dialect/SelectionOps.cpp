// SPDX-License-Identifier: Apache-2.0
#include "dialect/OpVerification.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

/// The columns of the keys of rows of `columns`; dynamic where these are.
static int64_t countKeys(int64_t columns) {
  if (ShapedType::isDynamic(columns))
    return columns;
  int64_t groups = llvm::divideCeil(columns, GroupKeysOp::kGroup);
  return llvm::alignTo(groups, GroupKeysOp::kStep);
}

/// A group is read as a whole.
static LogicalResult verifyColumns(Operation *op, RankedTensorType x) {
  int64_t columns = x.getDimSize(1);
  if (ShapedType::isDynamic(columns) || columns >= GroupKeysOp::kGroup)
    return success();
  return op->emitOpError() << "x must have at least " << GroupKeysOp::kGroup
                           << " columns, got " << columns;
}

LogicalResult GroupKeysOp::verify() {
  auto x = rankedType(getX()), result = rankedType(getResult());
  if (failed(verifyColumns(*this, x)) ||
      failed(verifyDim(*this, "result rows", x.getDimSize(0),
                       result.getDimSize(0))))
    return failure();
  return verifyDim(*this, "result columns", countKeys(x.getDimSize(1)),
                   result.getDimSize(1));
}

LogicalResult LargestGroupsOp::verify() {
  auto x = rankedType(getX()), keys = rankedType(getKeys());
  auto rows = rankedType(getRows()), ranks = rankedType(getRanks());
  auto values = rankedType(getValues()), numbers = rankedType(getNumbers());
  if (failed(verifyColumns(*this, x)) ||
      failed(
          verifyDim(*this, "keys rows", x.getDimSize(0), keys.getDimSize(0))) ||
      failed(verifyDim(*this, "keys columns", countKeys(x.getDimSize(1)),
                       keys.getDimSize(1))) ||
      failed(verifyDim(*this, "ranks size", rows.getDimSize(0),
                       ranks.getDimSize(0))) ||
      failed(verifyDim(*this, "values rows", rows.getDimSize(0),
                       values.getDimSize(0))) ||
      failed(verifyDim(*this, "values columns", GroupKeysOp::kGroup,
                       values.getDimSize(1))) ||
      failed(verifyDim(*this, "numbers rows", rows.getDimSize(0),
                       numbers.getDimSize(0))))
    return failure();
  return verifyDim(*this, "numbers columns", 1, numbers.getDimSize(1));
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/TileShape.h"

#include "dialect/FormatLayout.h"

using namespace mlir;
using namespace mlir::lumen;

TileShape lumen::getTileShape(TargetAttr target, RankedTensorType weight,
                              Operation *from) {
  TileShape shape = {target.getRows(), target.getTokens()};
  int64_t lanes = target.getVectorBits() / 32;
  FormatOp format = lookupFormat(weight, from);
  if (format && format.getSumGroup() < kSpan && shape.rows > lanes)
    return {lanes, shape.tokens * shape.rows / lanes};
  return shape;
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/support/TileShape.h"

#include "dialect/FormatLayout.h"

using namespace mlir;
using namespace mlir::lumen;

int64_t lumen::getTileRows(TargetAttr target, RankedTensorType weight,
                           Operation *from) {
  int64_t rows = target.getRows(), lanes = target.getVectorBits() / 32;
  FormatOp format = lookupFormat(weight, from);
  bool hasGroups = format && format.getSumGroup() < kSpan;
  return hasGroups ? std::min(rows, lanes) : rows;
}

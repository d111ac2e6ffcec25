// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/MatrixTiles.h"

#include "passes/tile/product/ExpandedTiles.h"
#include "passes/tile/product/FragmentTiles.h"

using namespace mlir;
using namespace mlir::lumen;

std::unique_ptr<MatrixTiles>
MatrixTiles::create(TileBuilder &b, const ProductOperands &operands,
                    ArrayRef<ProductSink> sinks, TargetAttr target,
                    int64_t mostBytes) {
  if (!target || !target.getMma() || !operands.product.isInteger())
    return nullptr;
  if (target.getMma().getWeightsLeft())
    return FragmentTiles::create(b, operands, sinks, target);
  return ExpandedTiles::create(b, operands, target, mostBytes);
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/ProductTile.h"

#include "passes/tile/product/FloatProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lumen;

Value lumen::emitProductTile(TileBuilder &b, const ProductOperands &operands,
                             const PackedWeight &weight, IntegerForm form,
                             const TokenTile &tokens, Value tile) {
  if (!weight.format)
    return emitFloatTile(b, operands, weight, tokens, tile);
  // Blocks, whose factors are the same throughout, and the parts of a block
  // that have a scale of the activations each, or no scale at all.
  bool isInteger = operands.product.isInteger();
  int64_t block = weight.format.getBlock() / kSpan;
  int64_t part = isInteger ? operands.getSpansOfScale() : 1;
  IntegerProduct integers(b, operands, weight, form, tokens);
  Value zero = b.zeros({tokens.count, weight.rows}, b.getF32Type());
  auto emitBlock = [&](Value position, Value acc) {
    Value first = b.multiply(position, block);
    return b.carry(block / part, acc, [&](Value i, Value acc) {
      Value span = b.multiply(i, part);
      SpanPosition at = {tile, position, arith::AddIOp::create(b, first, span)};
      return isInteger ? integers.emitGroup(at, acc)
                       : emitFloatSpan(b, operands, weight, tokens, at, acc);
    });
  };
  return b.carry(weight.getColumns() / int64_t(weight.format.getBlock()), zero,
                 emitBlock);
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/ProductTile.h"

#include "passes/tile/product/FloatProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lumen;

/// `unrolls`: LLVM may make a straight line of its blocks, whose codes are then
/// all loaded first.
static Value emitSegment(TileBuilder &b, const ProductOperands &operands,
                         const PackedWeight &weight, IntegerForm form,
                         const TokenTile &tokens, Value tile,
                         const Segments &segments, Value number, bool unrolls) {
  // Blocks, whose factors are the same throughout, and the parts of a block
  // that have a scale of the activations each, or no scale at all.
  bool isInteger = operands.product.isInteger();
  int64_t size = weight.format.getBlock(), block = size / kSpan;
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
  int64_t blocks = weight.getColumns() / size, count = segments.columns / size;
  if (segments.count == 1)
    return b.carry(blocks, zero, emitBlock);
  Value first = b.multiply(number, count);
  if (unrolls && blocks % count == 0)
    return b.carry(count, zero, [&](Value i, Value acc) {
      return emitBlock(arith::AddIOp::create(b, first, i), acc);
    });
  Value end = arith::MinUIOp::create(b, b.add(first, count), b.index(blocks));
  return b
      .accumulate(first, end, 1, zero,
                  [&](Value i, ValueRange acc) -> SmallVector<Value> {
                    return {emitBlock(i, acc.front())};
                  })
      .front();
}

Value lumen::addTiles(TileBuilder &b, Value lhs, Value rhs) {
  AffineMap all = b.map(2, {0, 1});
  return b.generic(lhs, rhs, {all, all}, 2,
                   [](KernelBuilder &nested, ValueRange arguments) -> Value {
                     return arith::AddFOp::create(nested, arguments[1],
                                                  arguments[0]);
                   });
}

Value lumen::emitProductSegment(TileBuilder &b, const ProductOperands &operands,
                                const PackedWeight &weight, IntegerForm form,
                                const TokenTile &tokens, Value tile,
                                const Segments &segments, Value number) {
  return emitSegment(b, operands, weight, form, tokens, tile, segments, number,
                     /*unrolls=*/tokens.count == 1);
}

Value lumen::emitProductTile(TileBuilder &b, const ProductOperands &operands,
                             const PackedWeight &weight, IntegerForm form,
                             const TokenTile &tokens, Value tile,
                             const Segments &segments) {
  if (!weight.format)
    return emitFloatTile(b, operands, weight, tokens, tile);
  auto emit = [&](Value number) {
    return emitSegment(b, operands, weight, form, tokens, tile, segments,
                       number,
                       /*unrolls=*/false);
  };
  if (segments.count == 1)
    return emit(b.index(0));
  Value zero = b.zeros({tokens.count, weight.rows}, b.getF32Type());
  return b.carry(segments.count, zero, [&](Value number, Value sum) {
    return addTiles(b, sum, emit(number));
  });
}

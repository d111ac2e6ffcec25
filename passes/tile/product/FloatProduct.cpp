// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/FloatProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lumen;

Value lumen::emitFloatSpan(TileBuilder &b, const ProductOperands &operands,
                           const PackedWeight &weight, const TokenTile &tokens,
                           const SpanPosition &at, Value acc) {
  FactorDims dims = {kSpanDims, kX, kRow};
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  weight.collectCodes(b, at, inputs, maps);
  unsigned planes = inputs.size();
  inputs.push_back(b.slice(operands.x, {tokens.first, at.span}, tokens.count));
  maps.push_back(b.map(kSpanDims, {kToken, kX, kY, kZ, kK4}));
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps);
  maps.push_back(b.map(kSpanDims, {kToken, kRow}));
  Value result = b.generic(
      acc, inputs, maps, kSpanDims,
      [&](KernelBuilder &nested, ValueRange arguments) {
        Type i32 = nested.getI32Type();
        Value scale = weight.emitScale(nested, factors, dims, arguments);
        Value code = weight.emitCode(nested, arguments.take_front(planes));
        Value wide =
            weight.hasSignedCodes()
                ? arith::ExtSIOp::create(nested, i32, code).getResult()
                : arith::ExtUIOp::create(nested, i32, code).getResult();
        Value biased = arith::AddIOp::create(
            nested, wide, nested.integer(i32, weight.getBias()));
        Value value = nested.convert(biased, nested.getF32Type());
        value = arith::MulFOp::create(nested, scale, value);
        if (weight.hasMin())
          value = arith::SubFOp::create(
              nested, value, weight.emitMin(nested, factors, dims, arguments));
        return nested.multiplyAdd(value, arguments[planes], arguments.back());
      });
  weight.fetchAhead(result, tokens.count);
  return result;
}

/// Pairs of bf16 on both sides: a dot product each.
static Value emitBf16Tile(TileBuilder &b, const ProductOperands &operands,
                          const PackedWeight &weight, const TokenTile &tokens,
                          Value tile, Value zero) {
  auto addUnit = [&](Value unit, Value acc) {
    Value values = b.slice(weight.values, {tile, unit});
    Value x = b.slice(operands.x, {tokens.first, unit}, tokens.count);
    // token, pair, row, column of the pair
    return b.generic(
        acc, {values, x},
        {b.map(4, {1, 2, 3}), b.map(4, {0, 1, 3}), b.map(4, {0, 2})}, 4,
        [&](KernelBuilder &nested, ValueRange arguments) {
          Type f32 = nested.getF32Type();
          return nested.multiplyAdd(nested.convert(arguments[0], f32),
                                    nested.convert(arguments[1], f32),
                                    arguments[2]);
        });
  };
  int64_t columns = weight.getColumns();
  return b.carry(columns / 2 / PackedWeight::getPairsPerUnit(columns), zero,
                 addUnit);
}

/// Pairs of bf16, which meet f32 one by one, in order.
static Value emitPairsTile(TileBuilder &b, const ProductOperands &operands,
                           const PackedWeight &weight, const TokenTile &tokens,
                           Value tile, Value zero) {
  auto addPair = [&](Value pair, Value acc, int64_t count) {
    Value words = b.slice(weight.words, {tile, pair});
    SmallVector<Value> inputs = {words};
    SmallVector<AffineMap> maps = {b.map(2, {1})};
    for (int64_t i = 0; i < count; ++i) {
      Value column = b.add(b.multiply(pair, 2), i);
      inputs.push_back(
          b.sliceOfShape(operands.x, {tokens.first, column}, {tokens.count}));
      maps.push_back(b.map(2, {0}));
    }
    maps.push_back(b.map(2, {0, 1}));
    return b.generic(
        acc, inputs, maps, 2, [&](KernelBuilder &nested, ValueRange arguments) {
          // The bits of bf16 are the upper half of those of f32.
          Type i32 = nested.getI32Type();
          Value sum = arguments.back(), both = arguments.front();
          for (int64_t i = 0; i < count; ++i) {
            Value bits;
            if (i == 0)
              bits =
                  arith::ShLIOp::create(nested, both, nested.integer(i32, 16));
            else
              bits = arith::AndIOp::create(nested, both,
                                           nested.integer(i32, 0xffff0000));
            Value value =
                arith::BitcastOp::create(nested, nested.getF32Type(), bits);
            sum = nested.multiplyAdd(value, arguments[1 + i], sum);
          }
          return sum;
        });
  };
  int64_t columns = weight.getColumns();
  Value result = zero;
  if (columns > 1)
    result = b.carry(columns / 2, result, [&](Value pair, Value acc) {
      return addPair(pair, acc, 2);
    });
  if (columns % 2)
    result = addPair(b.index(columns / 2), result, 1);
  return result;
}

/// Columns from `k` on, `count` of them, in order: what is loaded of a token's
/// has the factors of all.
static Value emitColumns(TileBuilder &b, const ProductOperands &operands,
                         const PackedWeight &weight, const TokenTile &tokens,
                         Value tile, Value k, int64_t count, Value acc) {
  Value values = b.sliceOfShape(weight.values, {tile, k, b.getIndexAttr(0)},
                                {0, count, weight.rows});
  Value x =
      b.sliceOfShape(operands.floats, {tokens.first, k}, {tokens.count, count});
  // column, token, row
  return b.generic(
      acc, {values, x}, {b.map(3, {0, 2}), b.map(3, {1, 0}), b.map(3, {1, 2})},
      3, [&](KernelBuilder &nested, ValueRange arguments) {
        Value value = nested.convert(arguments[0], nested.getF32Type());
        return nested.multiplyAdd(value, arguments[1], arguments[2]);
      });
}

Value lumen::emitFloatTile(TileBuilder &b, const ProductOperands &operands,
                           const PackedWeight &weight, const TokenTile &tokens,
                           Value tile) {
  Value zero = b.zeros({tokens.count, weight.rows}, b.getF32Type());
  if (operands.product.isBf16())
    return emitBf16Tile(b, operands, weight, tokens, tile, zero);
  if (weight.hasPairs())
    return emitPairsTile(b, operands, weight, tokens, tile, zero);
  int64_t columns = weight.getColumns(), atOnce = operands.floatColumns;
  if (atOnce > 1 && columns >= atOnce) {
    Value acc =
        b.carry(columns / atOnce, zero, [&](Value number, Value carried) {
          return emitColumns(b, operands, weight, tokens, tile,
                             b.multiply(number, atOnce), atOnce, carried);
        });
    if (int64_t left = columns % atOnce)
      acc = emitColumns(b, operands, weight, tokens, tile,
                        b.index(columns - left), left, acc);
    return acc;
  }
  auto addColumn = [&](Value k, ValueRange acc) -> SmallVector<Value> {
    Value row = b.slice(weight.values, {tile, k});
    Value column =
        b.sliceOfShape(operands.x, {tokens.first, k}, {tokens.count});
    return {b.generic(acc.front(), {row, column},
                      {b.map(2, {1}), b.map(2, {0}), b.map(2, {0, 1})}, 2,
                      [&](KernelBuilder &nested, ValueRange arguments) {
                        Value value =
                            nested.convert(arguments[0], nested.getF32Type());
                        return nested.multiplyAdd(value, arguments[1],
                                                  arguments[2]);
                      })};
  };
  return b.accumulate(b.index(columns), zero, addColumn).front();
}

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
        Value wide = arith::ExtUIOp::create(nested, i32, code);
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

Value lumen::emitFloatTile(TileBuilder &b, const ProductOperands &operands,
                           const PackedWeight &weight, const TokenTile &tokens,
                           Value tile) {
  Value zero = b.zeros({tokens.count, weight.rows}, b.getF32Type());
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
  return b.accumulate(b.index(weight.getColumns()), zero, addColumn).front();
}

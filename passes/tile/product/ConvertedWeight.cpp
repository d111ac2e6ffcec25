// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/ConvertedWeight.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

bool ConvertedWeight::isPossible(const PackedWeight &weight) {
  if (weight.format)
    return true;
  return !weight.type.getElementType().isF32() &&
         (!weight.hasPairs() || weight.getColumns() % 2 == 0);
}

ConvertedWeight::ConvertedWeight(TileBuilder &b, const PackedWeight &source)
    : PreparedWeight(b, source, source.rows, b.getF32Type(), /*k=*/1) {
  if (!source.format)
    return;
  SmallVector<int64_t> shape(source.getGroupBits(), 2);
  shape.push_back(source.rows);
  scales = b.allocateScratch(shape, b.getF32Type());
  if (source.hasMin())
    minima = b.allocateScratch(shape, b.getF32Type());
}

void ConvertedWeight::store(TileBuilder &b, Value values, Value column) const {
  b.store(values, packed.getValueBuffer(), {b.index(0), column, b.index(0)});
}

void ConvertedWeight::emitFloats(TileBuilder &b, Value tile) const {
  b.forEach(source.getColumns(), [&](Value column) {
    Value values = b.load(source.rows, source.getValueBuffer(),
                          {tile, column, b.index(0)});
    store(b, b.convert(values, b.getF32Type()), column);
  });
}

void ConvertedWeight::emitPairs(TileBuilder &b, Value tile) const {
  auto words = VectorType::get(source.rows, b.getI32Type());
  auto floats = VectorType::get(source.rows, b.getF32Type());
  b.forEach(source.getColumns() / 2, [&](Value pair) {
    Value both =
        b.load(source.rows, source.getWordBuffer(), {tile, pair, b.index(0)});
    // The bits of bf16 are the upper half of those of f32.
    Value first = arith::ShLIOp::create(b, both, b.integer(words, 16)),
          second = arith::AndIOp::create(b, both, b.integer(words, 0xffff0000));
    Value column = b.multiply(pair, 2);
    store(b, arith::BitcastOp::create(b, floats, first), column);
    store(b, arith::BitcastOp::create(b, floats, second), b.add(column, 1));
  });
}

void ConvertedWeight::emitRows(
    TileBuilder &b, const SpanPosition &at, Value rows,
    function_ref<Value(KernelBuilder &, const FactorOperands &, FactorDims,
                       ValueRange)>
        body) const {
  unsigned bits = source.getGroupBits();
  FactorDims dims = {bits + 1, 0, bits};
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  FactorOperands operands = source.collectFactors(b, at, dims, inputs, maps);
  maps.push_back(
      b.map(dims.dims, llvm::to_vector(llvm::seq<unsigned>(0, dims.dims))));
  auto shape = cast<MemRefType>(rows.getType()).getShape();
  b.storeTile(b.generic(b.zeros(shape, b.getF32Type()), inputs, maps, dims.dims,
                        [&](KernelBuilder &nested, ValueRange arguments) {
                          return body(nested, operands, dims, arguments);
                        }),
              rows);
}

void ConvertedWeight::emitSpan(TileBuilder &b, const SpanPosition &at) const {
  emitRows(b, at, scales,
           [&](KernelBuilder &nested, const FactorOperands &operands,
               FactorDims dims, ValueRange arguments) {
             return source.emitScale(nested, operands, dims, arguments);
           });
  if (minima)
    emitRows(b, at, minima,
             [&](KernelBuilder &nested, const FactorOperands &operands,
                 FactorDims dims, ValueRange arguments) {
               return source.emitMin(nested, operands, dims, arguments);
             });
  unsigned groupBits = source.getGroupBits();
  auto words = VectorType::get(source.rows, b.getI32Type());
  auto bytes = VectorType::get(kDotStep * source.rows, b.getI8Type());
  auto load = [&](Value rows, int64_t step) {
    SmallVector<Value> place;
    for (unsigned bit = 0; bit < groupBits; ++bit)
      place.push_back(b.index(step >> (kStepBits - 1 - bit) & 1));
    place.push_back(b.index(0));
    return b.load(source.rows, rows, place);
  };
  Value first = b.multiply(at.span, kSpan);
  for (int64_t step = 0; step < kSpan / kDotStep; ++step) {
    Value codes = source.loadCodes(b, at, step);
    auto table = source.format.getTable();
    if (table) {
      codes =
          LookupOp::create(b, bytes, vector::BitCastOp::create(b, bytes, codes),
                           b.getDenseI8ArrayAttr(*table));
      codes = vector::BitCastOp::create(b, words, codes);
    }
    Value scale = load(scales, step);
    Value minimum = minima ? load(minima, step) : Value();
    for (int64_t i = 0; i < kDotStep; ++i) {
      auto bits = [&](int64_t count) { return b.integer(words, count); };
      Value code = codes;
      if (table || source.hasSignedCodes()) {
        code = arith::ShLIOp::create(b, code, bits(24 - 8 * i));
        code = arith::ShRSIOp::create(b, code, bits(24));
      } else {
        code = arith::ShRUIOp::create(b, code, bits(8 * i));
        code = arith::AndIOp::create(b, code, bits(0xff));
      }
      if (!table)
        code = arith::AddIOp::create(b, code, bits(source.getBias()));
      Value value =
          arith::MulFOp::create(b, scale, b.convert(code, b.getF32Type()));
      if (minimum)
        value = arith::SubFOp::create(b, value, minimum);
      store(b, value, b.add(first, step * kDotStep + i));
    }
  }
}

void ConvertedWeight::emit(TileBuilder &b, Value number) const {
  if (!source.format)
    return source.hasPairs() ? emitPairs(b, number) : emitFloats(b, number);
  int64_t spans = int64_t(source.format.getBlock()) / kSpan;
  b.forEach(source.getColumns() / kSpan, [&](Value span) {
    emitSpan(b, {number, b.divide(span, spans), span});
  });
}

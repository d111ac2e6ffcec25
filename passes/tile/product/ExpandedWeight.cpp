// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/ExpandedWeight.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;
using namespace mlir::lumen;

MatrixFactors::MatrixFactors(const ProductOperands &operands,
                             const PackedWeight &weight)
    : hasIntegerSums(operands.hasIntegerSums(weight)),
      hasIntegerScales(operands.hasIntegerScales(weight)),
      hasIntegerMinima(weight.hasMin() && operands.hasIntegerMinima()),
      hasMin(weight.hasMin()) {}

/// Bytes of the codes of a tile and of its scales and minima.
static int64_t getRoom(const ProductOperands &operands,
                       const PackedWeight &weight, const MatrixTile &tile) {
  int64_t spans = weight.getColumns() / kSpan;
  int64_t factors = int64_t(1) << weight.getGroupBits();
  if (weight.hasMin())
    factors += int64_t(1) << operands.sumBits;
  return spans * tile.rows * (kSpan + 4 * factors * tile.getM());
}

bool ExpandedWeight::isPossible(const ProductOperands &operands,
                                const PackedWeight &weight,
                                const MatrixTile &tile, int64_t mostBytes) {
  if (!weight.format || tile.rows % weight.rows || weight.rows % tile.getN() ||
      kSpan >> weight.getGroupBits() < tile.getK())
    return false;
  IntegerRange values = weight.getValues();
  if (values.least < std::numeric_limits<int8_t>::min() ||
      values.most > std::numeric_limits<int8_t>::max())
    return false;
  if (weight.hasMin() && operands.hasIntegerMinima() &&
      !operands.hasExactMinima(weight))
    return false;
  return getRoom(operands, weight, tile) <= mostBytes;
}

ExpandedWeight::ExpandedWeight(TileBuilder &b, const ProductOperands &operands,
                               const PackedWeight &source,
                               const MatrixTile &tile)
    : source(source), factors(operands, source), tile(tile) {
  int64_t spans = source.getColumns() / kSpan,
          blocks = source.getColumns() / int64_t(source.format.getBlock()),
          vectors = tile.getRowParts() * tile.getLanes();
  Type f32 = b.getF32Type();
  auto room = [&](int64_t count, Type element) {
    return b.allocateScratch({count * vectors}, element);
  };
  auto rows = [&](unsigned bits, Type element) {
    SmallVector<int64_t> shape(bits, 2);
    shape.push_back(source.rows);
    return b.allocateScratch(shape, element);
  };
  codes = b.allocateScratch({spans * kSpan * tile.rows}, b.getI8Type());
  blockRows = rows(0, f32);
  if (!factors.hasIntegerSums) {
    Type type = factors.hasIntegerScales ? Type(b.getI32Type()) : f32;
    scales = room(spans << source.getGroupBits(), type);
    scaleRows = rows(source.getGroupBits(), type);
  }
  if (factors.hasMin) {
    minima = room(spans << operands.sumBits, f32);
    minRows = rows(operands.sumBits, f32);
  }
  if (factors.isInteger())
    blockScales = room(blocks, f32);
  if (factors.hasIntegerMinima)
    blockMinima = room(blocks, f32);
}

/// The codes of a span. Of each row, k of them lie together, and n rows side by
/// side. In a packed weight, all rows have four codes together.
void ExpandedWeight::emitCodes(TileBuilder &b, const SpanPosition &at,
                               int64_t firstRow) const {
  int64_t n = tile.getN(), k = tile.getK(), steps = k / kDotStep,
          rows = source.rows, bias = source.getBias();
  auto bytes = VectorType::get(kDotStep * rows, b.getI8Type());
  auto words = VectorType::get(rows, b.getI32Type());
  auto asBytes = VectorType::get(n * k, b.getI8Type());
  Value first = b.multiply(at.span, kSpan * tile.rows);
  for (int64_t chunk = 0; chunk < tile.getChunks(); ++chunk) {
    SmallVector<Value> parts;
    for (int64_t step = 0; step < steps; ++step) {
      Value values = source.loadCodes(b, at, chunk * steps + step);
      values = vector::BitCastOp::create(b, bytes, values);
      if (auto table = source.format.getTable())
        values =
            LookupOp::create(b, bytes, values, b.getDenseI8ArrayAttr(*table));
      else if (bias)
        values = arith::AddIOp::create(b, values, b.integer(bytes, bias));
      parts.push_back(vector::BitCastOp::create(b, words, values));
    }
    Value all = b.concatenate(parts);
    for (int64_t row = 0; row < rows; row += n) {
      SmallVector<int64_t> mask;
      for (int64_t j = 0; j < n; ++j)
        for (int64_t step = 0; step < steps; ++step)
          mask.push_back(step * rows + row + j);
      Value matrix = vector::ShuffleOp::create(b, all, all, mask);
      int64_t place = (chunk * tile.rows + firstRow + row) * k;
      b.store(vector::BitCastOp::create(b, asBytes, matrix), codes,
              b.add(first, place));
    }
  }
}

void ExpandedWeight::emitFactors(TileBuilder &b, const SpanPosition &at,
                                 int64_t firstRow, bool ofBlock, Value number,
                                 Value rows, Value into, Body body) const {
  auto type = cast<MemRefType>(rows.getType());
  unsigned bits = type.getRank() - 1;
  FactorDims dims = {bits + 1, 0, bits};
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  FactorOperands operands =
      source.collectFactors(b, at, dims, inputs, maps, /*hasGroups=*/!ofBlock);
  auto all = llvm::to_vector(llvm::seq<unsigned>(0, dims.dims));
  maps.push_back(b.map(dims.dims, all));
  Value values =
      b.generic(b.zeros(type.getShape(), type.getElementType()), inputs, maps,
                dims.dims, [&](KernelBuilder &nested, ValueRange arguments) {
                  return body(nested, operands, dims, arguments);
                });
  b.storeTile(values, rows);
  // Spread as the sums are: the same for all tokens.
  int64_t n = tile.getN(), lanes = tile.getLanes();
  SmallVector<int64_t> mask;
  for (int64_t lane = 0; lane < lanes; ++lane)
    mask.push_back(lane % n);
  int64_t groups = int64_t(1) << bits;
  Value first = b.multiply(number, groups * tile.getRowParts() * lanes);
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t row = 0; row < source.rows; row += n) {
      SmallVector<Value> place;
      for (unsigned bit = bits; bit-- > 0;)
        place.push_back(b.index(group >> bit & 1));
      place.push_back(b.index(row));
      Value factor = b.load(n, rows, place);
      factor = vector::ShuffleOp::create(b, factor, factor, mask);
      int64_t part = group * tile.getRowParts() + (firstRow + row) / n;
      b.store(factor, into, b.add(first, part * lanes));
    }
}

void ExpandedWeight::emit(TileBuilder &b, Value first) const {
  int64_t block = source.format.getBlock(), tiles = tile.rows / source.rows;
  auto scaleOf = [&](KernelBuilder &nested, const FactorOperands &operands,
                     FactorDims dims, ValueRange arguments) {
    if (!factors.hasIntegerScales)
      return source.emitScale(nested, operands, dims, arguments);
    return source.emitOfGroup(nested, source.getScale(), operands, dims,
                              arguments);
  };
  auto minOf = [&](KernelBuilder &nested, const FactorOperands &operands,
                   FactorDims dims, ValueRange arguments) {
    if (!factors.hasIntegerMinima)
      return source.emitMin(nested, operands, dims, arguments);
    Value min =
        source.emitOfGroup(nested, source.getMin(), operands, dims, arguments);
    return nested.convert(min, nested.getF32Type());
  };
  auto ofBlock = [&](OperandRange factor) {
    return [&, factor](KernelBuilder &nested, const FactorOperands &operands,
                       FactorDims dims, ValueRange arguments) {
      return source.emitOfBlock(nested, factor, operands, dims, arguments);
    };
  };
  b.forEach(source.getColumns() / block, [&](Value position) {
    Value firstSpan = b.multiply(position, block / kSpan);
    for (int64_t i = 0; i < tiles; ++i) {
      // Behind the last tile comes that one again, which nobody stores.
      Value ofSource = b.add(first, i);
      ofSource =
          arith::MinUIOp::create(b, ofSource, b.index(source.getTiles() - 1));
      int64_t firstRow = i * source.rows;
      SpanPosition at = {ofSource, position, firstSpan};
      if (blockScales)
        emitFactors(b, at, firstRow, /*ofBlock=*/true, position, blockRows,
                    blockScales, ofBlock(source.getScale()));
      if (blockMinima)
        emitFactors(b, at, firstRow, /*ofBlock=*/true, position, blockRows,
                    blockMinima, ofBlock(source.getMin()));
      b.forEach(firstSpan, b.add(firstSpan, block / kSpan), 1, [&](Value span) {
        at.span = span;
        emitCodes(b, at, firstRow);
        if (scales)
          emitFactors(b, at, firstRow, /*ofBlock=*/false, span, scaleRows,
                      scales, scaleOf);
        if (minima)
          emitFactors(b, at, firstRow, /*ofBlock=*/false, span, minRows, minima,
                      minOf);
      });
    }
  });
}

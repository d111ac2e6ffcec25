// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/ExpandedWeight.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

/// Whether all integers of a range, times `sign`, are signed bytes.
static bool fitBytes(IntegerRange range, int64_t sign = 1) {
  for (int64_t value : {range.least, range.most})
    if (!llvm::isInt<8>(sign * value))
      return false;
  return true;
}

/// See MatrixFactors::codeSign.
static int64_t findCodeSign(const ProductOperands &operands,
                            const PackedWeight &weight) {
  if (!operands.hasIntegerScales(weight))
    return 0;
  IntegerRange products =
      weight.getValues() * *getGroupIntegers(weight.getScale());
  for (int64_t sign : {1, -1})
    if (fitBytes(products, sign))
      return sign;
  return 0;
}

/// How many sums of the activations stand behind one scale of these.
static int64_t countSums(const ProductOperands &operands) {
  return operands.getSpansOfScale() << operands.sumBits;
}

MatrixFactors::MatrixFactors(const ProductOperands &operands,
                             const PackedWeight &weight, const MatrixTile &tile)
    : codeSign(findCodeSign(operands, weight)),
      hasIntegerSums(codeSign || operands.hasIntegerSums(weight)),
      hasIntegerScales(!codeSign &&
                       (operands.hasIntegerScales(weight) ||
                        (tile.addsPairs && operands.hasPairedScales(weight)))),
      multipliesIntegers(
          hasIntegerScales &&
          (operands.slowConversions || !operands.hasIntegerScales(weight))),
      hasIntegerMinima(weight.hasMin() && operands.hasIntegerMinima()),
      hasMinimumCodes(
          hasIntegerMinima && fitBytes(*getGroupIntegers(weight.getMin())) &&
          tile.getVectors() == 1 && countSums(operands) % tile.getK() == 0),
      hasMin(weight.hasMin()),
      hasExcess(tile.fma && (tile.getM() > 1 || weight.getGroupBits()) &&
                operands.getSpansOfScale() == 1 &&
                operands.hasExactExcess(weight)) {}

int64_t MatrixFactors::countSets(const ProductOperands &operands,
                                 const PackedWeight &weight) const {
  bool hasGroups = weight.getGroupBits();
  if (hasIntegerSums || (hasIntegerScales && !hasGroups))
    return 1;
  // Scaled sums; and those of groups on the way to a scale of the activations.
  return operands.getSpansOfScale() == 1 && hasGroups ? 3 : 2;
}

/// Bytes of the codes of a tile and of its scales and minima.
static int64_t getRoom(const ProductOperands &operands,
                       const PackedWeight &weight, const MatrixTile &tile) {
  MatrixFactors has(operands, weight, tile);
  int64_t spans = weight.getColumns() / kSpan, bytes = kSpan, factors = 0;
  if (!has.hasIntegerSums)
    factors += int64_t(1) << weight.getGroupBits();
  if (has.hasExcess)
    ++factors;
  if (has.hasMinimumCodes)
    bytes += int64_t(1) << operands.sumBits;
  else if (has.hasMin)
    factors += int64_t(1) << operands.sumBits;
  return spans * tile.rows * (bytes + 4 * factors * tile.getHeight());
}

bool ExpandedWeight::isPossible(const ProductOperands &operands,
                                const PackedWeight &weight,
                                const MatrixTile &tile, int64_t mostBytes) {
  if (!weight.format || tile.rows % weight.rows || weight.rows % tile.getN() ||
      !fitBytes(weight.getValues()))
    return false;
  MatrixFactors factors(operands, weight, tile);
  if (!factors.hasIntegerSums && kSpan >> weight.getGroupBits() < tile.getK())
    return false;
  if (factors.hasIntegerMinima && !factors.hasMinimumCodes &&
      !operands.hasExactMinima(weight))
    return false;
  return getRoom(operands, weight, tile) <= mostBytes;
}

ExpandedWeight::ExpandedWeight(TileBuilder &b, const ProductOperands &operands,
                               const PackedWeight &source,
                               const MatrixTile &tile)
    : source(source), factors(operands, source, tile), tile(tile) {
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
  Type i32 = b.getI32Type();
  if (!factors.hasIntegerSums) {
    Type type = factors.multipliesIntegers ? i32 : f32;
    scales = room(spans << source.getGroupBits(), type);
    scaleRows = rows(source.getGroupBits(), type);
    if (factors.hasExcess)
      excess = room(spans, f32);
  } else if (factors.codeSign) {
    scaleRows = rows(source.getGroupBits(), i32);
  }
  if (factors.hasMin)
    minRows = rows(operands.sumBits, factors.hasMinimumCodes ? i32 : f32);
  if (factors.hasMinimumCodes) {
    Type i8 = b.getI8Type();
    int64_t ofBlock = spans / blocks << operands.sumBits;
    minimumRows = b.allocateScratch({ofBlock * source.rows}, i8);
    minimumCodes =
        b.allocateScratch({(spans << operands.sumBits) * tile.rows}, i8);
  } else if (factors.hasMin) {
    minima = room(spans << operands.sumBits, f32);
  }
  if (factors.isInteger())
    blockScales = room(blocks, f32);
  if (factors.hasIntegerMinima)
    blockMinima = room(blocks, f32);
}

/// `count` rows of group `group` from row `first` on, of a buffer [bits of the
/// group…][row].
static Value loadRows(TileBuilder &b, Value rows, int64_t group, int64_t first,
                      int64_t count) {
  SmallVector<Value> place;
  for (unsigned bit = cast<MemRefType>(rows.getType()).getRank() - 1;
       bit-- > 0;)
    place.push_back(b.index(group >> bit & 1));
  place.push_back(b.index(first));
  return b.load(count, rows, place);
}

/// All `count` rows, by group.
static SmallVector<Value> loadGroups(TileBuilder &b, Value rows,
                                     int64_t count) {
  int64_t groups = int64_t(1) << cast<MemRefType>(rows.getType()).getRank() - 1;
  SmallVector<Value> loaded;
  for (int64_t group = 0; group < groups; ++group)
    loaded.push_back(loadRows(b, rows, group, 0, count));
  return loaded;
}

/// The codes of a span. Of each row, `step` of them lie together, and n rows
/// side by side. In a packed weight, all rows have four codes together.
void ExpandedWeight::emitCodes(TileBuilder &b, const SpanPosition &at,
                               int64_t firstRow) const {
  int64_t n = tile.getN(), k = tile.getK(), together = tile.shape.getStepSize(),
          steps = together / kDotStep, rows = source.rows,
          bias = source.getBias();
  auto bytes = VectorType::get(kDotStep * rows, b.getI8Type());
  auto words = VectorType::get(rows, b.getI32Type());
  auto asBytes = VectorType::get(n * together, b.getI8Type());
  Value first = b.multiply(at.span, kSpan * tile.rows);
  SmallVector<Value> scales = loadCodeScales(b);
  for (int64_t column = 0; column < kSpan; column += together) {
    SmallVector<Value> parts;
    for (int64_t step = 0; step < steps; ++step) {
      int64_t number = column / kDotStep + step;
      Value values = source.loadCodes(b, at, number);
      values = vector::BitCastOp::create(b, bytes, values);
      if (auto table = source.format.getTable())
        values =
            LookupOp::create(b, bytes, values, b.getDenseI8ArrayAttr(*table));
      else if (bias)
        values = arith::AddIOp::create(b, values, b.integer(bytes, bias));
      if (!scales.empty())
        values = arith::MulIOp::create(
            b, values, scales[number * scales.size() * kDotStep / kSpan]);
      parts.push_back(vector::BitCastOp::create(b, words, values));
    }
    Value all = b.concatenate(parts);
    for (int64_t row = 0; row < rows; row += n) {
      SmallVector<int64_t> mask;
      for (int64_t j = 0; j < n; ++j)
        for (int64_t step = 0; step < steps; ++step)
          mask.push_back(step * rows + row + j);
      Value matrix = vector::ShuffleOp::create(b, all, all, mask);
      int64_t place =
          (column / k * tile.rows + firstRow + row) * k + column % k * n;
      b.store(vector::BitCastOp::create(b, asBytes, matrix), codes,
              b.add(first, place));
    }
  }
}

SmallVector<Value> ExpandedWeight::loadCodeScales(TileBuilder &b) const {
  SmallVector<Value> scales;
  if (!factors.codeSign)
    return scales;
  auto words = VectorType::get(source.rows, b.getI32Type());
  auto bytes = VectorType::get(kDotStep * source.rows, b.getI8Type());
  for (Value scale : loadGroups(b, scaleRows, source.rows)) {
    if (factors.codeSign < 0)
      scale = arith::SubIOp::create(b, b.zero(words), scale);
    // In each of the four bytes of a lane.
    scale = arith::AndIOp::create(b, scale, b.integer(words, 0xff));
    scale = arith::MulIOp::create(b, scale, b.integer(words, 0x01010101));
    scales.push_back(vector::BitCastOp::create(b, bytes, scale));
  }
  return scales;
}

void ExpandedWeight::keepMinima(TileBuilder &b, Value number) const {
  auto bytes = VectorType::get(source.rows, b.getI8Type());
  SmallVector<Value> minima = loadGroups(b, minRows, source.rows);
  Value first = b.multiply(number, minima.size() * source.rows);
  for (auto [i, values] : llvm::enumerate(minima))
    b.store(arith::TruncIOp::create(b, bytes, values), minimumRows,
            b.add(first, i * source.rows));
}

void ExpandedWeight::emitMinimumCodes(TileBuilder &b, Value firstSpan,
                                      int64_t firstRow) const {
  int64_t n = tile.getN(), k = tile.getK(), rows = source.rows,
          parts = tile.getRowParts(),
          sumsPerSpan = int64_t(1)
                        << cast<MemRefType>(minRows.getType()).getRank() - 1,
          chunks = cast<MemRefType>(minimumRows.getType()).getNumElements() /
                   (rows * k);
  Value firstChunk = b.divide(b.multiply(firstSpan, sumsPerSpan), k);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    Value all = b.load(k * rows, minimumRows, b.index(chunk * k * rows));
    Value place = b.multiply(b.add(firstChunk, chunk), tile.rows * k);
    for (int64_t row = 0; row < rows; row += n) {
      SmallVector<int64_t> mask;
      for (int64_t j = 0; j < n; ++j)
        for (int64_t l = 0; l < k; ++l)
          mask.push_back(l * rows + row + j);
      b.store(vector::ShuffleOp::create(b, all, all, mask), minimumCodes,
              b.add(place, (firstRow + row) * k));
    }
  }
}

void ExpandedWeight::emitRows(TileBuilder &b, const SpanPosition &at,
                              bool ofBlock, Value rows, Body body) const {
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
}

/// As the sums are: the same for all tokens.
void ExpandedWeight::storeRows(TileBuilder &b, Value factors, Value into,
                               Value first) const {
  SmallVector<int64_t> mask;
  for (int64_t lane = 0; lane < tile.getLanes(); ++lane)
    mask.push_back(lane % tile.getN());
  b.store(vector::ShuffleOp::create(b, factors, factors, mask), into, first);
}

void ExpandedWeight::spreadRows(TileBuilder &b, Value rows, int64_t firstRow,
                                Value number, Value into) const {
  int64_t n = tile.getN(), lanes = tile.getLanes();
  int64_t groups = int64_t(1) << cast<MemRefType>(rows.getType()).getRank() - 1;
  Value first = b.multiply(number, groups * tile.getRowParts() * lanes);
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t row = 0; row < source.rows; row += n) {
      Value factors = loadRows(b, rows, group, row, n);
      int64_t part = group * tile.getRowParts() + (firstRow + row) / n;
      storeRows(b, factors, into, b.add(first, part * lanes));
    }
}

void ExpandedWeight::spreadExcess(TileBuilder &b, int64_t firstRow,
                                  Value span) const {
  int64_t n = tile.getN(), lanes = tile.getLanes();
  Value first = b.multiply(span, tile.getRowParts() * lanes);
  for (int64_t row = 0; row < source.rows; row += n) {
    Value scales = loadRows(b, scaleRows, /*group=*/0, row, n);
    int64_t part = (firstRow + row) / n;
    storeRows(b, emitExcess(b, scales), excess, b.add(first, part * lanes));
  }
}

void ExpandedWeight::emit(TileBuilder &b, Value first) const {
  int64_t block = source.format.getBlock(), tiles = tile.rows / source.rows;
  auto scaleOf = [&](KernelBuilder &nested, const FactorOperands &operands,
                     FactorDims dims, ValueRange arguments) {
    if (!factors.hasIntegerScales && !factors.codeSign)
      return source.emitScale(nested, operands, dims, arguments);
    Value scale = source.emitOfGroup(nested, source.getScale(), operands, dims,
                                     arguments);
    return factors.codeSign || factors.multipliesIntegers
               ? scale
               : nested.convert(scale, nested.getF32Type());
  };
  auto minOf = [&](KernelBuilder &nested, const FactorOperands &operands,
                   FactorDims dims, ValueRange arguments) {
    if (!factors.hasIntegerMinima)
      return source.emitMin(nested, operands, dims, arguments);
    Value min =
        source.emitOfGroup(nested, source.getMin(), operands, dims, arguments);
    return factors.hasMinimumCodes ? min
                                   : nested.convert(min, nested.getF32Type());
  };
  auto ofBlock = [&](OperandRange factor, bool isNegative) {
    return [&, factor,
            isNegative](KernelBuilder &nested, const FactorOperands &operands,
                        FactorDims dims, ValueRange arguments) -> Value {
      Value value =
          source.emitOfBlock(nested, factor, operands, dims, arguments);
      return isNegative ? arith::NegFOp::create(nested, value) : value;
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
      if (blockScales) {
        emitRows(b, at, /*ofBlock=*/true, blockRows,
                 ofBlock(source.getScale(), factors.codeSign < 0));
        spreadRows(b, blockRows, firstRow, position, blockScales);
      }
      if (blockMinima) {
        emitRows(b, at, /*ofBlock=*/true, blockRows,
                 ofBlock(source.getMin(), /*isNegative=*/false));
        spreadRows(b, blockRows, firstRow, position, blockMinima);
      }
      b.forEach(firstSpan, b.add(firstSpan, block / kSpan), 1, [&](Value span) {
        at.span = span;
        if (scaleRows)
          emitRows(b, at, /*ofBlock=*/false, scaleRows, scaleOf);
        emitCodes(b, at, firstRow);
        if (scales)
          spreadRows(b, scaleRows, firstRow, span, scales);
        if (excess)
          spreadExcess(b, firstRow, span);
        if (minRows)
          emitRows(b, at, /*ofBlock=*/false, minRows, minOf);
        if (minima)
          spreadRows(b, minRows, firstRow, span, minima);
        else if (minimumCodes)
          keepMinima(b, arith::SubIOp::create(b, span, firstSpan));
      });
      if (minimumCodes)
        emitMinimumCodes(b, firstSpan, firstRow);
    }
  });
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/MatrixProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lumen;

static constexpr arith::FastMathFlags kContract =
    arith::FastMathFlags::contract;

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

Value MatrixProduct::loadRows(Value from, Value number, int64_t rowPart) {
  int64_t lanes = tile.getLanes();
  Value first = b.multiply(number, tile.getRowParts() * lanes);
  return b.load(lanes, from, b.add(first, rowPart * lanes));
}

Value MatrixProduct::loadTokens(Value from, Value column, int64_t columns,
                                int64_t tokenPart) {
  int64_t lanes = tile.getLanes();
  Value part = b.add(firstPart, tokenPart);
  Value first = b.multiply(part, columns * lanes);
  Value place = arith::AddIOp::create(b, first, b.multiply(column, lanes));
  return b.load(lanes, from, place);
}

MatrixProduct::Matrices MatrixProduct::zeros(Type element) const {
  Value zero = b.zero(VectorType::get(tile.getLanes(), element));
  return Matrices(tile.getTokenParts() * tile.getRowParts(), zero);
}

MatrixProduct::Matrices
MatrixProduct::carry(int64_t count, Matrices initial,
                     function_ref<Matrices(Value, ValueRange)> body) {
  if (count == 1)
    return body(b.index(0), initial);
  return b.accumulate(b.index(count), initial, body);
}

//===----------------------------------------------------------------------===//
// Integer sums
//===----------------------------------------------------------------------===//

/// The codes of a step of all rows meet one token part after the other, so that
/// they are loaded once.
void MatrixProduct::addProducts(Value span, int64_t group, unsigned groupBits,
                                int64_t first, int64_t count, Matrices &sums) {
  int64_t m = tile.getM(), n = tile.getN(), k = tile.getK();
  int64_t chunks = tile.getChunks() >> groupBits;
  Value ofRows = b.multiply(span, kSpan * tile.rows);
  Value ofTokens = b.multiply(span, kSpan * m);
  for (int64_t chunk = group * chunks; chunk < (group + 1) * chunks; ++chunk) {
    SmallVector<Value> rows;
    for (int64_t part = 0; part < tile.getRowParts(); ++part)
      rows.push_back(
          b.load(n * k, weight.codes,
                 b.add(ofRows, (chunk * tile.getRowParts() + part) * n * k)));
    for (int64_t part = first; part < first + count; ++part) {
      Value begin = b.multiply(b.add(firstPart, part), m * kSpan * getSpans());
      begin = arith::AddIOp::create(b, begin, ofTokens);
      Value tokens =
          b.load(m * k, activations.codes, b.add(begin, chunk * m * k));
      for (auto [rowPart, codes] : llvm::enumerate(rows)) {
        Value &sum = sums[getNumber(part, rowPart)];
        sum = MmaOp::create(b, sum.getType(), tile.shape, tokens, codes, sum);
      }
    }
  }
}

//===----------------------------------------------------------------------===//
// Scales
//===----------------------------------------------------------------------===//

/// Half of the tokens at a time: beside the sums of all in f32, registers hold
/// no more integer sums.
MatrixProduct::Matrices MatrixProduct::emitSpan(const Position &at,
                                                Matrices partial) {
  unsigned groupBits = weight.source.getGroupBits();
  bool adds = !partial.empty() || groupBits;
  if (partial.empty())
    partial = zeros(b.getF32Type());
  int64_t parts = tile.getTokenParts(), half = llvm::divideCeil(parts, 2);
  for (int64_t first = 0; first < parts; first += half) {
    int64_t count = std::min(half, parts - first);
    for (int64_t group = 0; group < 1 << groupBits; ++group) {
      Matrices sums = zeros(b.getI32Type());
      addProducts(at.span, group, groupBits, first, count, sums);
      Value number = b.add(b.multiply(at.span, 1 << groupBits), group);
      for (int64_t row = 0; row < tile.getRowParts(); ++row) {
        Value scale = loadRows(weight.scales, number, row);
        for (int64_t part = first; part < first + count; ++part) {
          Value &value = partial[getNumber(part, row)];
          Value sum = sums[getNumber(part, row)];
          if (weight.factors.hasIntegerScales) {
            sum = arith::MulIOp::create(b, sum, scale);
            value = arith::AddIOp::create(b, value, sum);
            continue;
          }
          sum = b.convert(sum, b.getF32Type());
          if (adds)
            value = b.multiplyAdd(sum, scale, value);
          else
            value = arith::MulFOp::create(b, sum, scale, kContract);
        }
      }
    }
  }
  if (weight.factors.hasMin && !weight.factors.hasIntegerMinima)
    subtractMinima(at.span, partial);
  return partial;
}

MatrixProduct::Matrices MatrixProduct::emitSpans(const Position &at) {
  int64_t spans = operands.getSpansOfScale();
  if (spans == 1)
    return emitSpan(at, {});
  const MatrixFactors &factors = weight.factors;
  Type element = factors.isInteger() ? Type(b.getI32Type()) : b.getF32Type();
  Matrices sums = carry(spans, zeros(element), [&](Value i, ValueRange sums) {
    Value span = arith::AddIOp::create(b, at.span, i);
    Matrices next(sums);
    if (!factors.hasIntegerSums)
      return emitSpan({at.block, span}, next);
    addProducts(span, 0, 0, 0, tile.getTokenParts(), next);
    return next;
  });
  if (!factors.isInteger())
    return sums;
  for (int64_t row = 0; row < tile.getRowParts(); ++row) {
    Value scale = loadRows(weight.blockScales, at.block, row);
    for (int64_t part = 0; part < tile.getTokenParts(); ++part) {
      Value &sum = sums[getNumber(part, row)];
      sum = arith::MulFOp::create(b, scale, b.convert(sum, b.getF32Type()),
                                  kContract);
    }
  }
  return sums;
}

//===----------------------------------------------------------------------===//
// Minima
//===----------------------------------------------------------------------===//

void MatrixProduct::subtractMinima(Value span, Matrices &partial) {
  int64_t count = int64_t(1) << operands.sumBits;
  for (int64_t i = 0; i < count; ++i) {
    Value number = b.add(b.multiply(span, count), i);
    SmallVector<Value> minima;
    for (int64_t row = 0; row < tile.getRowParts(); ++row)
      minima.push_back(loadRows(weight.minima, number, row));
    for (int64_t part = 0; part < tile.getTokenParts(); ++part) {
      Value sum =
          loadTokens(activations.sums, number, getSpans() * count, part);
      for (auto [row, min] : llvm::enumerate(minima)) {
        Value &value = partial[getNumber(part, row)];
        Value lowered = arith::MulFOp::create(b, min, sum, kContract);
        value = arith::SubFOp::create(b, value, lowered, kContract);
      }
    }
  }
}

/// Sums of integers that are exact in f32, in which they are added faster.
MatrixProduct::Matrices MatrixProduct::emitIntegerMinima(const Position &at,
                                                         Matrices partial) {
  int64_t perSpan = int64_t(1) << operands.sumBits,
          count = operands.getSpansOfScale() * perSpan,
          columns = getSpans() * perSpan;
  Value first = b.multiply(at.span, perSpan);
  Matrices lowered =
      carry(count, zeros(b.getF32Type()), [&](Value i, ValueRange carried) {
        Matrices sums(carried);
        Value number = arith::AddIOp::create(b, first, i);
        SmallVector<Value> minima;
        for (int64_t row = 0; row < tile.getRowParts(); ++row)
          minima.push_back(loadRows(weight.minima, number, row));
        for (int64_t part = 0; part < tile.getTokenParts(); ++part) {
          Value x = loadTokens(activations.sums, number, columns, part);
          for (auto [row, min] : llvm::enumerate(minima)) {
            Value &sum = sums[getNumber(part, row)];
            sum = b.multiplyAdd(min, x, sum);
          }
        }
        return sums;
      });
  for (int64_t row = 0; row < tile.getRowParts(); ++row) {
    Value min = loadRows(weight.blockMinima, at.block, row);
    for (int64_t part = 0; part < tile.getTokenParts(); ++part) {
      int64_t number = getNumber(part, row);
      Value term = arith::MulFOp::create(b, min, lowered[number], kContract);
      partial[number] =
          arith::SubFOp::create(b, partial[number], term, kContract);
    }
  }
  return partial;
}

//===----------------------------------------------------------------------===//
// The tile
//===----------------------------------------------------------------------===//

MatrixProduct::Matrices MatrixProduct::emitGroup(const Position &at,
                                                 Matrices acc) {
  Matrices partial = emitSpans(at);
  if (weight.factors.hasIntegerMinima)
    partial = emitIntegerMinima(at, partial);
  int64_t spans = operands.getSpansOfScale();
  Value group = b.divide(at.span, spans);
  for (int64_t part = 0; part < tile.getTokenParts(); ++part) {
    Value scale =
        loadTokens(activations.scales, group, getSpans() / spans, part);
    for (int64_t row = 0; row < tile.getRowParts(); ++row) {
      Value &value = acc[getNumber(part, row)];
      value = b.multiplyAdd(partial[getNumber(part, row)], scale, value);
    }
  }
  return acc;
}

void MatrixProduct::emit(Value token, Value into) {
  int64_t m = tile.getM(), n = tile.getN();
  firstPart = b.divide(token, m);
  int64_t block = int64_t(weight.source.format.getBlock()) / kSpan,
          spans = operands.getSpansOfScale();
  Matrices acc = carry(
      getSpans() / block, zeros(b.getF32Type()),
      [&](Value position, ValueRange carried) {
        Value first = b.multiply(position, block);
        return carry(
            block / spans, Matrices(carried), [&](Value i, ValueRange carried) {
              Value span =
                  arith::AddIOp::create(b, first, b.multiply(i, spans));
              return emitGroup({position, span}, Matrices(carried));
            });
      });
  for (int64_t part = 0; part < tile.getTokenParts(); ++part)
    for (int64_t i = 0; i < m; ++i) {
      SmallVector<Value> rows;
      for (int64_t row = 0; row < tile.getRowParts(); ++row)
        rows.push_back(b.extract(acc[getNumber(part, row)], i * n, n));
      b.store(b.concatenate(rows), into, {b.index(part * m + i), b.index(0)});
    }
}

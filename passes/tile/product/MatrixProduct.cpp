// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/MatrixProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::lumen;

static constexpr arith::FastMathFlags kContract =
    arith::FastMathFlags::contract;

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

SmallVector<Value> MatrixProduct::loadAllRows(Value from, Value number) {
  int64_t lanes = tile.getLanes();
  Value first = b.multiply(number, tile.getRowParts() * lanes);
  if (firstRowPart)
    first = arith::AddIOp::create(b, first, b.multiply(firstRowPart, lanes));
  SmallVector<Value> parts;
  for (int64_t part = 0; part < tile.getRowPartsAtOnce(); ++part)
    parts.push_back(b.load(lanes, from, b.add(first, part * lanes)));
  return parts;
}

Value MatrixProduct::loadTokens(Value from, Value column, int64_t columns,
                                int64_t tokenPart) {
  int64_t lanes = tile.getTokenLanes();
  if (tile.getM() == 1) {
    // Tokens at constant distances, so that they share an address.
    Value first = b.multiply(firstPart, columns);
    Value place = arith::AddIOp::create(b, first, column);
    place = b.add(place, tokenPart * columns);
    return b.broadcast(b.load(from, place), tile.getLanes());
  }
  Value part = b.add(firstPart, tokenPart);
  Value first = b.multiply(part, columns * lanes);
  Value place = arith::AddIOp::create(b, first, b.multiply(column, lanes));
  if (lanes == 1)
    return b.broadcast(b.load(from, place), tile.getLanes());
  return b.load(lanes, from, place);
}

MatrixProduct::Matrices MatrixProduct::repeat(Value matrix) const {
  return Matrices(tile.getTokenParts() * tile.getRowPartsAtOnce(), matrix);
}

MatrixProduct::Matrices MatrixProduct::zeros() const {
  return repeat(b.zero(VectorType::get(tile.getLanes(), b.getF32Type())));
}

MatrixProduct::Matrices MatrixProduct::start(int64_t sum) const {
  auto words = VectorType::get(tile.getLanes(), b.getI32Type());
  return repeat(b.integer(words, sum));
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

Value MatrixProduct::placeRows(Value number, int64_t columns) {
  Value first = b.multiply(number, columns * tile.rows);
  if (!firstRowPart)
    return first;
  return arith::AddIOp::create(
      b, first, b.multiply(firstRowPart, tile.getN() * tile.getK()));
}

Value MatrixProduct::loadRowCodes(Value first, int64_t chunk, int64_t part) {
  int64_t n = tile.getN(), k = tile.getK();
  return b.load(n * k, weight.codes,
                b.add(first, (chunk * tile.getRowParts() + part) * n * k));
}

Value MatrixProduct::loadTokenCodes(Value first, int64_t chunk, int64_t block) {
  int64_t m = tile.getM(), k = tile.getK();
  Value begin = b.multiply(b.add(firstBlock, block), m * kSpan * getSpans());
  begin = arith::AddIOp::create(b, begin, first);
  return b.load(m * k, activations.codes, b.add(begin, chunk * m * k));
}

Value MatrixProduct::loadSteps(Value first, int64_t chunk, int64_t token) {
  int64_t columns = kSpan * getSpans(), k = tile.getK();
  Value begin = b.multiply(firstBlock, columns);
  begin = arith::AddIOp::create(b, begin, first);
  return b.load(tile.getN() * k, activations.codes,
                b.add(begin, token * columns + chunk * k));
}

/// The codes of a step of all rows meet one block of tokens after the other, so
/// that they are loaded once.
void MatrixProduct::addProducts(Value span, int64_t group, unsigned groupBits,
                                Matrices &sums) {
  int64_t chunks = tile.getChunks() >> groupBits;
  Value ofRows = placeRows(span, kSpan);
  Value ofTokens = b.multiply(span, kSpan * tile.getM());
  bool isSingle = tile.getM() == 1;
  SmallVector<Value> steps(tile.getTokenParts());
  for (int64_t chunk = group * chunks; chunk < (group + 1) * chunks; ++chunk) {
    SmallVector<Value> rows;
    for (int64_t part = 0; part < tile.getRowPartsAtOnce(); ++part)
      rows.push_back(loadRowCodes(ofRows, chunk, part));
    for (int64_t part = 0; part < tile.getTokenParts(); ++part) {
      Value tokens;
      if (isSingle) {
        int64_t step = chunk % tile.getN(), k = tile.getK();
        if (!steps[part] || step == 0)
          steps[part] = loadSteps(ofTokens, chunk - step, part);
        tokens = b.extract(steps[part], step * k, k);
      } else {
        tokens = loadTokenCodes(ofTokens, chunk, part);
      }
      for (auto [rowPart, codes] : llvm::enumerate(rows)) {
        Value &sum = sums[getNumber(part, rowPart)];
        sum = MmaOp::create(b, sum.getType(), tile.shape, tokens, codes, sum);
      }
    }
  }
}

MatrixProduct::Matrices MatrixProduct::emitSums(ArrayRef<Value> spans,
                                                int64_t group,
                                                unsigned groupBits,
                                                int64_t first) {
  Matrices sums = start(first);
  if (!room) {
    for (Value span : spans)
      addProducts(span, group, groupBits, sums);
    return sums;
  }
  // Only memory is between the registers of such an instruction and vectors.
  int64_t chunks = tile.getChunks() >> groupBits, vectors = tile.getVectors();
  auto type = VectorType::get(tile.getM() * tile.getN(), b.getI32Type());
  for (int64_t block = 0; block < tile.tokens / tile.getM(); ++block)
    for (int64_t row = 0; row < tile.getRowPartsAtOnce(); ++row) {
      Value sum = b.integer(type, first);
      for (Value span : spans) {
        Value ofRows = placeRows(span, kSpan);
        Value ofTokens = b.multiply(span, kSpan * tile.getM());
        for (int64_t i = 0, chunk = group * chunks; i < chunks; ++i, ++chunk)
          sum = MmaOp::create(b, type, tile.shape,
                              loadTokenCodes(ofTokens, chunk, block),
                              loadRowCodes(ofRows, chunk, row), sum);
      }
      b.store(sum, room, b.index(0));
      for (int64_t i = 0; i < vectors; ++i)
        sums[getNumber(block * vectors + i, row)] =
            b.load(tile.getLanes(), room, b.index(i * tile.getLanes()));
    }
  return sums;
}

//===----------------------------------------------------------------------===//
// Scales
//===----------------------------------------------------------------------===//

void MatrixProduct::emitSpan(const Position &at, Matrices partial,
                             Finish finish) {
  unsigned groupBits = weight.source.getGroupBits();
  int64_t groups = int64_t(1) << groupBits;
  bool adds = !partial.empty() || groupBits,
       isInteger = weight.factors.multipliesIntegers;
  if (partial.empty())
    partial = zeros();
  for (int64_t group = 0; group < groups; ++group) {
    Matrices sums = emitSums(at.span, group, groupBits,
                             isInteger ? 0 : operands.getFirstSum());
    Value number = b.add(b.multiply(at.span, groups), group);
    SmallVector<Value> scales = loadAllRows(weight.scales, number), excess;
    if (weight.excess && group == 0)
      excess = loadAllRows(weight.excess, at.span);
    for (int64_t part = 0; part < tile.getTokenParts(); ++part)
      for (auto [row, scale] : llvm::enumerate(scales)) {
        Value &value = partial[getNumber(part, row)];
        Value sum = sums[getNumber(part, row)];
        if (isInteger) {
          sum = arith::MulIOp::create(b, sum, scale);
          value = arith::AddIOp::create(b, value, sum);
        } else if (!excess.empty()) {
          sum = arith::BitcastOp::create(b, scale.getType(), sum);
          value = math::FmaOp::create(b, sum, scale, excess[row]);
        } else if (sum = operands.emitSumAsFloat(b, sum); adds) {
          value = b.multiplyAdd(sum, scale, value);
        } else {
          value = arith::MulFOp::create(b, sum, scale, kContract);
        }
        if (group + 1 == groups)
          finish(part, row, value);
      }
  }
}

MatrixProduct::Matrices MatrixProduct::emitSpans(const Position &at) {
  const MatrixFactors &factors = weight.factors;
  int64_t spans = operands.getSpansOfScale();
  auto spanOf = [&](Value i) -> Value {
    return arith::AddIOp::create(b, at.span, i);
  };
  Matrices sums;
  if (factors.hasIntegerSums && room) {
    // At once, because memory is far.
    SmallVector<Value> all;
    for (int64_t i = 0; i < spans; ++i)
      all.push_back(b.add(at.span, i));
    sums = emitSums(all, 0, 0, 0);
  } else if (factors.hasIntegerSums) {
    sums =
        b.accumulate(b.index(spans), start(0), [&](Value i, ValueRange sums) {
          Matrices next(sums);
          addProducts(spanOf(i), 0, 0, next);
          return next;
        });
  } else {
    Matrices first = factors.multipliesIntegers ? start(0) : zeros();
    sums = b.accumulate(b.index(spans), first, [&](Value i, ValueRange sums) {
      Value span = spanOf(i);
      Matrices next(sums);
      FloatMinima minima(*this, span);
      emitSpan(
          {at.block, span}, sums, [&](int64_t part, int64_t row, Value value) {
            next[getNumber(part, row)] = minima.subtractFrom(value, part, row);
          });
      return next;
    });
  }
  if (!factors.isInteger())
    return sums;
  SmallVector<Value> scales = loadAllRows(weight.blockScales, at.block);
  for (int64_t part = 0; part < tile.getTokenParts(); ++part)
    for (auto [row, scale] : llvm::enumerate(scales)) {
      Value &sum = sums[getNumber(part, row)];
      sum = arith::MulFOp::create(b, scale, b.convert(sum, b.getF32Type()),
                                  kContract);
    }
  return sums;
}

//===----------------------------------------------------------------------===//
// The tile
//===----------------------------------------------------------------------===//

MatrixProduct::Matrices MatrixProduct::emitGroup(const Position &at,
                                                 Matrices acc) {
  int64_t spans = operands.getSpansOfScale();
  Value group = b.divide(at.span, spans);
  SmallVector<Value> scales(tile.getTokenParts());
  auto add = [&](int64_t part, int64_t row, Value partial) {
    if (!scales[part])
      scales[part] =
          loadTokens(activations.scales, group, getSpans() / spans, part);
    Value &value = acc[getNumber(part, row)];
    value = b.multiplyAdd(partial, scales[part], value);
  };
  if (spans == 1) {
    FloatMinima minima(*this, at.span);
    if (!weight.excess) {
      // At once, so that only one kind of sums in f32 is in registers.
      emitSpan(at, {}, [&](int64_t part, int64_t row, Value value) {
        add(part, row, minima.subtractFrom(value, part, row));
      });
      return acc;
    }
    // Sums become products in place, and all registers are taken: scales,
    // minima and scales of the activations come one after the other.
    Matrices values(acc.size());
    emitSpan(at, {}, [&](int64_t part, int64_t row, Value value) {
      values[getNumber(part, row)] = value;
    });
    auto forEach = [&](function_ref<void(int64_t, int64_t, Value &)> body) {
      for (int64_t part = 0; part < tile.getTokenParts(); ++part)
        for (int64_t row = 0; row < tile.getRowPartsAtOnce(); ++row)
          body(part, row, values[getNumber(part, row)]);
    };
    forEach([&](int64_t part, int64_t row, Value &value) {
      value = minima.subtractFrom(value, part, row);
    });
    forEach(add);
    return acc;
  }
  Matrices partial = emitSpans(at);
  if (weight.factors.hasIntegerMinima)
    partial = emitIntegerMinima(at, partial);
  for (int64_t part = 0; part < tile.getTokenParts(); ++part)
    for (int64_t row = 0; row < tile.getRowPartsAtOnce(); ++row)
      add(part, row, partial[getNumber(part, row)]);
  return acc;
}

void MatrixProduct::emit(Value token, Value into) {
  firstBlock = b.divide(token, tile.getM());
  firstPart =
      tile.getVectors() == 1 ? firstBlock : b.divide(token, tile.getHeight());
  int64_t parts = tile.getRowParts(), atOnce = tile.getRowPartsAtOnce();
  if (parts == atOnce)
    return emitRowParts(into);
  b.forEach(b.index(0), b.index(parts), atOnce, [&](Value part) {
    firstRowPart = part;
    emitRowParts(into);
  });
}

void MatrixProduct::emitRowParts(Value into) {
  int64_t n = tile.getN(), height = tile.getHeight();
  int64_t block = int64_t(weight.source.format.getBlock()) / kSpan,
          spans = operands.getSpansOfScale();
  const MatrixFactors &factors = weight.factors;
  Matrices acc;
  if (factors.isInteger() || factors.hasIntegerMinima || room)
    acc = carry(
        getSpans() / block, zeros(), [&](Value position, ValueRange carried) {
          Value first = b.multiply(position, block);
          return carry(block / spans, Matrices(carried),
                       [&](Value i, ValueRange carried) {
                         Value span = arith::AddIOp::create(
                             b, first, b.multiply(i, spans));
                         return emitGroup({position, span}, Matrices(carried));
                       });
        });
  else // Blocks have no factors.
    acc = carry(getSpans() / spans, zeros(), [&](Value i, ValueRange carried) {
      return emitGroup({nullptr, b.multiply(i, spans)}, Matrices(carried));
    });
  Value firstRow = firstRowPart ? b.multiply(firstRowPart, n) : b.index(0);
  for (int64_t part = 0; part < tile.getTokenParts(); ++part)
    for (int64_t i = 0; i < height; ++i) {
      SmallVector<Value> rows;
      for (int64_t row = 0; row < tile.getRowPartsAtOnce(); ++row)
        rows.push_back(b.extract(acc[getNumber(part, row)], i * n, n));
      b.store(b.concatenate(rows), into,
              {b.index(part * height + i), firstRow});
    }
}

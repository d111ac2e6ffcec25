// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/FragmentProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::lumen;

static constexpr arith::FastMathFlags kContract =
    arith::FastMathFlags::contract;

FragmentProduct::FragmentProduct(TileBuilder &b,
                                 const ProductOperands &operands,
                                 const FragmentActivations &activations,
                                 const FragmentWeight &weight,
                                 const TokenTile &tokens)
    : b(b), operands(operands), activations(activations), weight(weight),
      tile(weight.tile), tokens(tokens) {
  tile.tokens = tokens.count;
}

FragmentProduct::Matrices
FragmentProduct::carry(int64_t count, Matrices initial,
                       function_ref<Matrices(Value, Matrices)> body) {
  if (count == 1)
    return body(b.index(0), std::move(initial));
  return b.accumulate(
      b.index(count), initial,
      [&](Value i, ValueRange carried) { return body(i, Matrices(carried)); });
}

//===----------------------------------------------------------------------===//
// Integer sums
//===----------------------------------------------------------------------===//

FragmentProduct::Matrices FragmentProduct::addProducts(const SpanPosition &at,
                                                       Matrices sums) {
  for (int64_t chunk = 0; chunk < kSpan / tile.shape.getK(); ++chunk) {
    SmallVector<Value> rows = weight.emitCodes(at, chunk);
    for (int64_t part = 0; part < tile.getTokenParts(); ++part) {
      Value x = activations.loadCodes(tile, placeTokens(part), at.span, chunk);
      for (auto [row, codes] : llvm::enumerate(rows)) {
        Value &sum = sums[getNumber(part, row)];
        sum = MmaOp::create(b, sum.getType(), tile.shape, codes, x, sum);
      }
    }
  }
  return sums;
}

//===----------------------------------------------------------------------===//
// Scales
//===----------------------------------------------------------------------===//

/// Token part by token part, so that few of their sums are in registers.
void FragmentProduct::emitSpan(
    const SpanPosition &at, Matrices partial,
    function_ref<void(int64_t, int64_t, Value)> finish) {
  bool isInteger = weight.hasIntegerScales,
       adds = !partial.empty() || weight.source.getGroupBits();
  bool hasFloatMinima = weight.source.hasMin() && !weight.hasIntegerMinima;
  // Of the first group, one operation scales and rounds what another one
  // would subtract from first.
  bool hasExcess =
      !isInteger && partial.empty() && hasExactExcess(weight.source);
  if (partial.empty())
    partial = zeros(b.getF32Type());
  SmallVector<SmallVector<Value>> codes, scales, minima;
  SmallVector<Value> excess;
  for (auto [group, factors] : llvm::enumerate(weight.emitScales(at))) {
    codes.push_back(weight.emitCodes(at, group));
    scales.push_back(weight.spread(factors));
  }
  if (hasExcess)
    for (Value scale : scales.front())
      excess.push_back(emitExcess(b, scale));
  if (hasFloatMinima)
    for (Value factors : weight.emitMinima(at))
      minima.push_back(weight.spread(factors));
  Value start =
      b.integer(getType(b.getI32Type()), isInteger ? 0 : kFirstFloatSum);
  for (int64_t part = 0; part < tile.getTokenParts(); ++part) {
    Value token = placeTokens(part);
    SmallVector<Value> x, xSums;
    for (int64_t group = 0; group < int64_t(codes.size()); ++group)
      x.push_back(activations.loadCodes(tile, token, at.span, group));
    for (int64_t i = 0; i < int64_t(minima.size()); ++i)
      xSums.push_back(activations.loadSums(
          tile, token, b.add(b.multiply(at.span, minima.size()), i)));
    for (int64_t row = 0; row < tile.getRowParts(); ++row) {
      Value value = partial[getNumber(part, row)];
      for (int64_t group = 0; group < int64_t(codes.size()); ++group) {
        Value scale = scales[group][row];
        Value sum = MmaOp::create(b, start.getType(), tile.shape,
                                  codes[group][row], x[group], start);
        if (isInteger) {
          sum = arith::MulIOp::create(b, sum, scale);
          value = arith::AddIOp::create(b, value, sum);
        } else if (hasExcess && group == 0) {
          sum = arith::BitcastOp::create(b, scale.getType(), sum);
          value = math::FmaOp::create(b, sum, scale, excess[row]);
        } else if (sum = emitFloatOfSum(b, sum); adds) {
          value = b.multiplyAdd(sum, scale, value);
        } else {
          value = arith::MulFOp::create(b, sum, scale, kContract);
        }
      }
      for (auto [min, x] : llvm::zip(minima, xSums)) {
        Value lowered = arith::MulFOp::create(b, min[row], x, kContract);
        value = arith::SubFOp::create(b, value, lowered, kContract);
      }
      finish(part, row, value);
    }
  }
}

void FragmentProduct::scaleByBlock(const SpanPosition &at, OperandRange factor,
                                   Matrices &sums) {
  SmallVector<Value> scales = weight.spread(weight.emitOfBlock(at, factor));
  for (int64_t part = 0; part < tile.getTokenParts(); ++part)
    for (auto [row, scale] : llvm::enumerate(scales)) {
      Value &sum = sums[getNumber(part, row)];
      sum = arith::MulFOp::create(b, scale, b.convert(sum, b.getF32Type()),
                                  kContract);
    }
}

FragmentProduct::Matrices FragmentProduct::emitSpans(const SpanPosition &at) {
  bool isInteger = weight.hasIntegerSums || weight.hasIntegerScales;
  Type element = isInteger ? Type(b.getI32Type()) : b.getF32Type();
  Matrices sums = carry(operands.getSpansOfScale(), zeros(element),
                        [&](Value i, Matrices sums) {
                          SpanPosition position = at;
                          position.span = arith::AddIOp::create(b, at.span, i);
                          if (weight.hasIntegerSums)
                            return addProducts(position, std::move(sums));
                          Matrices next(sums.size());
                          emitSpan(position, std::move(sums),
                                   [&](int64_t part, int64_t row, Value value) {
                                     next[getNumber(part, row)] = value;
                                   });
                          return next;
                        });
  if (isInteger)
    scaleByBlock(at, weight.source.getScale(), sums);
  return sums;
}

FragmentProduct::Matrices
FragmentProduct::subtractMinima(const SpanPosition &at, Matrices partial) {
  int64_t perSpan = int64_t(1) << operands.sumBits;
  Matrices lowered =
      carry(operands.getSpansOfScale(), zeros(b.getF32Type()),
            [&](Value i, Matrices sums) {
              SpanPosition position = at;
              position.span = arith::AddIOp::create(b, at.span, i);
              Value first = b.multiply(position.span, perSpan);
              for (auto [number, factors] :
                   llvm::enumerate(weight.emitMinima(position))) {
                SmallVector<Value> minima = weight.spread(factors);
                for (int64_t part = 0; part < tile.getTokenParts(); ++part) {
                  Value x = activations.loadSums(tile, placeTokens(part),
                                                 b.add(first, number));
                  for (auto [row, min] : llvm::enumerate(minima)) {
                    Value &sum = sums[getNumber(part, row)];
                    sum = b.multiplyAdd(min, x, sum);
                  }
                }
              }
              return sums;
            });
  scaleByBlock(at, weight.source.getMin(), lowered);
  for (auto [value, min] : llvm::zip(partial, lowered))
    value = arith::SubFOp::create(b, value, min, kContract);
  return partial;
}

FragmentProduct::Matrices FragmentProduct::emitGroup(const SpanPosition &at,
                                                     Matrices acc) {
  Value group = b.divide(at.span, operands.getSpansOfScale());
  int64_t known = -1;
  Value scale;
  auto add = [&](int64_t part, int64_t row, Value value) {
    if (part != known)
      scale = activations.loadScales(tile, placeTokens(part), group);
    known = part;
    Value &sum = acc[getNumber(part, row)];
    sum = b.multiplyAdd(value, scale, sum);
  };
  if (operands.getSpansOfScale() == 1) {
    emitSpan(at, {}, add);
    return acc;
  }
  Matrices partial = emitSpans(at);
  if (weight.hasIntegerMinima)
    partial = subtractMinima(at, std::move(partial));
  for (int64_t part = 0; part < tile.getTokenParts(); ++part)
    for (int64_t row = 0; row < tile.getRowParts(); ++row)
      add(part, row, partial[getNumber(part, row)]);
  return acc;
}

/// One loop: each one around it would have addresses of its own in registers.
FragmentProduct::Matrices FragmentProduct::emitBlocks(Value number, Value first,
                                                      Value end) {
  int64_t spans = operands.getSpansOfScale(),
          groups = int64_t(weight.source.format.getBlock()) / kSpan / spans;
  return b.accumulate(
      b.multiply(first, groups), b.multiply(end, groups), 1,
      zeros(b.getF32Type()), [&](Value group, ValueRange carried) {
        Value position = b.divide(group, groups);
        return emitGroup({number, position, b.multiply(group, spans)},
                         Matrices(carried));
      });
}

void FragmentProduct::store(const Matrices &results, Value room, Value adds) {
  int64_t n = tile.shape.getTokens();
  for (int64_t part = 0; part < tile.getTokenParts(); ++part)
    for (int64_t row = 0; row < tile.getRowParts(); ++row) {
      Value places = b.numbers(tile.getSize(), [&](int64_t i) {
        return i % n * tile.rows + tile.getRow(row, i / n) -
               tile.getRow(row, 0);
      });
      Value first = b.index(part * n * tile.rows + tile.getRow(row, 0)),
            result = results[getNumber(part, row)];
      if (adds) {
        Value before =
            arith::SelectOp::create(b, adds, b.gather(room, first, places),
                                    b.zero(getType(b.getF32Type())));
        result = arith::AddFOp::create(b, before, result);
      }
      b.scatter(result, room, first, places);
    }
}

void FragmentProduct::emit(Value number, Value room, const Segments &segments) {
  int64_t block = int64_t(weight.source.format.getBlock()),
          blocks = weight.source.getColumns() / block,
          each = segments.columns / block;
  if (segments.count == 1)
    return store(emitBlocks(number, b.index(0), b.index(blocks)), room,
                 nullptr);
  b.forEach(segments.count, [&](Value segment) {
    Value first = b.multiply(segment, each);
    Value end = arith::MinUIOp::create(b, b.add(first, each), b.index(blocks));
    Value adds =
        arith::CmpIOp::create(b, arith::CmpIPredicate::ne, segment, b.index(0));
    store(emitBlocks(number, first, end), room, adds);
  });
}

// SPDX-License-Identifier: Apache-2.0
//
// The minima of a weight in a product by instructions for small matrices.
#include "passes/tile/product/MatrixProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lumen;

static constexpr arith::FastMathFlags kContract =
    arith::FastMathFlags::contract;

Value MatrixProduct::FloatMinima::subtractFrom(Value value, int64_t part,
                                               int64_t row) {
  const MatrixFactors &factors = product.weight.factors;
  if (!factors.hasMin || factors.hasIntegerMinima)
    return value;
  TileBuilder &b = product.b;
  int64_t count = int64_t(1) << product.operands.sumBits;
  for (int64_t i = 0; i < count; ++i) {
    Value number = b.add(b.multiply(span, count), i);
    // Where they are first used, so that no register holds them before.
    SmallVector<Value> &ofRows = minima[i];
    if (ofRows.empty())
      ofRows = product.loadAllRows(product.weight.minima, number);
    Value &sum = sums[{i, part}];
    if (!sum)
      sum = product.loadTokens(product.activations.sums, number,
                               product.getSpans() * count, part);
    Value lowered = arith::MulFOp::create(b, ofRows[row], sum, kContract);
    value = arith::SubFOp::create(b, value, lowered, kContract);
  }
  return value;
}

MatrixProduct::Matrices MatrixProduct::addMinima(const Position &at) {
  int64_t perSpan = int64_t(1) << operands.sumBits,
          count = operands.getSpansOfScale() * perSpan,
          columns = getSpans() * perSpan;
  Value first = b.multiply(at.span, perSpan);
  return carry(count, zeros(), [&](Value i, ValueRange carried) {
    Matrices sums(carried);
    Value number = arith::AddIOp::create(b, first, i);
    SmallVector<Value> minima = loadAllRows(weight.minima, number);
    for (int64_t part = 0; part < tile.getTokenParts(); ++part) {
      Value x = loadTokens(activations.sums, number, columns, part);
      for (auto [row, min] : llvm::enumerate(minima)) {
        Value &sum = sums[getNumber(part, row)];
        sum = b.multiplyAdd(min, x, sum);
      }
    }
    return sums;
  });
}

/// The high codes of the sums come first.
MatrixProduct::Matrices MatrixProduct::addMinimumCodes(const Position &at) {
  int64_t m = tile.getM(), n = tile.getN(), k = tile.getK(),
          perSpan = int64_t(1) << operands.sumBits,
          chunks = operands.getSpansOfScale() * perSpan / k,
          columns = getSpans() * perSpan / k;
  Value first = b.divide(b.multiply(at.span, perSpan), k);
  Matrices lowered = start(0);
  for (int64_t half : {0, 1}) {
    lowered = carry(chunks, lowered, [&](Value i, ValueRange carried) {
      Matrices sums(carried);
      Value chunk = arith::AddIOp::create(b, first, i);
      SmallVector<Value> rows;
      Value ofRows = placeRows(chunk, k);
      for (int64_t part = 0; part < tile.getRowPartsAtOnce(); ++part)
        rows.push_back(
            b.load(n * k, weight.minimumCodes, b.add(ofRows, part * n * k)));
      for (int64_t part = 0; part < tile.getTokenParts(); ++part) {
        Value number = arith::AddIOp::create(
            b, b.multiply(b.add(firstPart, part), columns), chunk);
        Value tokens =
            b.load(m * k, activations.sumCodes,
                   b.add(b.multiply(number, 2 * m * k), half * m * k));
        for (auto [rowPart, codes] : llvm::enumerate(rows)) {
          Value &sum = sums[getNumber(part, rowPart)];
          sum = MmaOp::create(b, sum.getType(), tile.shape, tokens, codes, sum);
        }
      }
      return sums;
    });
    if (half == 0)
      for (Value &sum : lowered)
        sum = arith::ShLIOp::create(
            b, sum, b.integer(sum.getType(), ArrangedActivations::kSumBits));
  }
  return lowered;
}

MatrixProduct::Matrices MatrixProduct::emitIntegerMinima(const Position &at,
                                                         Matrices partial) {
  Matrices lowered = weight.minimumCodes ? addMinimumCodes(at) : addMinima(at);
  SmallVector<Value> minima = loadAllRows(weight.blockMinima, at.block);
  for (int64_t part = 0; part < tile.getTokenParts(); ++part)
    for (auto [row, min] : llvm::enumerate(minima)) {
      int64_t number = getNumber(part, row);
      Value sum = b.convert(lowered[number], b.getF32Type());
      Value term = arith::MulFOp::create(b, min, sum, kContract);
      partial[number] =
          arith::SubFOp::create(b, partial[number], term, kContract);
    }
  return partial;
}

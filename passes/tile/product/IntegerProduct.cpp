// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/IntegerProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"

using namespace mlir;
using namespace mlir::lumen;

/// Iteration dimensions behind the token where two groups meet: row lane, which
/// of the two.
enum PairDim : unsigned { kPairRow = 1, kPair, kPairDims };

static constexpr arith::FastMathFlags kContract =
    arith::FastMathFlags::contract;

Value IntegerProduct::emitGeneric(Value acc, ValueRange inputs,
                                  ArrayRef<AffineMap> maps, unsigned dims,
                                  TileBuilder::GenericBody body) {
  Value result = b.generic(acc, inputs, maps, dims, body);
  weight.fetchAhead(result, tokens.count);
  return result;
}

//===----------------------------------------------------------------------===//
// Integer sums
//===----------------------------------------------------------------------===//

/// Integer sums start from the bias times the activations' sums, which makes
/// the product of the unsigned codes exact for the biased ones.
Value IntegerProduct::emitInitialSums(Value span, int64_t begin) {
  unsigned groupBits = weight.getGroupBits(), sumBits = operands.sumBits;
  SmallVector<int64_t> shape = {tokens.count};
  shape.append(groupBits, 2);
  shape.push_back(weight.rows);
  auto type = RankedTensorType::get(shape, b.getI32Type());
  int64_t bias = weight.getBias();
  if (!bias || addsBias())
    return b.integer(type, begin);
  Value initial = b.integer(type, begin);
  int64_t factor = bias / int64_t(operands.product.getOffsetBias());
  // dims: token, the bits of the sums (the last sumBits - groupBits reduced),
  // row.
  unsigned dims = sumBits + 2;
  auto in = llvm::to_vector(llvm::seq<unsigned>(0, sumBits + 1));
  auto out = llvm::to_vector(llvm::seq<unsigned>(0, groupBits + 1));
  out.push_back(dims - 1);
  return b.generic(initial, sliceOf(operands.offsets, span),
                   {b.map(dims, in), b.map(dims, out)}, dims,
                   [&](KernelBuilder &nested, ValueRange arguments) -> Value {
                     Value offset = arguments[0];
                     if (factor != 1)
                       offset = arith::MulIOp::create(
                           nested, offset,
                           nested.integer(nested.getI32Type(), factor));
                     return arith::AddIOp::create(nested, arguments[1], offset);
                   });
}

/// The same for all spans behind one scale of the activations, whose sums are
/// added up as they lie, once for all rows.
Value IntegerProduct::emitInitialBlockSums(Value span) {
  Value zero = zeros(b.getI32Type());
  int64_t bias = weight.getBias();
  if (!bias || addsBias())
    return zero;
  int64_t factor = bias / int64_t(operands.product.getOffsetBias());
  int64_t perSpan = int64_t(1) << operands.sumBits,
          count = operands.getSpansOfScale() * perSpan;
  Value first = b.multiply(span, perSpan);
  for (int64_t i = 0; i < tokens.count; ++i) {
    Value row = b.add(tokens.first, i), sum;
    for (int64_t j = 0; j < count; ++j) {
      Value next = b.load(operands.flatOffsets, {row, b.add(first, j)});
      sum = sum ? arith::AddIOp::create(b, sum, next).getResult() : next;
    }
    if (factor != 1)
      sum = arith::MulIOp::create(b, sum, b.integer(b.getI32Type(), factor));
    b.store(sum, operands.blockOffsets, b.index(i));
  }
  Value sums = b.sliceOfShape(b.toTensor(operands.blockOffsets),
                              {b.getIndexAttr(0)}, {tokens.count});
  return b.generic(
      zero, sums, {b.map(2, {0}), b.map(2, {0, 1})}, 2,
      [&](KernelBuilder &, ValueRange arguments) { return arguments.front(); });
}

Value IntegerProduct::emitIntegerSums(const SpanPosition &at, Value initial,
                                      int64_t begin) {
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  weight.collectCodes(b, at, inputs, maps);
  inputs.push_back(sliceOf(operands.codes, at.span));
  maps.push_back(b.map(kSpanDims, {kToken, kX, kY, kZ, kK4}));
  // Groups have sums of their own, but where all of a block are added up.
  SmallVector<unsigned> sumDims = {kToken};
  for (unsigned i = 0; !initial && i < weight.getGroupBits(); ++i)
    sumDims.push_back(kX + i);
  sumDims.push_back(kRow);
  maps.push_back(b.map(kSpanDims, sumDims));
  if (!initial)
    initial = emitInitialSums(at.span, begin);
  return emitGeneric(
      initial, inputs, maps, kSpanDims,
      [&](KernelBuilder &nested, ValueRange arguments) -> Value {
        Type i32 = nested.getI32Type();
        Value code = weight.emitCode(nested, arguments.drop_back(2));
        Value lhs;
        if (addsBias()) {
          Value bias = nested.integer(nested.getI8Type(), weight.getBias());
          code = arith::AddIOp::create(nested, code, bias);
        }
        if (addsBias() || weight.hasSignedCodes()) {
          lhs = arith::ExtSIOp::create(nested, i32, code);
        } else {
          lhs = arith::ExtUIOp::create(nested, i32, code);
        }
        Value rhs =
            arith::ExtSIOp::create(nested, i32, arguments.drop_back().back());
        Value term = arith::MulIOp::create(nested, lhs, rhs);
        return arith::AddIOp::create(nested, arguments.back(), term);
      });
}

//===----------------------------------------------------------------------===//
// Scales
//===----------------------------------------------------------------------===//

Value IntegerProduct::emitSpan(const SpanPosition &at, Value partial) {
  unsigned groupBits = weight.getGroupBits();
  // Scaled and added up: dims token, group bits, row.
  FactorDims dims = {groupBits + 2, 1, groupBits + 1};
  auto all = llvm::to_vector(llvm::seq<unsigned>(0, dims.dims));
  int64_t begin = operands.getFirstSum();
  SmallVector<Value> inputs = {emitIntegerSums(at, nullptr, begin)};
  SmallVector<AffineMap> maps = {b.map(dims.dims, all)};
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps);
  maps.push_back(b.map(dims.dims, {0, dims.row}));
  bool adds = partial || groupBits, isExact = operands.hasIntegerScales(weight);
  if (!partial)
    partial = zeros(b.getF32Type());
  partial = emitGeneric(
      partial, inputs, maps, dims.dims,
      [&](KernelBuilder &nested, ValueRange arguments) -> Value {
        Type f32 = nested.getF32Type();
        Value scale =
            isExact
                ? nested.convert(weight.emitOfGroup(nested, weight.getScale(),
                                                    factors, dims, arguments),
                                 f32)
                : weight.emitScale(nested, factors, dims, arguments);
        Value sum = operands.emitSumAsFloat(nested, arguments[0]);
        if (adds)
          return nested.multiplyAdd(sum, scale, arguments.back());
        return arith::MulFOp::create(nested, sum, scale, kContract);
      });
  if (weight.hasMin() && !operands.hasIntegerMinima())
    partial = emitMinima(at, partial);
  return partial;
}

Value IntegerProduct::emitIntegerTerms(const SpanPosition &at, Value sums) {
  unsigned groupBits = weight.getGroupBits();
  FactorDims dims = {groupBits + 2, 1, groupBits + 1};
  auto all = llvm::to_vector(llvm::seq<unsigned>(0, dims.dims));
  SmallVector<Value> inputs = {emitIntegerSums(at)};
  SmallVector<AffineMap> maps = {b.map(dims.dims, all)};
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps);
  maps.push_back(b.map(dims.dims, {0, dims.row}));
  return emitGeneric(
      sums, inputs, maps, dims.dims,
      [&](KernelBuilder &nested, ValueRange arguments) -> Value {
        Value scale = weight.emitOfGroup(nested, weight.getScale(), factors,
                                         dims, arguments);
        Value term = arith::MulIOp::create(nested, arguments.front(), scale);
        return arith::AddIOp::create(nested, arguments.back(), term);
      });
}

Value IntegerProduct::emitPairedSpan(const SpanPosition &at, Value sums) {
  FactorDims dims = {kPairDims, kPair, kPairRow};
  SmallVector<Value> inputs = {emitIntegerSums(at)};
  SmallVector<AffineMap> maps = {b.map(kPairDims, {0, kPair, kPairRow})};
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps);
  maps.push_back(b.map(kPairDims, {0, kPairRow}));
  return emitGeneric(
      sums, inputs, maps, kPairDims,
      [&](KernelBuilder &nested, ValueRange arguments) -> Value {
        Value scale = weight.emitOfGroup(nested, weight.getScale(), factors,
                                         dims, arguments);
        Value sum = arith::TruncIOp::create(nested, nested.getI16Type(),
                                            arguments.front());
        sum = arith::ExtSIOp::create(nested, nested.getI32Type(), sum);
        Value term = arith::MulIOp::create(nested, scale, sum);
        return arith::AddIOp::create(nested, arguments.back(), term);
      });
}

Value IntegerProduct::emitSpans(const SpanPosition &at) {
  int64_t spans = operands.getSpansOfScale();
  if (spans == 1)
    return emitSpan(at, nullptr);
  bool paired = form.addsPairs && operands.hasPairedScales(weight),
       whole = operands.hasIntegerSums(weight),
       isExact = operands.hasIntegerScales(weight),
       terms = isExact && operands.slowConversions;
  Type sum = paired || terms ? Type(b.getI32Type()) : b.getF32Type();
  Value initial = whole ? emitInitialBlockSums(at.span) : zeros(sum);
  Value sums = b.carry(spans, initial, [&](Value i, Value sums) {
    SpanPosition position = at;
    position.span = arith::AddIOp::create(b, at.span, i);
    if (whole)
      return emitIntegerSums(position, sums);
    if (terms && !paired)
      return emitIntegerTerms(position, sums);
    return paired ? emitPairedSpan(position, sums) : emitSpan(position, sums);
  });
  if (!paired && !whole && !isExact)
    return sums;
  return emitBlockFactor(
      weight.getScale(), at, sums, zeros(b.getF32Type()),
      [](KernelBuilder &, Value, Value term) { return term; });
}

Value IntegerProduct::emitBlockFactor(
    OperandRange factor, const SpanPosition &at, Value sums, Value acc,
    function_ref<Value(KernelBuilder &, Value, Value)> combine) {
  FactorDims dims = {2, 2, 1};
  SmallVector<Value> inputs = {sums};
  SmallVector<AffineMap> maps = {b.map(2, {0, 1})};
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps,
                                                 /*hasGroups=*/false);
  maps.push_back(b.map(2, {0, 1}));
  return b.generic(
      acc, inputs, maps, 2, [&](KernelBuilder &nested, ValueRange arguments) {
        Value ofBlock =
            weight.emitOfBlock(nested, factor, factors, dims, arguments);
        Value sum = nested.convert(arguments.front(), nested.getF32Type());
        Value term = arith::MulFOp::create(nested, ofBlock, sum, kContract);
        return combine(nested, arguments.back(), term);
      });
}

Value IntegerProduct::emitGroup(const SpanPosition &at, Value acc) {
  Value group = b.divide(at.span, operands.getSpansOfScale());
  Value partial = emitSpans(at);
  if (weight.hasMin() && operands.hasIntegerMinima())
    partial = emitIntegerMinima(at, partial);
  return b.generic(acc, {partial, sliceOf(operands.scales, group)},
                   {b.map(2, {0, 1}), b.map(2, {0}), b.map(2, {0, 1})}, 2,
                   [&](KernelBuilder &nested, ValueRange arguments) {
                     return nested.multiplyAdd(arguments[0], arguments[1],
                                               arguments.back());
                   });
}

//===----------------------------------------------------------------------===//
// Minima
//===----------------------------------------------------------------------===//

/// The minima of a span, by the activations' sums. These may be finer than the
/// weight's groups, where another weight of the same product needs them so.
Value IntegerProduct::emitMinima(const SpanPosition &at, Value acc) {
  unsigned sumBits = operands.sumBits;
  FactorDims dims = {sumBits + 2, 1, sumBits + 1};
  SmallVector<Value> inputs = {sliceOf(operands.sums, at.span)};
  auto tokenSums = llvm::to_vector(llvm::seq<unsigned>(0, sumBits + 1));
  SmallVector<AffineMap> maps = {b.map(dims.dims, tokenSums)};
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps);
  maps.push_back(b.map(dims.dims, {0, dims.row}));
  return emitGeneric(acc, inputs, maps, dims.dims,
                     [&](KernelBuilder &nested, ValueRange arguments) -> Value {
                       Value min =
                           weight.emitMin(nested, factors, dims, arguments);
                       Value lowered = arith::MulFOp::create(
                           nested, min, arguments[0], kContract);
                       return arith::SubFOp::create(nested, arguments.back(),
                                                    lowered, kContract);
                     });
}

/// The minima of all spans behind one scale of the activations. The integers of
/// two groups, or of one whose activations have two sums, meet these in a dot
/// product; the float of the block comes last.
Value IntegerProduct::emitIntegerMinima(const SpanPosition &at, Value acc) {
  // A pair is the two sums of a span, or those of two spans.
  int64_t spansPerPair = operands.sumBits ? 1 : 2;
  Value firstPair = arith::DivUIOp::create(b, at.span, b.index(spansPerPair));
  FactorDims dims = {kPairDims, kPair, kPairRow};
  auto addPair = [&](Value i, Value lowered) {
    Value pair = arith::AddIOp::create(b, firstPair, i);
    SmallVector<Value> inputs = {sliceOf(operands.sumPairs, pair)};
    SmallVector<AffineMap> maps = {b.map(kPairDims, {0, kPair})};
    SmallVector<FactorOperands> factors;
    for (int64_t j = 0; j < spansPerPair; ++j) {
      SpanPosition position = at;
      position.span = b.add(b.multiply(pair, spansPerPair), j);
      factors.push_back(weight.collectFactors(b, position, dims, inputs, maps));
    }
    maps.push_back(b.map(kPairDims, {0, kPairRow}));
    return emitGeneric(
        lowered, inputs, maps, kPairDims,
        [&](KernelBuilder &nested, ValueRange arguments) -> Value {
          auto emitMin = [&](const FactorOperands &ofSpan) {
            return weight.emitOfGroup(nested, weight.getMin(), ofSpan, dims,
                                      arguments);
          };
          Value min = emitMin(factors.front());
          if (spansPerPair == 2) {
            Value j = linalg::IndexOp::create(nested, kPair);
            Value isFirst = arith::CmpIOp::create(
                nested, arith::CmpIPredicate::eq, j, nested.index(0));
            min = arith::SelectOp::create(nested, isFirst, min,
                                          emitMin(factors.back()));
          }
          Value sum = arith::ExtSIOp::create(nested, nested.getI32Type(),
                                             arguments.front());
          Value term = arith::MulIOp::create(nested, min, sum);
          return arith::AddIOp::create(nested, arguments.back(), term);
        });
  };
  Value lowered = b.carry(operands.getSpansOfScale() / spansPerPair,
                          zeros(b.getI32Type()), addPair);
  return emitBlockFactor(
      weight.getMin(), at, lowered, acc,
      [](KernelBuilder &nested, Value acc, Value term) -> Value {
        return arith::SubFOp::create(nested, acc, term, kContract);
      });
}

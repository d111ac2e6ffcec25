// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/ProductTile.h"

#include "passes/support/RowUtils.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

/// How many bytes ahead weights are fetched, which come from memory in the
/// first tile of tokens: a page, which is where the hardware's own prefetching
/// ends, and further where codes of few bits leave less work to a byte and so
/// less time. The one fast stream of codes that are whole bytes the hardware
/// follows better by itself where a single token leaves it no time.
static constexpr int64_t kAhead = 4096, kFewBitsAhead = 7168, kFewBits = 3;

/// Tokens that a register tile never exceeds.
static constexpr int64_t kMostTokens = 64;

/// The largest magnitude of the activations' codes.
static constexpr int64_t kMostCode = 127;

/// Iteration dimensions behind the token where two groups meet: row lane, which
/// of the two.
enum PairDim : unsigned { kPairRow = 1, kPair, kPairDims };

static constexpr arith::FastMathFlags kContract =
    arith::FastMathFlags::contract;

void ProductTile::fetchAhead(Value value, const PackedWeight &weight,
                             int64_t tokens) {
  if (!weight.isFar || (weight.hasByteCodes() && tokens == 1))
    return;
  int64_t ahead = weight.getCodeBits() <= kFewBits ? kFewBitsAhead : kAhead;
  value.getDefiningOp()->setAttr(LumenDialect::kPrefetchAttr,
                                 b.getI64IntegerAttr(ahead));
}

Value ProductTile::expandSpans(Value memref, unsigned bits, int64_t rest) {
  auto type = cast<MemRefType>(memref.getType());
  SmallVector<int64_t> shape = {ShapedType::kDynamic,
                                product.getColumns() / kSpan};
  shape.append(bits, 2);
  if (rest > 1)
    shape.push_back(rest);
  if (shape.size() == 2)
    return b.toTensor(memref);
  SmallVector<ReassociationIndices> groups = {{0}, {}};
  for (unsigned i = 1; i < shape.size(); ++i)
    groups[1].push_back(i);
  SmallVector<OpFoldResult> sizes = {tokens};
  for (int64_t size : ArrayRef(shape).drop_front())
    sizes.push_back(b.getIndexAttr(size));
  auto expanded = MemRefType::get(shape, type.getElementType());
  return b.toTensor(
      memref::ExpandShapeOp::create(b, expanded, memref, groups, sizes));
}

Value ProductTile::viewPairs(Value memref) {
  auto type = cast<MemRefType>(memref.getType());
  int64_t pairs = type.getDimSize(1) / 2;
  SmallVector<OpFoldResult> sizes = {tokens, b.getIndexAttr(pairs),
                                     b.getIndexAttr(2)};
  auto expanded =
      MemRefType::get({ShapedType::kDynamic, pairs, 2}, type.getElementType());
  return b.toTensor(memref::ExpandShapeOp::create(
      b, expanded, memref, SmallVector<ReassociationIndices>{{0}, {1, 2}},
      sizes));
}

Value ProductTile::splitSlots(Value memref) {
  int64_t slots = product.getSlots();
  if (slots == 1)
    return memref;
  auto type = cast<MemRefType>(memref.getType());
  int64_t columns = type.getDimSize(1) / slots;
  Type element = type.getElementType();
  SmallVector<OpFoldResult> sizes = {
      memref::DimOp::create(b, memref, 0).getResult(), b.getIndexAttr(slots),
      b.getIndexAttr(columns)};
  memref = memref::ExpandShapeOp::create(
      b, MemRefType::get({ShapedType::kDynamic, slots, columns}, element),
      memref, SmallVector<ReassociationIndices>{{0}, {1, 2}}, sizes);
  return memref::CollapseShapeOp::create(
      b, memref, SmallVector<ReassociationIndices>{{0, 1}, {2}});
}

void ProductTile::viewActivations() {
  auto memref = [&](unsigned i) {
    auto tensor =
        product.getActivations()[i].getDefiningOp<bufferization::ToTensorOp>();
    return splitSlots(tensor.getBuffer());
  };
  tokens = memref::DimOp::create(b, memref(0), 0);
  bool quantized = llvm::any_of(
      weights, [](const PackedWeight &weight) { return !!weight.format; });
  if (!product.isInteger()) {
    x = quantized ? expandSpans(memref(0), 3, 4) : b.toTensor(memref(0));
    return;
  }
  codes = expandSpans(memref(0), 3, 4);
  scales = b.toTensor(memref(1));
  int64_t sumsPerSpan = cast<MemRefType>(memref(2).getType()).getDimSize(1) *
                        kSpan / product.getColumns();
  sumBits = llvm::Log2_64(sumsPerSpan);
  flatOffsets = memref(2);
  offsets = expandSpans(flatOffsets, sumBits, 1);
  blockOffsets = allocateScratch(b, {kMostTokens}, b.getI32Type());
  if (cast<MemRefType>(memref(3).getType()).getElementType().isInteger(16))
    sumPairs = viewPairs(memref(3));
  else
    sums = expandSpans(memref(3), sumBits, 1);
}

LogicalResult ProductTile::viewOperands() {
  for (Value activation : product.getActivations())
    if (!activation.getDefiningOp<bufferization::ToTensorOp>())
      return product.emitOpError("needs activations in buffers, got ")
             << activation.getType() << " made otherwise";
  for (Value bias : product.getBiases())
    if (!bias.getDefiningOp<bufferization::ToTensorOp>())
      return product.emitOpError("needs biases in buffers, got ")
             << bias.getType() << " made otherwise";
  if (product.getGroups() &&
      !product.getGroups().getDefiningOp<bufferization::ToTensorOp>())
    return product.emitOpError("needs groups in a buffer, got ")
           << product.getGroups().getType() << " made otherwise";
  for (unsigned i = 0; i < product.getWeights().size(); ++i) {
    if (!product.getWeights()[i].getDefiningOp<FromBytesOp>() ||
        !isa_and_nonnull<PackedAttr>(
            cast<RankedTensorType>(product.getWeights()[i].getType())
                .getEncoding()))
      return product.emitOpError()
             << "needs packed weights, but weight " << i << " is "
             << product.getWeights()[i].getType();
    if (!cast<RankedTensorType>(product.getWeights()[i].getType())
             .hasStaticShape())
      return product.emitOpError()
             << "needs weights of known sizes, but weight " << i << " is "
             << product.getWeights()[i].getType();
    weights.emplace_back(b, product.getWeights()[i]);
  }
  for (const PackedWeight &weight : weights)
    if (product.getGroups() &&
        weight.type.getDimSize(0) % (product.getExperts() * weight.rows))
      return product.emitOpError()
             << "needs experts of a multiple of " << weight.rows
             << " rows, got "
             << weight.type.getDimSize(0) / product.getExperts();
  for (const PackedWeight &weight : weights)
    if (!!weight.format != !!weights.front().format)
      return product.emitOpError() << "mixes quantized and float weights";
  viewActivations();
  for (const PackedWeight &weight : weights)
    if (sumPairs &&
        !takesIntegerSums(weight.format, product.getActivationGroup(),
                          kSpan >> sumBits))
      return product.emitOpError()
             << "has activation sums of 16 bits, which the minima of "
             << weight.format.getSymName() << " cannot meet in pairs";
  for (const PackedWeight &weight : weights)
    if (product.isInteger() && sumBits < weight.getGroupBits())
      return product.emitOpError()
             << "has activation sums of " << (kSpan >> sumBits)
             << " codes, but the format " << weight.format.getSymName()
             << " needs them per " << int64_t(weight.format.getGroup());
  for (const PackedWeight &weight : weights)
    if (product.isInteger() &&
        weight.getBias() % int64_t(product.getOffsetBias()))
      return product.emitOpError()
             << "has activation offsets for a bias of "
             << product.getOffsetBias() << ", which does not divide that of "
             << weight.format.getSymName() << " (" << weight.getBias() << ")";
  return success();
}

/// Integer sums start from the bias times the activations' sums, which makes
/// the product of the unsigned codes exact for the biased ones.
Value ProductTile::emitInitialSums(const PackedWeight &weight, int64_t tokens,
                                   Value token, Value span) {
  unsigned groupBits = weight.getGroupBits();
  SmallVector<int64_t> shape = {tokens};
  shape.append(groupBits, 2);
  shape.push_back(weight.rows);
  Value zero = b.zeros(shape, b.getI32Type());
  int64_t bias = weight.getBias();
  if (!bias || isSigned(weight))
    return zero;
  int64_t factor = bias / int64_t(product.getOffsetBias());
  // dims: token, the bits of the sums (the last sumBits - groupBits reduced),
  // row.
  unsigned dims = sumBits + 2;
  auto in = llvm::to_vector(llvm::seq<unsigned>(0, sumBits + 1));
  auto out = llvm::to_vector(llvm::seq<unsigned>(0, groupBits + 1));
  out.push_back(dims - 1);
  Value input = b.slice(offsets, {token, span}, tokens);
  return b.generic(
      zero, input, {b.map(dims, in), b.map(dims, out)}, dims,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) -> Value {
        Value offset = arguments[0];
        if (factor != 1)
          offset = arith::MulIOp::create(
              nested, loc, offset,
              arith::ConstantIntOp::create(nested, loc, nested.getI32Type(),
                                           factor));
        return arith::AddIOp::create(nested, loc, arguments[1], offset);
      });
}

/// The same for all spans behind one scale of the activations, whose sums are
/// added up as they lie, once for all rows.
Value ProductTile::emitInitialBlockSums(const PackedWeight &weight,
                                        int64_t tokens, Value token,
                                        Value span) {
  Value zero = b.zeros({tokens, weight.rows}, b.getI32Type());
  int64_t bias = weight.getBias();
  if (!bias || isSigned(weight))
    return zero;
  int64_t factor = bias / int64_t(product.getOffsetBias());
  int64_t perSpan = int64_t(1) << sumBits,
          count = product.getActivationGroup() / kSpan * perSpan;
  Value first = arith::MulIOp::create(b, span, b.index(perSpan));
  for (int64_t i = 0; i < tokens; ++i) {
    Value row = arith::AddIOp::create(b, token, b.index(i)), sum;
    for (int64_t j = 0; j < count; ++j) {
      Value place = arith::AddIOp::create(b, first, b.index(j));
      Value next = memref::LoadOp::create(b, flatOffsets, {row, place});
      sum = sum ? arith::AddIOp::create(b, sum, next).getResult() : next;
    }
    if (factor != 1)
      sum = arith::MulIOp::create(
          b, sum, arith::ConstantIntOp::create(b, b.getI32Type(), factor));
    memref::StoreOp::create(b, sum, blockOffsets, b.index(i));
  }
  auto type = RankedTensorType::get({tokens}, b.getI32Type());
  Value sums = tensor::ExtractSliceOp::create(
      b, type, b.toTensor(blockOffsets),
      ArrayRef<OpFoldResult>{b.getIndexAttr(0)},
      ArrayRef<OpFoldResult>{b.getIndexAttr(tokens)},
      ArrayRef<OpFoldResult>{b.getIndexAttr(1)});
  return b.generic(zero, sums, {b.map(2, {0}), b.map(2, {0, 1})}, 2,
                   [&](OpBuilder &, Location, ValueRange arguments) -> Value {
                     return arguments.front();
                   });
}

/// The integer sums of a span's groups, added to `initial` where that is not
/// null.
Value ProductTile::emitIntegerSums(const PackedWeight &weight, int64_t tokens,
                                   Value token, const SpanPosition &at,
                                   Value initial) {
  unsigned groupBits = weight.getGroupBits();
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  weight.collectCodes(b, at, inputs, maps);
  inputs.push_back(b.slice(codes, {token, at.span}, tokens));
  maps.push_back(b.map(kSpanDims, {kToken, kX, kY, kZ, kK4}));
  SmallVector<unsigned> sumDims = {kToken};
  for (unsigned i = 0; i < groupBits; ++i)
    sumDims.push_back(kX + i);
  sumDims.push_back(kRow);
  maps.push_back(b.map(kSpanDims, sumDims));
  if (!initial)
    initial = emitInitialSums(weight, tokens, token, at.span);
  Value isum = b.generic(
      initial, inputs, maps, kSpanDims,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) {
        Type i32 = nested.getI32Type();
        Value code = weight.emitCode(nested, loc, arguments.drop_back(2));
        Value lhs;
        if (isSigned(weight)) {
          Value bias = arith::ConstantIntOp::create(
              nested, loc, nested.getI8Type(), weight.getBias());
          code = arith::AddIOp::create(nested, loc, code, bias);
          lhs = arith::ExtSIOp::create(nested, loc, i32, code);
        } else {
          lhs = arith::ExtUIOp::create(nested, loc, i32, code);
        }
        Value rhs = arith::ExtSIOp::create(nested, loc, i32,
                                           arguments.drop_back().back());
        Value term = arith::MulIOp::create(nested, loc, lhs, rhs);
        return arith::AddIOp::create(nested, loc, arguments.back(), term)
            .getResult();
      });

  fetchAhead(isum, weight, tokens);
  return isum;
}

/// One span with 8-bit activations: an integer generic, then a float one. A
/// null `partial` counts as 0.
Value ProductTile::emitSpan(const PackedWeight &weight, int64_t tokens,
                            Value token, const SpanPosition &at,
                            Value partial) {
  unsigned groupBits = weight.getGroupBits();
  Value isum = emitIntegerSums(weight, tokens, token, at);
  // Scaled and added up: dims token, group bits, row.
  FactorDims dims = {groupBits + 2, 1, groupBits + 1};
  auto all = llvm::to_vector(llvm::seq<unsigned>(0, dims.dims));
  SmallVector<Value> inputs = {isum};
  SmallVector<AffineMap> maps = {b.map(dims.dims, all)};
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps);
  maps.push_back(b.map(dims.dims, {0, dims.row}));
  bool adds = partial || groupBits, isExact = hasIntegerScales(weight);
  if (!partial)
    partial = b.zeros({tokens, weight.rows}, b.getF32Type());
  partial = b.generic(
      partial, inputs, maps, dims.dims,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) -> Value {
        Type f32 = nested.getF32Type();
        Value scale =
            isExact ? arith::SIToFPOp::create(
                          nested, loc, f32,
                          weight.emitOfGroup(nested, loc, weight.getScale(),
                                             factors, dims, arguments))
                          .getResult()
                    : weight.emitScale(nested, loc, factors, dims, arguments);
        Value sum = arith::SIToFPOp::create(nested, loc, f32, arguments[0]);
        Value term = arith::MulFOp::create(nested, loc, sum, scale, kContract);
        return adds ? arith::AddFOp::create(nested, loc, arguments.back(), term,
                                            kContract)
                    : term;
      });
  fetchAhead(partial, weight, tokens);
  if (weight.hasMin() && !hasIntegerMinima())
    partial = emitMinima(weight, tokens, token, at, partial);
  return partial;
}

bool ProductTile::hasPairedScales(const PackedWeight &weight) {
  int64_t spans = product.getActivationGroup() / kSpan;
  std::optional<IntegerRange> scales = getGroupIntegers(weight.getScale());
  // Without minima, which the same pipes multiply, loads are the limit.
  bool hasMinima = weight.hasMin() && hasIntegerMinima();
  if (!addsPairs || spans == 1 || weight.getGroupBits() != 1 || !scales ||
      !hasMinima)
    return false;
  constexpr int64_t kMost = std::numeric_limits<int16_t>::max();
  int64_t sum = kSpan / 2 * kMostCode * weight.getValues().getMagnitude();
  int64_t scale = scales->getMagnitude();
  return scale <= kMost && sum <= kMost &&
         2 * spans * scale * sum <= std::numeric_limits<int32_t>::max();
}

bool ProductTile::hasIntegerScales(const PackedWeight &weight) {
  int64_t group = product.getActivationGroup();
  std::optional<IntegerRange> scales = getGroupIntegers(weight.getScale());
  // Minima in floats would be added between the integers.
  if (group == kSpan || !scales || (weight.hasMin() && !hasIntegerMinima()))
    return false;
  constexpr int64_t kExact = 1 << 24;
  return group * kMostCode * (weight.getValues() * *scales).getMagnitude() <=
         kExact;
}

bool ProductTile::hasIntegerSums(const PackedWeight &weight) {
  return product.getActivationGroup() > kSpan && weight.hasBlockScale() &&
         (!weight.hasMin() || hasIntegerMinima());
}

/// One span, whose two integer sums meet the integers of their scales in a dot
/// product.
Value ProductTile::emitPairedSpan(const PackedWeight &weight, int64_t tokens,
                                  Value token, const SpanPosition &at,
                                  Value sums) {
  FactorDims dims = {kPairDims, kPair, kPairRow};
  SmallVector<Value> inputs = {emitIntegerSums(weight, tokens, token, at)};
  SmallVector<AffineMap> maps = {b.map(kPairDims, {0, kPair, kPairRow})};
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps);
  maps.push_back(b.map(kPairDims, {0, kPairRow}));
  Value result = b.generic(
      sums, inputs, maps, kPairDims,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) -> Value {
        Type i32 = nested.getI32Type();
        Value scale = weight.emitOfGroup(nested, loc, weight.getScale(),
                                         factors, dims, arguments);
        Value sum = arith::TruncIOp::create(nested, loc, nested.getI16Type(),
                                            arguments.front());
        sum = arith::ExtSIOp::create(nested, loc, i32, sum);
        Value term = arith::MulIOp::create(nested, loc, scale, sum);
        return arith::AddIOp::create(nested, loc, arguments.back(), term);
      });
  fetchAhead(result, weight, tokens);
  return result;
}

/// The spans behind one scale of the activations, without their minima where
/// these are integers.
Value ProductTile::emitSpans(const PackedWeight &weight, int64_t tokens,
                             Value token, const SpanPosition &at) {
  int64_t spans = product.getActivationGroup() / kSpan;
  if (spans == 1)
    return emitSpan(weight, tokens, token, at, nullptr);
  bool paired = hasPairedScales(weight), whole = hasIntegerSums(weight);
  Type element = paired || whole ? Type(b.getI32Type()) : b.getF32Type();
  Value initial = whole ? emitInitialBlockSums(weight, tokens, token, at.span)
                        : b.zeros({tokens, weight.rows}, element);
  Value sums = emitLoop(spans, initial, [&](Value i, Value sums) {
    SpanPosition position = at;
    position.span = arith::AddIOp::create(b, at.span, i);
    if (whole)
      return emitIntegerSums(weight, tokens, token, position, sums);
    return paired ? emitPairedSpan(weight, tokens, token, position, sums)
                  : emitSpan(weight, tokens, token, position, sums);
  });
  if (!paired && !whole && !hasIntegerScales(weight))
    return sums;
  Value zero = b.zeros({tokens, weight.rows}, b.getF32Type());
  return emitBlockFactor(
      weight, weight.getScale(), at, sums, zero,
      [](OpBuilder &, Location, Value, Value term) { return term; });
}

/// What `combine` makes of `acc` and the integers `sums` (in i32 or f32) times
/// the float of the block of `factor`.
Value ProductTile::emitBlockFactor(
    const PackedWeight &weight, OperandRange factor, const SpanPosition &at,
    Value sums, Value acc,
    function_ref<Value(OpBuilder &, Location, Value, Value)> combine) {
  FactorDims dims = {2, 2, 1};
  SmallVector<Value> inputs = {sums};
  SmallVector<AffineMap> maps = {b.map(2, {0, 1})};
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps,
                                                 /*hasGroups=*/false);
  maps.push_back(b.map(2, {0, 1}));
  return b.generic(
      acc, inputs, maps, 2,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) -> Value {
        Value ofBlock =
            weight.emitOfBlock(nested, loc, factor, factors, dims, arguments);
        Value sum = arguments.front();
        if (!sum.getType().isF32())
          sum = arith::SIToFPOp::create(nested, loc, nested.getF32Type(), sum);
        Value term =
            arith::MulFOp::create(nested, loc, ofBlock, sum, kContract);
        return combine(nested, loc, arguments.back(), term);
      });
}

/// The spans behind one scale of the activations, the first of which `at`
/// tells.
Value ProductTile::emitGroup(const PackedWeight &weight, int64_t tokens,
                             Value token, SpanPosition at, Value acc) {
  int64_t spans = product.getActivationGroup() / kSpan;
  Value group = at.span;
  if (spans > 1)
    group = arith::DivUIOp::create(b, at.span, b.index(spans));
  Value partial = emitSpans(weight, tokens, token, at);
  if (weight.hasMin() && hasIntegerMinima())
    partial = emitIntegerMinima(weight, tokens, token, at, partial);
  return b.generic(
      acc, {partial, b.slice(scales, {token, group}, tokens)},
      {b.map(2, {0, 1}), b.map(2, {0}), b.map(2, {0, 1})}, 2,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) -> Value {
        Value term = arith::MulFOp::create(nested, loc, arguments[0],
                                           arguments[1], kContract);
        return arith::AddFOp::create(nested, loc, arguments.back(), term,
                                     kContract);
      });
}

/// The minima of a span, by the activations' sums. These may be finer than the
/// weight's groups, where another weight of the same product needs them so.
Value ProductTile::emitMinima(const PackedWeight &weight, int64_t tokens,
                              Value token, const SpanPosition &at, Value acc) {
  FactorDims dims = {sumBits + 2, 1, sumBits + 1};
  SmallVector<Value> inputs = {b.slice(sums, {token, at.span}, tokens)};
  auto tokenSums = llvm::to_vector(llvm::seq<unsigned>(0, sumBits + 1));
  SmallVector<AffineMap> maps = {b.map(dims.dims, tokenSums)};
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps);
  maps.push_back(b.map(dims.dims, {0, dims.row}));
  Value result = b.generic(
      acc, inputs, maps, dims.dims,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) {
        Value min = weight.emitMin(nested, loc, factors, dims, arguments);
        Value lowered =
            arith::MulFOp::create(nested, loc, min, arguments[0], kContract);
        return arith::SubFOp::create(nested, loc, arguments.back(), lowered,
                                     kContract)
            .getResult();
      });
  fetchAhead(result, weight, tokens);
  return result;
}

/// The minima of all spans behind one scale of the activations. The integers of
/// two groups, or of one whose activations have two sums, meet these in a dot
/// product; the float of the block comes last.
Value ProductTile::emitIntegerMinima(const PackedWeight &weight, int64_t tokens,
                                     Value token, const SpanPosition &at,
                                     Value acc) {
  // A pair is the two sums of a span, or those of two spans.
  int64_t spans = product.getActivationGroup() / kSpan;
  int64_t spansPerPair = sumBits ? 1 : 2;
  Value firstPair = arith::DivUIOp::create(b, at.span, b.index(spansPerPair));
  FactorDims dims = {kPairDims, kPair, kPairRow};
  Value lowered = emitLoop(
      spans / spansPerPair, b.zeros({tokens, weight.rows}, b.getI32Type()),
      [&](Value i, Value lowered) {
        Value pair = arith::AddIOp::create(b, firstPair, i);
        SmallVector<Value> inputs = {b.slice(sumPairs, {token, pair}, tokens)};
        SmallVector<AffineMap> maps = {b.map(kPairDims, {0, kPair})};
        SmallVector<FactorOperands> factors;
        for (int64_t j = 0; j < spansPerPair; ++j) {
          SpanPosition position = at;
          position.span = arith::MulIOp::create(b, pair, b.index(spansPerPair));
          position.span = arith::AddIOp::create(b, position.span, b.index(j));
          factors.push_back(
              weight.collectFactors(b, position, dims, inputs, maps));
        }
        maps.push_back(b.map(kPairDims, {0, kPairRow}));
        Value result = b.generic(
            lowered, inputs, maps, kPairDims,
            [&](OpBuilder &nested, Location loc, ValueRange arguments) {
              auto emitMin = [&](const FactorOperands &operands) {
                return weight.emitOfGroup(nested, loc, weight.getMin(),
                                          operands, dims, arguments);
              };
              Value min = emitMin(factors.front());
              if (spansPerPair == 2) {
                Value j = linalg::IndexOp::create(nested, loc, kPair);
                Value zero = arith::ConstantIndexOp::create(nested, loc, 0);
                Value isFirst = arith::CmpIOp::create(
                    nested, loc, arith::CmpIPredicate::eq, j, zero);
                min = arith::SelectOp::create(nested, loc, isFirst, min,
                                              emitMin(factors.back()));
              }
              Value sum = arith::ExtSIOp::create(
                  nested, loc, nested.getI32Type(), arguments.front());
              Value term = arith::MulIOp::create(nested, loc, min, sum);
              return arith::AddIOp::create(nested, loc, arguments.back(), term)
                  .getResult();
            });
        fetchAhead(result, weight, tokens);
        return result;
      });
  return emitBlockFactor(
      weight, weight.getMin(), at, lowered, acc,
      [](OpBuilder &nested, Location loc, Value acc, Value term) -> Value {
        return arith::SubFOp::create(nested, loc, acc, term, kContract);
      });
}

/// One span with float activations: the weights' values meet them in registers.
Value ProductTile::emitExactSpan(const PackedWeight &weight, int64_t tokens,
                                 Value token, const SpanPosition &at,
                                 Value acc) {
  FactorDims dims = {kSpanDims, kX, kRow};
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  weight.collectCodes(b, at, inputs, maps);
  unsigned planes = inputs.size();
  inputs.push_back(b.slice(x, {token, at.span}, tokens));
  maps.push_back(b.map(kSpanDims, {kToken, kX, kY, kZ, kK4}));
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps);
  maps.push_back(b.map(kSpanDims, {kToken, kRow}));
  Value result = b.generic(
      acc, inputs, maps, kSpanDims,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) {
        Value scale = weight.emitScale(nested, loc, factors, dims, arguments);
        Value code = weight.emitCode(nested, loc, arguments.take_front(planes));
        Value wide =
            arith::ExtUIOp::create(nested, loc, nested.getI32Type(), code);
        Value biased = arith::AddIOp::create(
            nested, loc, wide,
            arith::ConstantIntOp::create(nested, loc, nested.getI32Type(),
                                         weight.getBias()));
        Value value =
            arith::SIToFPOp::create(nested, loc, nested.getF32Type(), biased);
        value = arith::MulFOp::create(nested, loc, scale, value);
        if (weight.hasMin())
          value = arith::SubFOp::create(
              nested, loc, value,
              weight.emitMin(nested, loc, factors, dims, arguments));
        Value term = arith::MulFOp::create(nested, loc, value,
                                           arguments[planes], kContract);
        return arith::AddFOp::create(nested, loc, arguments.back(), term,
                                     kContract)
            .getResult();
      });
  fetchAhead(result, weight, tokens);
  return result;
}

Value ProductTile::emitFloatProduct(const PackedWeight &weight, int64_t tokens,
                                    Value token, Value tile) {
  Value zero = b.zeros({tokens, weight.rows}, b.getF32Type());
  auto loop = scf::ForOp::create(b, b.index(0), b.index(weight.getColumns()),
                                 b.index(1), zero);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  Value k = loop.getInductionVar();
  Value row = b.slice(weight.values, {tile, k});
  auto xType = RankedTensorType::get({tokens}, b.getF32Type());
  Value column = tensor::ExtractSliceOp::create(
      b, xType, x, ArrayRef<OpFoldResult>{token, k},
      ArrayRef<OpFoldResult>{b.getIndexAttr(tokens), b.getIndexAttr(1)},
      ArrayRef<OpFoldResult>{b.getIndexAttr(1), b.getIndexAttr(1)});
  Value next = b.generic(
      loop.getRegionIterArgs()[0], {row, column},
      {b.map(2, {1}), b.map(2, {0}), b.map(2, {0, 1})}, 2,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) -> Value {
        Value value = arguments[0];
        if (!value.getType().isF32())
          value =
              arith::ExtFOp::create(nested, loc, nested.getF32Type(), value);
        Value term =
            arith::MulFOp::create(nested, loc, value, arguments[1], kContract);
        return arith::AddFOp::create(nested, loc, arguments[2], term,
                                     kContract);
      });
  scf::YieldOp::create(b, next);
  return loop.getResult(0);
}

Value ProductTile::emitLoop(int64_t count, Value initial,
                            function_ref<Value(Value, Value)> emitBody) {
  if (count == 1)
    return emitBody(b.index(0), initial);
  auto loop =
      scf::ForOp::create(b, b.index(0), b.index(count), b.index(1), initial);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  scf::YieldOp::create(
      b, emitBody(loop.getInductionVar(), loop.getRegionIterArgs()[0]));
  return loop.getResult(0);
}

/// tokens x rows results of one tile, in registers.
Value ProductTile::emitProduct(const PackedWeight &weight, int64_t tokens,
                               Value token, Value tile) {
  if (!weight.format)
    return emitFloatProduct(weight, tokens, token, tile);
  // Blocks, whose factors are the same throughout, and the parts of a block
  // that have a scale of the activations each, or no scale at all.
  int64_t block = weight.format.getBlock();
  int64_t part = product.isInteger() ? product.getActivationGroup() : kSpan;
  Value zero = b.zeros({tokens, weight.rows}, b.getF32Type());
  return emitLoop(
      weight.getColumns() / block, zero, [&](Value position, Value acc) {
        Value first =
            arith::MulIOp::create(b, position, b.index(block / kSpan));
        return emitLoop(block / part, acc, [&](Value i, Value acc) {
          Value span = arith::MulIOp::create(b, i, b.index(part / kSpan));
          SpanPosition at = {tile, position,
                             arith::AddIOp::create(b, first, span)};
          return product.isInteger()
                     ? emitGroup(weight, tokens, token, at, acc)
                     : emitExactSpan(weight, tokens, token, at, acc);
        });
      });
}

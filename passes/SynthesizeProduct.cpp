// SPDX-License-Identifier: Apache-2.0
//
// Synthesizes product kernels as linalg on packed tensors. Everything here follows
// from the components of the packed layout and the attributes of the format; no
// format is known by name.
#include "dialect/FormatLayout.h"
#include "passes/ProductEpilogue.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_SYNTHESIZEPRODUCTPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

using Kind = PackedComponent::Kind;

/// Iteration dimensions of a span: token, the three bits of the step, row lane,
/// position inside a step.
enum Dim : unsigned { kToken, kX, kY, kZ, kRow, kK4, kDims };

/// Bytes of activations that one block of tokens may take, so that they stay in
/// the second-level cache while the weight tiles pass by.
constexpr int64_t kTokenBlockBytes = 512 * 1024;

/// A weight seen as its components.
struct Weight {
  RankedTensorType type;
  mutable FormatOp format;
  int64_t rows = 0;
  /// One tensor per code plane: [tile][span][bits of the position…][row][k4].
  SmallVector<std::pair<CodePlane, Value>> planes;
  /// [tile][block][row], [tile][group][row] (or [tile][span][bits…][row]).
  Value scaleSuper, scaleSub, minSuper, minSub;
  /// Float elements: [tile][k][row].
  Value values;

  int64_t getTiles() const { return llvm::divideCeil(type.getDimSize(0), rows); }
  int64_t getColumns() const { return type.getDimSize(1); }
  /// log2 of the groups per span: how many of x, y, z number a group.
  unsigned getGroupBits() const {
    return llvm::Log2_64(kSpan / std::min<int64_t>(kSpan, format.getGroup()));
  }
};

class ProductSynthesizer {
public:
  ProductSynthesizer(func::FuncOp kernel, QLinearOp product, int64_t tokenTile)
      : b(product.getLoc(), kernel.getContext()), kernel(kernel), product(product),
        tokenTile(tokenTile) {}

  LogicalResult run();

private:
  Weight viewWeight(unsigned index);
  void viewActivations();
  void emitSink(ProductSink &sink, bool last);
  void emitExpertSink(ProductSink &sink, bool last);
  void emitRegisterTiles(ProductSink &sink, Value first, Value count, Value tile, Value rowTile);
  void emitTile(ProductSink &sink, int64_t tokens, Value token, Value tile, Value rowTile);
  /// memref<TxC> seen as memref<(T*S)x(C/S)>, for S slots.
  Value splitSlots(Value memref);
  Value emitProduct(const Weight &weight, int64_t tokens, Value token, Value tile);
  Value emitSpan(const Weight &weight, int64_t tokens, Value token, Value tile, Value block,
                 Value span, Value acc);
  Value emitExactSpan(const Weight &weight, int64_t tokens, Value token, Value tile, Value block,
                      Value span, Value acc);
  Value emitFloatProduct(const Weight &weight, int64_t tokens, Value token, Value tile);
  Value emitInitialSums(const Weight &weight, int64_t tokens, Value token, Value span);
  Value emitMinima(const Weight &weight, int64_t tokens, Value token, Value tile, Value block,
                   Value span, Value acc);
  Value emitCode(OpBuilder &nested, Location loc, const Weight &weight, ValueRange planeBytes);
  void collectScales(const Weight &weight, Value tile, Value block, Value span,
                     SmallVectorImpl<Value> &inputs, SmallVectorImpl<AffineMap> &maps,
                     unsigned dims, unsigned firstGroupDim, unsigned rowDim);
  std::pair<Value, Value> emitScaleAndMin(OpBuilder &nested, Location loc, const Weight &weight,
                                          ValueRange arguments, unsigned &next);

  Value index(int64_t value) { return arith::ConstantIndexOp::create(b, value); }
  Value view(Value bytes, int64_t offset, ArrayRef<int64_t> shape, Type element);
  Value toTensor(Value memref);
  /// memref<TxKxE> seen as [token][span][bits…][rest] (`rest` omitted when 1).
  Value expandSpans(Value memref, unsigned bits, int64_t rest);
  /// The slice at `position` of the leading dimensions, `tokens` of the first if it is a token.
  Value slice(Value tensor, ArrayRef<OpFoldResult> position, int64_t tokens = 0);
  AffineMap map(unsigned dims, ArrayRef<unsigned> results) {
    SmallVector<AffineExpr> exprs;
    for (unsigned dim : results)
      exprs.push_back(b.getAffineDimExpr(dim));
    return AffineMap::get(dims, 0, exprs, b.getContext());
  }
  Value generic(Value init, ValueRange inputs, ArrayRef<AffineMap> maps, unsigned dims,
                function_ref<Value(OpBuilder &, Location, ValueRange)> body);

  ImplicitLocOpBuilder b;
  func::FuncOp kernel;
  QLinearOp product;
  int64_t tokenTile;
  SmallVector<Weight> weights;
  Value tokens;                            // T
  Value codes, scales, offsets, sums, x;   // activations as tensors
  unsigned sumBits = 0;                    // log2 of the activation sums per span
};

/// The value range of the integers that stand for a code: table entries are
/// shifted to be unsigned, and the shift joins the bias.
int64_t getBias(FormatOp format) {
  if (auto table = format.getTable())
    return *llvm::min_element(*table);
  return format.getBias();
}

Value extendToF32(OpBuilder &nested, Location loc, Value value) {
  Type f32 = nested.getF32Type();
  if (value.getType() == f32)
    return value;
  if (isa<FloatType>(value.getType()))
    return arith::ExtFOp::create(nested, loc, f32, value);
  return arith::SIToFPOp::create(nested, loc, f32, value);
}

Value ProductSynthesizer::view(Value bytes, int64_t offset, ArrayRef<int64_t> shape, Type element) {
  return memref::ViewOp::create(b, MemRefType::get(shape, element), bytes, index(offset),
                                ValueRange{});
}

Value ProductSynthesizer::toTensor(Value memref) {
  auto type = cast<MemRefType>(memref.getType());
  return bufferization::ToTensorOp::create(
      b, RankedTensorType::get(type.getShape(), type.getElementType()), memref,
      /*restrict=*/true);
}

Value ProductSynthesizer::expandSpans(Value memref, unsigned bits, int64_t rest) {
  auto type = cast<MemRefType>(memref.getType());
  SmallVector<int64_t> shape = {ShapedType::kDynamic, product.getColumns() / kSpan};
  shape.append(bits, 2);
  if (rest > 1)
    shape.push_back(rest);
  if (shape.size() == 2)
    return toTensor(memref);
  SmallVector<ReassociationIndices> groups = {{0}, {}};
  for (unsigned i = 1; i < shape.size(); ++i)
    groups[1].push_back(i);
  SmallVector<OpFoldResult> sizes = {tokens};
  for (int64_t size : ArrayRef(shape).drop_front())
    sizes.push_back(b.getIndexAttr(size));
  auto expanded = MemRefType::get(shape, type.getElementType());
  return toTensor(memref::ExpandShapeOp::create(b, expanded, memref, groups, sizes));
}

Value ProductSynthesizer::slice(Value tensor, ArrayRef<OpFoldResult> position, int64_t tokens) {
  auto type = cast<RankedTensorType>(tensor.getType());
  SmallVector<OpFoldResult> offsets(position), sizes, strides(type.getRank(), b.getIndexAttr(1));
  SmallVector<int64_t> shape;
  for (int64_t i = 0; i < type.getRank(); ++i) {
    bool isPosition = i < int64_t(position.size());
    if (!isPosition)
      offsets.push_back(b.getIndexAttr(0));
    int64_t size = !isPosition ? type.getDimSize(i) : i == 0 && tokens ? tokens : 1;
    sizes.push_back(b.getIndexAttr(size));
    if (!isPosition || (i == 0 && tokens))
      shape.push_back(size);
  }
  return tensor::ExtractSliceOp::create(b, RankedTensorType::get(shape, type.getElementType()),
                                        tensor, offsets, sizes, strides);
}

Value ProductSynthesizer::generic(Value init, ValueRange inputs, ArrayRef<AffineMap> maps,
                                  unsigned dims,
                                  function_ref<Value(OpBuilder &, Location, ValueRange)> body) {
  SmallVector<utils::IteratorType> iterators(dims, utils::IteratorType::reduction);
  for (AffineExpr result : maps.back().getResults())
    iterators[cast<AffineDimExpr>(result).getPosition()] = utils::IteratorType::parallel;
  return linalg::GenericOp::create(b, init.getType(), inputs, init, maps, iterators,
                                   [&](OpBuilder &nested, Location loc, ValueRange arguments) {
                                     Value result = body(nested, loc, arguments);
                                     linalg::YieldOp::create(nested, loc, result);
                                   })
      .getResult(0);
}

Weight ProductSynthesizer::viewWeight(unsigned index) {
  Value weight = product.getWeights()[index];
  auto fromBytes = weight.getDefiningOp<FromBytesOp>();
  Weight result;
  result.type = cast<RankedTensorType>(weight.getType());
  result.rows = cast<PackedAttr>(result.type.getEncoding()).getRows();
  result.format = lookupFormat(result.type, kernel);
  int64_t n = result.type.getDimSize(0), k = result.getColumns();
  int64_t tiles = result.getTiles(), rows = result.rows, offset = 0;
  for (const PackedComponent &component :
       getPackedComponents(result.format, result.type.getElementType(), rows)) {
    SmallVector<int64_t> shape = {tiles, k / component.columns};
    bool groupsInSpan = component.columns < kSpan &&
                        (component.kind == Kind::ScaleSub || component.kind == Kind::MinSub);
    if (component.kind == Kind::Codes) {
      shape.append(llvm::Log2_64(component.plane.getLoads()), 2);
      shape.append({rows, 4});
    } else if (groupsInSpan) {
      shape[1] = k / kSpan;
      shape.append(result.getGroupBits(), 2);
      shape.push_back(rows);
    } else {
      shape.push_back(rows);
    }
    Value tensor = toTensor(view(fromBytes.getBytes(), offset, shape, component.elementType));
    switch (component.kind) {
    case Kind::Codes:
      result.planes.push_back({component.plane, tensor});
      break;
    case Kind::ScaleSuper:
      result.scaleSuper = tensor;
      break;
    case Kind::ScaleSub:
      result.scaleSub = tensor;
      break;
    case Kind::MinSuper:
      result.minSuper = tensor;
      break;
    case Kind::MinSub:
      result.minSub = tensor;
      break;
    case Kind::Values:
      result.values = tensor;
      break;
    }
    offset += getComponentBytes(component, n, k, rows);
  }
  return result;
}

Value ProductSynthesizer::splitSlots(Value memref) {
  int64_t slots = product.getSlots();
  if (slots == 1)
    return memref;
  auto type = cast<MemRefType>(memref.getType());
  int64_t columns = type.getDimSize(1) / slots;
  Type element = type.getElementType();
  SmallVector<OpFoldResult> sizes = {memref::DimOp::create(b, memref, 0).getResult(),
                                     b.getIndexAttr(slots), b.getIndexAttr(columns)};
  memref = memref::ExpandShapeOp::create(
      b, MemRefType::get({ShapedType::kDynamic, slots, columns}, element), memref,
      SmallVector<ReassociationIndices>{{0}, {1, 2}}, sizes);
  return memref::CollapseShapeOp::create(b, memref, SmallVector<ReassociationIndices>{{0, 1}, {2}});
}

void ProductSynthesizer::viewActivations() {
  auto memref = [&](unsigned i) {
    auto tensor = product.getActivations()[i].getDefiningOp<bufferization::ToTensorOp>();
    return splitSlots(tensor.getBuffer());
  };
  tokens = memref::DimOp::create(b, memref(0), 0);
  bool quantized = llvm::any_of(weights, [](const Weight &weight) { return !!weight.format; });
  if (!product.isInteger()) {
    x = quantized ? expandSpans(memref(0), 3, 4) : toTensor(memref(0));
    return;
  }
  codes = expandSpans(memref(0), 3, 4);
  scales = toTensor(memref(1));
  int64_t sumsPerSpan = cast<MemRefType>(memref(2).getType()).getDimSize(1) * kSpan /
                        product.getColumns();
  sumBits = llvm::Log2_64(sumsPerSpan);
  offsets = expandSpans(memref(2), sumBits, 1);
  sums = expandSpans(memref(3), sumBits, 1);
}

/// The code as an unsigned i8: each plane byte shifted by what the step asks for,
/// masked, and joined with the others; a table is looked up in place.
Value ProductSynthesizer::emitCode(OpBuilder &nested, Location loc, const Weight &weight,
                                   ValueRange planeBytes) {
  Type i8 = nested.getI8Type();
  auto constant = [&](int64_t value) -> Value {
    return arith::ConstantIntOp::create(nested, loc, i8, value);
  };
  Value code;
  for (auto [plane, byte] : llvm::zip(weight.planes, planeBytes)) {
    CodePlane layout = plane.first;
    Value bits = byte;
    if (layout.width < 8) {
      // The bits of the step that do not number a load number the shift.
      Value shift;
      for (unsigned dim = kX + llvm::Log2_64(layout.getLoads()); dim <= kZ; ++dim) {
        Value bit = arith::IndexCastOp::create(nested, loc, i8,
                                               linalg::IndexOp::create(nested, loc, dim));
        Value part = arith::MulIOp::create(nested, loc, bit, constant(layout.width << (kZ - dim)));
        shift = shift ? arith::AddIOp::create(nested, loc, shift, part).getResult() : part;
      }
      bits = arith::ShRUIOp::create(nested, loc, bits, shift);
      bits = arith::AndIOp::create(nested, loc, bits, constant((1 << layout.width) - 1));
    }
    if (layout.offset)
      bits = arith::ShLIOp::create(nested, loc, bits, constant(layout.offset));
    code = code ? arith::OrIOp::create(nested, loc, code, bits).getResult() : bits;
  }
  if (auto table = weight.format.getTable()) {
    SmallVector<int8_t> shifted;
    for (int8_t entry : *table)
      shifted.push_back(int8_t(entry - getBias(weight.format)));
    code = LookupOp::create(nested, loc, i8, code, nested.getDenseI8ArrayAttr(shifted));
  }
  return code;
}

/// Integer sums start from the bias times the activations' sums, which makes the
/// product of the unsigned codes exact for the biased ones.
Value ProductSynthesizer::emitInitialSums(const Weight &weight, int64_t tokens, Value token,
                                          Value span) {
  unsigned groupBits = weight.getGroupBits();
  SmallVector<int64_t> shape = {tokens};
  shape.append(groupBits, 2);
  shape.push_back(weight.rows);
  auto type = RankedTensorType::get(shape, b.getI32Type());
  Value zero = arith::ConstantOp::create(b, DenseElementsAttr::get(type, b.getI32IntegerAttr(0)));
  int64_t bias = getBias(weight.format);
  if (!bias)
    return zero;
  // dims: token, the bits of the sums (the last sumBits - groupBits reduced), row.
  unsigned dims = sumBits + 2;
  SmallVector<unsigned> in, out;
  for (unsigned i = 0; i <= sumBits; ++i)
    in.push_back(i);
  for (unsigned i = 0; i <= groupBits; ++i)
    out.push_back(i);
  out.push_back(dims - 1);
  Value input = slice(offsets, {token, span}, tokens);
  return generic(zero, input, {map(dims, in), map(dims, out)}, dims,
                 [&](OpBuilder &nested, Location loc, ValueRange arguments) -> Value {
                   Value scaled = arith::MulIOp::create(
                       nested, loc, arguments[0],
                       arith::ConstantIntOp::create(nested, loc, nested.getI32Type(), -bias));
                   return arith::AddIOp::create(nested, loc, arguments[1], scaled);
                 });
}

/// Adds the slices of the scale and minimum factors to a generic's operands.
void ProductSynthesizer::collectScales(const Weight &weight, Value tile, Value block, Value span,
                                       SmallVectorImpl<Value> &inputs,
                                       SmallVectorImpl<AffineMap> &maps, unsigned dims,
                                       unsigned firstGroupDim, unsigned rowDim) {
  auto addSuper = [&](Value tensor) {
    if (!tensor)
      return;
    inputs.push_back(slice(tensor, {tile, block}));
    maps.push_back(map(dims, {rowDim}));
  };
  auto addSub = [&](Value tensor) {
    if (!tensor)
      return;
    int64_t group = weight.format.getGroup();
    SmallVector<unsigned> results;
    for (unsigned i = 0; i < weight.getGroupBits(); ++i)
      results.push_back(firstGroupDim + i);
    results.push_back(rowDim);
    Value position = span;
    if (group > kSpan)
      position = arith::DivUIOp::create(b, span, index(group / kSpan));
    inputs.push_back(slice(tensor, {tile, position}));
    maps.push_back(map(dims, results));
  };
  addSuper(weight.scaleSuper);
  addSub(weight.scaleSub);
  addSuper(weight.minSuper);
  addSub(weight.minSub);
}

/// The scale and (or null) the minimum from the factors that `collectScales` added.
std::pair<Value, Value> ProductSynthesizer::emitScaleAndMin(OpBuilder &nested, Location loc,
                                                            const Weight &weight,
                                                            ValueRange arguments, unsigned &next) {
  auto multiply = [&](bool first, bool second) -> Value {
    Value result;
    for (bool present : {first, second}) {
      if (!present)
        continue;
      Value factor = extendToF32(nested, loc, arguments[next++]);
      result = result ? arith::MulFOp::create(nested, loc, result, factor).getResult() : factor;
    }
    return result;
  };
  Value scale = multiply(!!weight.scaleSuper, !!weight.scaleSub);
  Value min = multiply(!!weight.minSuper, !!weight.minSub);
  return {scale, min};
}

static constexpr arith::FastMathFlags kContract = arith::FastMathFlags::contract;

/// One span with 8-bit activations: an integer generic, then a float one.
Value ProductSynthesizer::emitSpan(const Weight &weight, int64_t tokens, Value token, Value tile,
                                   Value block, Value span, Value acc) {
  unsigned groupBits = weight.getGroupBits();
  // The integer sums of the span's groups.
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  for (auto [plane, tensor] : weight.planes) {
    inputs.push_back(slice(tensor, {tile, span}));
    SmallVector<unsigned> results;
    for (unsigned i = 0; i < llvm::Log2_64(plane.getLoads()); ++i)
      results.push_back(kX + i);
    results.append({kRow, kK4});
    maps.push_back(map(kDims, results));
  }
  inputs.push_back(slice(codes, {token, span}, tokens));
  maps.push_back(map(kDims, {kToken, kX, kY, kZ, kK4}));
  SmallVector<unsigned> sumDims = {kToken};
  for (unsigned i = 0; i < groupBits; ++i)
    sumDims.push_back(kX + i);
  sumDims.push_back(kRow);
  maps.push_back(map(kDims, sumDims));
  Value initial = emitInitialSums(weight, tokens, token, span);
  Value isum = generic(
      initial, inputs, maps, kDims, [&](OpBuilder &nested, Location loc, ValueRange arguments) {
        Type i32 = nested.getI32Type();
        Value code = emitCode(nested, loc, weight, arguments.drop_back(2));
        Value lhs = arith::ExtUIOp::create(nested, loc, i32, code);
        Value rhs = arith::ExtSIOp::create(nested, loc, i32, arguments.drop_back().back());
        Value term = arith::MulIOp::create(nested, loc, lhs, rhs);
        return arith::AddIOp::create(nested, loc, arguments.back(), term).getResult();
      });

  // Scaled and added up: dims token, group bits, row.
  unsigned dims = groupBits + 2, rowDim = dims - 1;
  SmallVector<unsigned> all, tokenGroup;
  for (unsigned i = 0; i < dims; ++i)
    all.push_back(i);
  for (unsigned i = 0; i <= groupBits; ++i)
    tokenGroup.push_back(i);
  inputs = {isum, slice(scales, {token, span}, tokens)};
  maps = {map(dims, all), map(dims, {0})};
  bool hasMin = weight.minSuper || weight.minSub, minHere = hasMin && sumBits == groupBits;
  if (minHere) {
    inputs.push_back(slice(sums, {token, span}, tokens));
    maps.push_back(map(dims, tokenGroup));
  }
  collectScales(weight, tile, block, span, inputs, maps, dims, 1, rowDim);
  maps.push_back(map(dims, {0, rowDim}));
  Value result = generic(
      acc, inputs, maps, dims, [&](OpBuilder &nested, Location loc, ValueRange arguments) {
        unsigned next = minHere ? 3 : 2;
        auto [scale, min] = emitScaleAndMin(nested, loc, weight, arguments, next);
        Value sum = arith::SIToFPOp::create(nested, loc, nested.getF32Type(), arguments[0]);
        Value factor = arith::MulFOp::create(nested, loc, scale, arguments[1]);
        Value term = arith::MulFOp::create(nested, loc, sum, factor, kContract);
        Value result = arith::AddFOp::create(nested, loc, arguments.back(), term, kContract);
        if (!minHere)
          return result;
        Value lowered = arith::MulFOp::create(nested, loc, min, arguments[2], kContract);
        return arith::SubFOp::create(nested, loc, result, lowered, kContract).getResult();
      });
  if (hasMin && !minHere)
    result = emitMinima(weight, tokens, token, tile, block, span, result);
  return result;
}

/// The minima of a span where the activations' sums are finer than the weight's
/// groups (another weight of the same product needs them so).
Value ProductSynthesizer::emitMinima(const Weight &weight, int64_t tokens, Value token, Value tile,
                                     Value block, Value span, Value acc) {
  unsigned dims = sumBits + 2, rowDim = dims - 1;
  SmallVector<unsigned> tokenSums;
  for (unsigned i = 0; i <= sumBits; ++i)
    tokenSums.push_back(i);
  SmallVector<Value> inputs = {slice(sums, {token, span}, tokens)};
  SmallVector<AffineMap> maps = {map(dims, tokenSums)};
  collectScales(weight, tile, block, span, inputs, maps, dims, 1, rowDim);
  maps.push_back(map(dims, {0, rowDim}));
  return generic(
      acc, inputs, maps, dims, [&](OpBuilder &nested, Location loc, ValueRange arguments) {
        unsigned next = 1;
        Value min = emitScaleAndMin(nested, loc, weight, arguments, next).second;
        Value lowered = arith::MulFOp::create(nested, loc, min, arguments[0], kContract);
        return arith::SubFOp::create(nested, loc, arguments.back(), lowered, kContract).getResult();
      });
}

/// One span with float activations: the weights' values meet them in registers.
Value ProductSynthesizer::emitExactSpan(const Weight &weight, int64_t tokens, Value token,
                                        Value tile, Value block, Value span, Value acc) {
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  for (auto [plane, tensor] : weight.planes) {
    inputs.push_back(slice(tensor, {tile, span}));
    SmallVector<unsigned> results;
    for (unsigned i = 0; i < llvm::Log2_64(plane.getLoads()); ++i)
      results.push_back(kX + i);
    results.append({kRow, kK4});
    maps.push_back(map(kDims, results));
  }
  unsigned planes = inputs.size();
  inputs.push_back(slice(x, {token, span}, tokens));
  maps.push_back(map(kDims, {kToken, kX, kY, kZ, kK4}));
  collectScales(weight, tile, block, span, inputs, maps, kDims, kX, kRow);
  maps.push_back(map(kDims, {kToken, kRow}));
  return generic(
      acc, inputs, maps, kDims, [&](OpBuilder &nested, Location loc, ValueRange arguments) {
        unsigned next = planes + 1;
        auto [scale, min] = emitScaleAndMin(nested, loc, weight, arguments, next);
        Value code = emitCode(nested, loc, weight, arguments.take_front(planes));
        Value wide = arith::ExtUIOp::create(nested, loc, nested.getI32Type(), code);
        Value biased = arith::AddIOp::create(
            nested, loc, wide,
            arith::ConstantIntOp::create(nested, loc, nested.getI32Type(), getBias(weight.format)));
        Value value = arith::SIToFPOp::create(nested, loc, nested.getF32Type(), biased);
        value = arith::MulFOp::create(nested, loc, scale, value);
        if (min)
          value = arith::SubFOp::create(nested, loc, value, min);
        Value term = arith::MulFOp::create(nested, loc, value, arguments[planes], kContract);
        return arith::AddFOp::create(nested, loc, arguments.back(), term, kContract).getResult();
      });
}

Value ProductSynthesizer::emitFloatProduct(const Weight &weight, int64_t tokens, Value token,
                                           Value tile) {
  auto type = RankedTensorType::get({tokens, weight.rows}, b.getF32Type());
  Value zero = arith::ConstantOp::create(b, DenseElementsAttr::get(type, b.getF32FloatAttr(0)));
  auto loop = scf::ForOp::create(b, index(0), index(weight.getColumns()), index(1), zero);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  Value k = loop.getInductionVar();
  Value row = slice(weight.values, {tile, k});
  auto xType = RankedTensorType::get({tokens}, b.getF32Type());
  Value column = tensor::ExtractSliceOp::create(
      b, xType, x, ArrayRef<OpFoldResult>{token, k},
      ArrayRef<OpFoldResult>{b.getIndexAttr(tokens), b.getIndexAttr(1)},
      ArrayRef<OpFoldResult>{b.getIndexAttr(1), b.getIndexAttr(1)});
  Value next = generic(loop.getRegionIterArgs()[0], {row, column},
                       {map(2, {1}), map(2, {0}), map(2, {0, 1})}, 2,
                       [&](OpBuilder &nested, Location loc, ValueRange arguments) -> Value {
                         Value value = extendToF32(nested, loc, arguments[0]);
                         Value term =
                             arith::MulFOp::create(nested, loc, value, arguments[1], kContract);
                         return arith::AddFOp::create(nested, loc, arguments[2], term, kContract);
                       });
  scf::YieldOp::create(b, next);
  return loop.getResult(0);
}

/// tokens x rows results of one tile, in registers.
Value ProductSynthesizer::emitProduct(const Weight &weight, int64_t tokens, Value token,
                                      Value tile) {
  if (!weight.format)
    return emitFloatProduct(weight, tokens, token, tile);
  auto type = RankedTensorType::get({tokens, weight.rows}, b.getF32Type());
  Value zero = arith::ConstantOp::create(b, DenseElementsAttr::get(type, b.getF32FloatAttr(0)));
  int64_t block = weight.format.getBlock(), spans = block / kSpan;
  OpBuilder::InsertionGuard guard(b);
  auto blocks = scf::ForOp::create(b, index(0), index(weight.getColumns() / block), index(1), zero);
  b.setInsertionPointToStart(blocks.getBody());
  Value position = blocks.getInductionVar(), span = position;
  Value acc = blocks.getRegionIterArgs()[0];
  scf::ForOp inner;
  if (spans > 1) {
    inner = scf::ForOp::create(b, index(0), index(spans), index(1), acc);
    b.setInsertionPointToStart(inner.getBody());
    Value first = arith::MulIOp::create(b, position, index(spans));
    span = arith::AddIOp::create(b, first, inner.getInductionVar());
    acc = inner.getRegionIterArgs()[0];
  }
  Value next = product.isInteger()
                   ? emitSpan(weight, tokens, token, tile, position, span, acc)
                   : emitExactSpan(weight, tokens, token, tile, position, span, acc);
  scf::YieldOp::create(b, next);
  if (inner) {
    b.setInsertionPointAfter(inner);
    scf::YieldOp::create(b, inner.getResult(0));
  }
  return blocks.getResult(0);
}

void ProductSynthesizer::emitTile(ProductSink &sink, int64_t tokens, Value token, Value tile,
                                  Value rowTile) {
  SmallVector<Value> results(weights.size());
  for (unsigned i : sink.products)
    results[i] = emitProduct(weights[i], tokens, token, tile);
  const Weight &weight = weights[sink.products.front()];
  int64_t n = weight.type.getDimSize(0) / product.getExperts(), rows = weight.rows;
  Value row = arith::MulIOp::create(b, rowTile, index(rows));
  if (n % rows == 0)
    return emitEpilogue(b, sink, product, results, tokens, rows, token, row);
  // The last tile stores only the rows that exist.
  auto emitRows = [&](int64_t valid) {
    return [&, valid](OpBuilder &nested, Location loc) {
      ImplicitLocOpBuilder inner(loc, nested);
      emitEpilogue(inner, sink, product, results, tokens, valid, token, row);
      scf::YieldOp::create(inner);
    };
  };
  if (n < rows)
    return emitEpilogue(b, sink, product, results, tokens, n, token, row);
  Value full = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, rowTile, index(n / rows));
  scf::IfOp::create(b, full, emitRows(rows), emitRows(n % rows));
}

/// All tiles behind one result: a parallel loop over blocks of tokens and tiles of
/// rows, and inside it register tiles of decreasing numbers of tokens.
void ProductSynthesizer::emitSink(ProductSink &sink, bool last) {
  const Weight &weight = weights[sink.products.front()];
  int64_t bytesPerToken = weight.getColumns() * (product.isInteger() ? 1 : 4);
  int64_t tokenBlock = std::max<int64_t>(
      tokenTile, llvm::bit_floor(uint64_t(std::max<int64_t>(1, kTokenBlockBytes / bytesPerToken))));
  tokenBlock = llvm::alignTo(tokenBlock, tokenTile);
  Value blocks = arith::CeilDivUIOp::create(b, tokens, index(tokenBlock));
  auto forall = scf::ForallOp::create(
      b, ArrayRef<OpFoldResult>{blocks, b.getIndexAttr(weight.getTiles())}, ValueRange{},
      std::nullopt);
  if (!last)
    forall->setAttr("lumen.nowait", b.getUnitAttr());
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(forall.getBody());
  Value first = arith::MulIOp::create(b, forall.getInductionVar(0), index(tokenBlock));
  Value rest = arith::SubIOp::create(b, tokens, first);
  Value count = arith::MinUIOp::create(b, rest, index(tokenBlock));
  Value tile = forall.getInductionVar(1);
  emitRegisterTiles(sink, first, count, tile, tile);
}

/// The same for the weights of experts: a parallel loop over tiles of rows and the
/// groups of tokens. Tiles come first, so that all workers get equal shares however
/// few experts are chosen.
void ProductSynthesizer::emitExpertSink(ProductSink &sink, bool last) {
  int64_t experts = product.getExperts();
  int64_t tiles = weights[sink.products.front()].getTiles() / experts;
  Value table = product.getGroups().getDefiningOp<bufferization::ToTensorOp>().getBuffer();
  // A group has at least one token.
  Value groups = arith::MinUIOp::create(b, tokens, index(experts));
  auto forall = scf::ForallOp::create(b, ArrayRef<OpFoldResult>{b.getIndexAttr(tiles), groups},
                                      ValueRange{}, std::nullopt);
  if (!last)
    forall->setAttr("lumen.nowait", b.getUnitAttr());
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(forall.getBody());
  Value rowTile = forall.getInductionVar(0), group = forall.getInductionVar(1);
  auto load = [&](Value row, int64_t column) -> Value {
    Value entry = memref::LoadOp::create(b, table, ValueRange{row, index(column)});
    return arith::IndexCastUIOp::create(b, b.getIndexType(), entry);
  };
  Value first = load(group, 1);
  Value end = load(arith::AddIOp::create(b, group, index(1)), 1);
  Value tile = arith::MulIOp::create(b, load(group, 0), index(tiles));
  tile = arith::AddIOp::create(b, tile, rowTile);
  emitRegisterTiles(sink, first, arith::SubIOp::create(b, end, first), tile, rowTile);
}

/// The tokens `first`, … (`count` of them) in register tiles of decreasing numbers
/// of tokens. `tile` is the tile of the weights, `rowTile` that of the result.
void ProductSynthesizer::emitRegisterTiles(ProductSink &sink, Value first, Value count, Value tile,
                                           Value rowTile) {
  Value lower = first;
  for (int64_t tokens = tokenTile; tokens >= 1; tokens /= 2) {
    Value whole = count;
    if (tokens > 1)
      whole = arith::SubIOp::create(b, count, arith::RemUIOp::create(b, count, index(tokens)));
    Value upper = arith::AddIOp::create(b, first, whole);
    auto loop = scf::ForOp::create(b, lower, upper, index(tokens));
    OpBuilder::InsertionGuard inLoop(b);
    b.setInsertionPointToStart(loop.getBody());
    emitTile(sink, tokens, loop.getInductionVar(), tile, rowTile);
    lower = upper;
  }
}

LogicalResult ProductSynthesizer::run() {
  SmallVector<ProductSink> sinks;
  if (failed(collectSinks(kernel, product, sinks)))
    return failure();
  b.setInsertionPoint(kernel.getBody().front().getTerminator());
  for (unsigned i = 0; i < product.getWeights().size(); ++i) {
    if (!product.getWeights()[i].getDefiningOp<FromBytesOp>() ||
        !isa_and_nonnull<PackedAttr>(
            cast<RankedTensorType>(product.getWeights()[i].getType()).getEncoding()))
      return product.emitOpError() << "needs packed weights, but weight " << i << " is "
                                   << product.getWeights()[i].getType();
    weights.push_back(viewWeight(i));
  }
  for (const Weight &weight : weights)
    if (product.getGroups() && weight.type.getDimSize(0) % (product.getExperts() * weight.rows))
      return product.emitOpError()
             << "needs experts of a multiple of " << weight.rows << " rows, got "
             << weight.type.getDimSize(0) / product.getExperts();
  for (const Weight &weight : weights)
    if (!!weight.format != !!weights.front().format)
      return product.emitOpError() << "mixes quantized and float weights";
  viewActivations();
  for (const Weight &weight : weights)
    if (product.isInteger() && sumBits < weight.getGroupBits())
      return product.emitOpError()
             << "has activation sums of " << (kSpan >> sumBits) << " codes, but the format "
             << weight.format.getSymName() << " needs them per " << weight.format.getGroup();
  for (ProductSink &sink : sinks) {
    bool last = &sink == &sinks.back();
    sink.buffer = splitSlots(sink.buffer);
    if (product.getGroups())
      emitExpertSink(sink, last);
    else
      emitSink(sink, last);
  }

  // What the loops replace.
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(kernel.getBody().front()))) {
    bool replaced = llvm::any_of(sinks, [&](ProductSink &sink) { return sink.store == &op; });
    bool dead = op.use_empty() &&
                isa<QLinearOp, AddOp, SwigluOp, FromBytesOp, bufferization::ToTensorOp>(op);
    if (replaced || dead)
      op.erase();
  }
  return success();
}

struct SynthesizeProductPass final
    : lumen::impl::SynthesizeProductPassBase<SynthesizeProductPass> {
  using SynthesizeProductPassBase::SynthesizeProductPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto target = module->getAttrOfType<TargetAttr>(LumenDialect::kTargetAttr);
    for (auto kernel : llvm::make_early_inc_range(module.getOps<func::FuncOp>())) {
      auto kind = kernel->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr);
      if (!kind || kind.getValue() != "product")
        continue;
      auto products = llvm::to_vector(kernel.getOps<QLinearOp>());
      if (products.size() != 1) {
        kernel.emitError() << "a product kernel holds one lumen.qlinear, got " << products.size();
        return signalPassFailure();
      }
      int64_t tile = tokens ? int64_t(tokens) : target ? target.getTokens() : 4;
      if (failed(ProductSynthesizer(kernel, products.front(), tile).run()))
        return signalPassFailure();
    }
  }
};

} // namespace

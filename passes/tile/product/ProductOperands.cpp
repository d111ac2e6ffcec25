// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/ProductOperands.h"

#include "passes/target/common/Architecture.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/MathExtras.h"

#include <limits>

using namespace mlir;
using namespace mlir::lumen;

/// Tokens that a register tile never exceeds.
static constexpr int64_t kMostTokens = 64;

/// Up to here all integers are floats.
static constexpr int64_t kExact = 1 << 24;

/// 1.5 * 2^23 in f32, whose bits plus an integer are the bits of its sum with
/// that integer, up to a magnitude of 2^22. The sum of a group has less. Behind
/// its bias, the steps of the sum may be larger: integers wrap around and come
/// back.
static constexpr float kOneAndAHalf = 0x1.8p23f;
static constexpr int64_t kMostAsFloat = 1 << 22;

/// The largest magnitude of a value: a code of 8 bits and a bias of as much,
/// which is what `lumen.format` takes.
static constexpr int64_t kMostValue = 255 + 255;
static_assert(kSpan * kMostCode * kMostValue < kMostAsFloat);

ProductOperands::ProductOperands(TileBuilder &b, QLinearOp product,
                                 TargetAttr target)
    : product(product),
      slowConversions(Architecture::of(target).hasSlowConversions()),
      floatColumns(
          Architecture::of(target).multipliesByLanes() ? target.getLanes() : 1),
      b(b) {}

//===----------------------------------------------------------------------===//
// Views
//===----------------------------------------------------------------------===//

/// The rows of activations: `tokens`, where the type does not know them.
static OpFoldResult countRows(OpBuilder &b, MemRefType type, Value tokens) {
  if (type.isDynamicDim(0))
    return tokens;
  return b.getIndexAttr(type.getDimSize(0));
}

Value ProductOperands::expandSpans(Value memref, unsigned bits, int64_t rest) {
  auto type = cast<MemRefType>(memref.getType());
  SmallVector<int64_t> shape = {type.getDimSize(0),
                                product.getColumns() / kSpan};
  shape.append(bits, 2);
  if (rest > 1)
    shape.push_back(rest);
  if (shape.size() == 2)
    return b.toTensor(memref);
  SmallVector<ReassociationIndices> groups = {{0}, {}};
  for (unsigned i = 1; i < shape.size(); ++i)
    groups[1].push_back(i);
  SmallVector<OpFoldResult> sizes = {countRows(b, type, tokens)};
  for (int64_t size : ArrayRef(shape).drop_front())
    sizes.push_back(b.getIndexAttr(size));
  auto expanded = MemRefType::get(shape, type.getElementType());
  return b.toTensor(
      memref::ExpandShapeOp::create(b, expanded, memref, groups, sizes));
}

/// memref<TxC> seen as memref<TxSx(C/S)>, where T is `tokens`.
static Value expandColumns(TileBuilder &b, Value memref, Value tokens,
                           int64_t parts) {
  auto type = cast<MemRefType>(memref.getType());
  int64_t columns = type.getDimSize(1) / parts;
  SmallVector<OpFoldResult> sizes = {countRows(b, type, tokens),
                                     b.getIndexAttr(parts),
                                     b.getIndexAttr(columns)};
  auto expanded = MemRefType::get({type.getDimSize(0), parts, columns},
                                  type.getElementType());
  return memref::ExpandShapeOp::create(
      b, expanded, memref, SmallVector<ReassociationIndices>{{0}, {1, 2}},
      sizes);
}

Value ProductOperands::viewPairs(Value memref) {
  int64_t pairs = cast<MemRefType>(memref.getType()).getDimSize(1) / 2;
  return b.toTensor(expandColumns(b, memref, tokens, pairs));
}

Value ProductOperands::viewUnitsOfPairs(Value memref) {
  auto type = cast<MemRefType>(memref.getType());
  int64_t pairs = type.getDimSize(1) / 2;
  int64_t perUnit = PackedWeight::getPairsPerUnit(type.getDimSize(1));
  SmallVector<int64_t> shape = {type.getDimSize(0), pairs / perUnit, perUnit,
                                2};
  SmallVector<OpFoldResult> sizes = {countRows(b, type, tokens)};
  for (int64_t size : ArrayRef(shape).drop_front())
    sizes.push_back(b.getIndexAttr(size));
  return b.toTensor(memref::ExpandShapeOp::create(
      b, MemRefType::get(shape, type.getElementType()), memref,
      SmallVector<ReassociationIndices>{{0}, {1, 2, 3}}, sizes));
}

Value ProductOperands::splitSlots(Value memref) const {
  int64_t slots = product.getSlots();
  if (slots == 1)
    return memref;
  Value rows = memref::DimOp::create(b, memref, 0);
  return memref::CollapseShapeOp::create(
      b, expandColumns(b, memref, rows, slots),
      SmallVector<ReassociationIndices>{{0, 1}, {2}});
}

void ProductOperands::viewActivations() {
  auto memref = [&](unsigned i) {
    auto tensor =
        product.getActivations()[i].getDefiningOp<bufferization::ToTensorOp>();
    return splitSlots(tensor.getBuffer());
  };
  tokens = memref::DimOp::create(b, memref(0), 0);
  bool quantized = llvm::any_of(
      weights, [](const PackedWeight &weight) { return !!weight.format; });
  if (product.isBf16()) {
    x = viewUnitsOfPairs(memref(0));
    return;
  }
  if (!product.isInteger()) {
    floats = b.toTensor(memref(0));
    x = quantized ? expandSpans(memref(0), kStepBits, kDotStep) : floats;
    return;
  }
  codes = expandSpans(memref(0), kStepBits, kDotStep);
  scales = b.toTensor(memref(1));
  int64_t sumsPerSpan = cast<MemRefType>(memref(2).getType()).getDimSize(1) *
                        kSpan / product.getColumns();
  sumBits = llvm::Log2_64(sumsPerSpan);
  flatOffsets = memref(2);
  offsets = expandSpans(flatOffsets, sumBits, 1);
  blockOffsets = b.allocateScratch({kMostTokens}, b.getI32Type());
  if (cast<MemRefType>(memref(3).getType()).getElementType().isInteger(16))
    sumPairs = viewPairs(memref(3));
  else
    sums = expandSpans(memref(3), sumBits, 1);
}

LogicalResult ProductOperands::view() {
  if (failed(verifyBuffers()) || failed(viewWeights()))
    return failure();
  viewActivations();
  return verifySums();
}

//===----------------------------------------------------------------------===//
// What fits together
//===----------------------------------------------------------------------===//

LogicalResult ProductOperands::verifyBuffers() {
  auto isBuffer = [](Value value) {
    return value.getDefiningOp<bufferization::ToTensorOp>();
  };
  for (Value activation : product.getActivations())
    if (!isBuffer(activation))
      return product.emitOpError("needs activations in buffers, got ")
             << activation.getType() << " made otherwise";
  for (Value bias : product.getBiases())
    if (!isBuffer(bias))
      return product.emitOpError("needs biases in buffers, got ")
             << bias.getType() << " made otherwise";
  if (product.getGroups() && !isBuffer(product.getGroups()))
    return product.emitOpError("needs groups in a buffer, got ")
           << product.getGroups().getType() << " made otherwise";
  return success();
}

LogicalResult ProductOperands::viewWeights() {
  for (auto [i, weight] : llvm::enumerate(product.getWeights())) {
    auto type = cast<RankedTensorType>(weight.getType());
    if (!weight.getDefiningOp<FromBytesOp>() ||
        !isa_and_nonnull<PackedAttr>(type.getEncoding()))
      return product.emitOpError()
             << "needs packed weights, but weight " << i << " is " << type;
    int64_t step = getStepSize(type.getElementType());
    int64_t k = cast<PackedAttr>(type.getEncoding()).getK();
    // Floats may lie in pairs too, as bf16 activations meet them.
    bool inPairs = type.getElementType().isBF16() && k == 2;
    if ((k != step && !inPairs) || (product.isBf16() && !inPairs))
      return product.emitOpError() << "takes " << (product.isBf16() ? 2 : step)
                                   << " columns of a row in a step, but weight "
                                   << i << " is " << type;
    if (!type.hasStaticShape())
      return product.emitOpError()
             << "needs weights of known sizes, but weight " << i << " is "
             << type;
    weights.emplace_back(b, weight);
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
  return success();
}

LogicalResult ProductOperands::verifySums() {
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

bool ProductOperands::hasIntegerScales(const PackedWeight &weight) const {
  int64_t group = product.getActivationGroup();
  std::optional<IntegerRange> scales = getGroupIntegers(weight.getScale());
  // Minima in floats would be added between the integers.
  if (group == kSpan || !scales || (weight.hasMin() && !hasIntegerMinima()))
    return false;
  int64_t most = slowConversions ? std::numeric_limits<int32_t>::max() : kExact;
  return group * kMostCode * (weight.getValues() * *scales).getMagnitude() <=
         most;
}

bool ProductOperands::hasPairedScales(const PackedWeight &weight) const {
  std::optional<IntegerRange> scales = getGroupIntegers(weight.getScale());
  // Without minima, which the same pipes multiply, loads are the limit.
  bool hasMinima = weight.hasMin() && hasIntegerMinima();
  if (getSpansOfScale() == 1 || weight.getGroupBits() != 1 || !scales ||
      !hasMinima)
    return false;
  constexpr int64_t kMost = std::numeric_limits<int16_t>::max();
  int64_t sum = kSpan / 2 * kMostCode * weight.getValues().getMagnitude();
  int64_t scale = scales->getMagnitude();
  return scale <= kMost && sum <= kMost &&
         2 * getSpansOfScale() * scale * sum <=
             std::numeric_limits<int32_t>::max();
}

bool ProductOperands::hasIntegerSums(const PackedWeight &weight) const {
  return getSpansOfScale() > 1 && weight.hasBlockScale() &&
         (!weight.hasMin() || hasIntegerMinima());
}

bool ProductOperands::hasExactMinima(const PackedWeight &weight) const {
  return product.getActivationGroup() * kMostCode *
             getGroupIntegers(weight.getMin())->getMagnitude() <=
         kExact;
}

//===----------------------------------------------------------------------===//
// Integers as floats
//===----------------------------------------------------------------------===//

int64_t ProductOperands::getFirstSum() const {
  return slowConversions ? kFirstFloatSum : 0;
}

Value lumen::emitFloatOfSum(KernelBuilder &b, Value sum) {
  Type type = b.getF32Type();
  if (auto vector = dyn_cast<VectorType>(sum.getType()))
    type = vector.clone(type);
  Value asFloat = arith::BitcastOp::create(b, type, sum);
  return arith::SubFOp::create(b, asFloat, b.real(type, kOneAndAHalf));
}

Value ProductOperands::emitSumAsFloat(KernelBuilder &nested, Value sum) const {
  return slowConversions ? emitFloatOfSum(nested, sum)
                         : nested.convert(sum, nested.getF32Type());
}

bool ProductOperands::hasExactExcess(const PackedWeight &weight) const {
  return slowConversions && lumen::hasExactExcess(weight);
}

bool lumen::hasExactExcess(const PackedWeight &weight) {
  // Of the digits of f32 those of 1.5 take two.
  constexpr int64_t kMostBits = 24 - 2;
  std::optional<int64_t> bits = getSignificantBits(weight.getScale());
  return bits && *bits <= kMostBits;
}

Value lumen::emitExcess(KernelBuilder &b, Value scale) {
  return arith::MulFOp::create(b, scale,
                               b.real(scale.getType(), -kOneAndAHalf));
}

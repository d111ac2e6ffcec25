// SPDX-License-Identifier: Apache-2.0
#include "dialect/layout/PackedLayout.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

int64_t lumen::getStepSize(Type elementType, TargetAttr target) {
  if (!isa<QuantType>(elementType))
    return elementType.isBF16() && target && target.getBf16Dot() ? 2 : 1;
  // What takes fewer adds up the sums of several in a lane of 32 bits.
  DotAttr dot = target ? target.getDot() : nullptr;
  return dot ? std::max(kDotStep, dot.getK()) : kDotStep;
}

PackedAttr lumen::getPackedLayout(TargetAttr target, Type elementType,
                                  FormatOp format) {
  int64_t rows = target.getRows(), lanes = target.getLanes();
  bool hasGroups = format && format.getSumGroup() < kSpan;
  return PackedAttr::get(
      target.getContext(), hasGroups ? std::min(rows, lanes) : rows,
      getStepSize(elementType, target), storesSignedCodes(target, format),
      storesWholeCodes(target, format));
}

PackedAttr lumen::getPackedLayout(TargetAttr target, RankedTensorType weight,
                                  Operation *from) {
  return getPackedLayout(target, weight.getElementType(),
                         lookupFormat(weight, from));
}

bool lumen::storesSignedCodes(TargetAttr target, FormatOp format) {
  return target && target.storesSignedCodes() && format && hasByteCodes(format);
}

bool lumen::storesWholeCodes(TargetAttr target, FormatOp format) {
  if (!target || !target.storesWholeCodes() || !format ||
      !leavesBits(format.getBits()))
    return false;
  Type codes = QuantType::get(target.getContext(),
                              FlatSymbolRefAttr::get(format.getSymNameAttr()));
  return getStepSize(codes, target) == kDotStep;
}

bool lumen::hasWholeCodes(PackedAttr layout, FormatOp format) {
  return layout.getWholeCodes() && format && leavesBits(format.getBits());
}

int64_t lumen::getStoredBias(FormatOp format, PackedAttr layout) {
  bool isSigned = layout && layout.getSignedCodes() && hasByteCodes(format);
  return getCodeBias(format) + (isSigned ? kSignBias : 0);
}

//===----------------------------------------------------------------------===//
// Components
//===----------------------------------------------------------------------===//

int64_t PackedComponent::getBytes() const {
  return entries * elementsPerEntry * lumen::getBytes(elementType);
}

int64_t PackedComponent::getEntryOffset(int64_t entry) const {
  int64_t bytes = elementsPerEntry * lumen::getBytes(elementType);
  if (!halfBytes)
    return offset + entry * bytes;
  int64_t perHalf = entries / 2;
  return offset + entry / perHalf * halfBytes + entry % perHalf * bytes;
}

SmallVector<int64_t>
PackedComponent::getStrides(ArrayRef<int64_t> shape) const {
  SmallVector<int64_t> strides;
  int64_t stride = getBytes();
  for (int64_t extent : shape) {
    stride /= extent;
    strides.push_back(strides.empty() && halfBytes ? halfBytes : stride);
  }
  return strides;
}

/// Places the planes of codes in a span: those of one load, then for either
/// half of the steps the loads of the others, fewest first. So loads come in
/// the order in which a product takes steps. Returns the bytes of all.
static int64_t placeCodes(MutableArrayRef<PackedComponent> planes) {
  int64_t bytes = 0, inHalf = 0;
  for (PackedComponent &plane : planes)
    if (plane.entries > 1)
      inHalf += plane.getBytes() / 2;
  for (PackedComponent &plane : llvm::reverse(planes)) {
    plane.offset = bytes;
    bool halves = plane.entries > 1;
    bytes += halves ? plane.getBytes() / 2 : plane.getBytes();
    plane.halfBytes = halves ? inHalf : 0;
  }
  return bytes + inHalf;
}

SmallVector<PackedComponent> lumen::getPackedComponents(FormatOp format,
                                                        Type elementType,
                                                        PackedAttr layout) {
  using Kind = PackedComponent::Kind;
  int64_t rows = layout.getRows(), k = layout.getK();
  if (!format) {
    PackedComponent values = {Kind::Values, {0, 0}, 0, elementType, k, 1,
                              rows * k};
    values.beginsStream = true;
    values.unitBytes = values.getBytes();
    return {values};
  }
  SmallVector<PackedComponent> ofSpans, ofBlocks, ofRows;
  Type i8 = IntegerType::get(elementType.getContext(), 8);
  int64_t bits = format.getBits();
  bool isWhole = hasWholeCodes(layout, format);
  for (BitPlane plane :
       isWhole ? SmallVector<BitPlane>{{bits, 0}} : getBitPlanes(bits))
    ofSpans.push_back(
        {Kind::Codes, plane, 0, i8, kSpan, plane.getLoads(k), rows * k});
  for (PackedComponent &codes : ofSpans) {
    codes.isWhole = isWhole;
    codes.isSigned = layout.getSignedCodes() && hasByteCodes(format);
  }
  int64_t codeBytes =
              isWhole ? ofSpans.front().getBytes() : placeCodes(ofSpans),
          spanBytes = codeBytes;
  int64_t block = format.getBlock(), spans = block / kSpan;
  for (auto [i, factor] : llvm::enumerate(getStoredFactors(format)))
    for (BitPlane plane : factor.planes) {
      PackedComponent component = {Kind::Factor,
                                   plane,
                                   unsigned(i),
                                   getElementTypeOrSelf(factor.value.getType()),
                                   0,
                                   1,
                                   rows};
      if (factor.level == FactorLevel::Row) {
        ofRows.push_back(component);
        continue;
      }
      component.columns = block;
      if (factor.level == FactorLevel::Group)
        component.entries =
            block / int64_t(format.getGroup()) / plane.getValuesPerByte();
      ofBlocks.push_back(component);
      if (component.entries % spans == 0)
        spanBytes += component.getBytes() / spans;
    }
  // Spans take their factors in where their codes then still fill cache lines.
  if (spanBytes % kAlignment == 0) {
    auto ofBlock = [&](const PackedComponent &component) {
      return component.entries % spans != 0;
    };
    auto middle =
        std::stable_partition(ofBlocks.begin(), ofBlocks.end(), ofBlock);
    for (PackedComponent &component :
         llvm::make_range(middle, ofBlocks.end())) {
      component.columns = kSpan;
      component.entries /= spans;
      ofSpans.push_back(component);
    }
    ofBlocks.erase(middle, ofBlocks.end());
  }
  SmallVector<PackedComponent> components;
  for (auto *stream : {&ofSpans, &ofBlocks, &ofRows}) {
    int64_t bytes = stream == &ofSpans ? codeBytes : 0;
    for (PackedComponent &component : *stream)
      if (component.kind == Kind::Factor) {
        component.offset = bytes;
        bytes += component.getBytes();
      }
    for (auto [i, component] : llvm::enumerate(*stream)) {
      component.beginsStream = i == 0;
      component.unitBytes = bytes;
    }
    components.append(*stream);
  }
  return components;
}

int64_t lumen::getTileBytes(const PackedComponent &component, int64_t columns) {
  return component.getUnits(columns) * component.unitBytes;
}

int64_t lumen::getStreamBytes(const PackedComponent &component, int64_t rows,
                              int64_t columns, PackedAttr layout) {
  int64_t tiles = llvm::divideCeil(rows, layout.getRows());
  return llvm::alignTo(tiles * getTileBytes(component, columns), kAlignment);
}

int64_t lumen::getPackedBytes(ArrayRef<PackedComponent> components,
                              int64_t rows, int64_t columns,
                              PackedAttr layout) {
  int64_t bytes = 0;
  for (const PackedComponent &component : components)
    if (component.beginsStream)
      bytes += getStreamBytes(component, rows, columns, layout);
  return bytes;
}

FailureOr<int64_t> lumen::getWeightBytes(RankedTensorType type,
                                         Operation *from) {
  FormatOp format = lookupFormat(type, from);
  if (!format && isa<QuantType>(type.getElementType()))
    return failure();
  int64_t n = type.getDimSize(0), k = type.getDimSize(1);
  if (auto packed = dyn_cast_or_null<PackedAttr>(type.getEncoding()))
    return getPackedBytes(
        getPackedComponents(format, type.getElementType(), packed), n, k,
        packed);
  if (format)
    return n * format.getRowBytes(k);
  return n * k * getBytes(type.getElementType());
}

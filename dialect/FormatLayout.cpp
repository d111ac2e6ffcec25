// SPDX-License-Identifier: Apache-2.0
#include "dialect/FormatLayout.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

static int64_t getBytes(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.getNumElements() * getBytes(vector.getElementType());
  return llvm::divideCeil(type.getIntOrFloatBitWidth(), 8);
}

SmallVector<CodePlane> lumen::getCodePlanes(int64_t bits) {
  if (bits == 8)
    return {{8, 0}};
  SmallVector<CodePlane> planes;
  int64_t offset = 0;
  for (int64_t width : {4, 2, 1}) {
    if (!(bits & width))
      continue;
    planes.push_back({width, offset});
    offset += width;
  }
  return planes;
}

int64_t PackedComponent::getEntryBytes() const {
  return elementsPerEntry * getBytes(elementType);
}

SmallVector<PackedComponent>
lumen::getPackedComponents(FormatOp format, Type elementType, int64_t rows) {
  using Kind = PackedComponent::Kind;
  SmallVector<PackedComponent> components;
  if (!format) {
    components.push_back({Kind::Values, {0, 0}, elementType, 1, rows});
    return components;
  }
  Type i8 = IntegerType::get(elementType.getContext(), 8);
  for (CodePlane plane : getCodePlanes(format.getBits()))
    components.push_back(
        {Kind::Codes, plane, i8, kSpan, plane.getLoads() * rows * 4});
  auto addFactors = [&](OperandRange factors, Kind superKind, Kind subKind) {
    for (Type type : factors.getTypes()) {
      if (auto vector = dyn_cast<VectorType>(type))
        components.push_back({subKind,
                              {0, 0},
                              vector.getElementType(),
                              int64_t(format.getGroup()),
                              rows});
      else
        components.push_back(
            {superKind, {0, 0}, type, int64_t(format.getBlock()), rows});
    }
  };
  addFactors(format.getDecoded().getScale(), Kind::ScaleSuper, Kind::ScaleSub);
  addFactors(format.getDecoded().getMin(), Kind::MinSuper, Kind::MinSub);
  return components;
}

int64_t lumen::getComponentBytes(const PackedComponent &component, int64_t n,
                                 int64_t k, int64_t rows) {
  int64_t tiles = llvm::divideCeil(n, rows);
  return llvm::alignTo(
      tiles * (k / component.columns) * component.getEntryBytes(), 64);
}

FormatOp lumen::lookupFormat(RankedTensorType type, Operation *from) {
  auto quant = dyn_cast<QuantType>(type.getElementType());
  if (!quant)
    return nullptr;
  return SymbolTable::lookupNearestSymbolFrom<FormatOp>(from,
                                                        quant.getFormat());
}

FailureOr<int64_t> lumen::getWeightBytes(RankedTensorType type,
                                         Operation *from) {
  FormatOp format = lookupFormat(type, from);
  if (!format && isa<QuantType>(type.getElementType()))
    return failure();
  int64_t n = type.getDimSize(0), k = type.getDimSize(1);
  if (auto packed = dyn_cast_or_null<PackedAttr>(type.getEncoding())) {
    int64_t bytes = 0;
    for (const PackedComponent &component :
         getPackedComponents(format, type.getElementType(), packed.getRows()))
      bytes += getComponentBytes(component, n, k, packed.getRows());
    return bytes;
  }
  if (format)
    return n * (k / int64_t(format.getBlock())) * format.getBlockBytes();
  return n * k * getBytes(type.getElementType());
}

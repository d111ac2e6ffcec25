// SPDX-License-Identifier: Apache-2.0
#include "passes/target/vulkan/BufferAccess.h"

#include "passes/target/vulkan/Vulkan.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;
using namespace mlir::lumen::vulkan;

/// Bytes that are read as one number.
constexpr int64_t kReadBytes = 4;

bool Place::isArray() const { return isa<spirv::PointerType>(base.getType()); }

Type vulkan::getStored(Type element) {
  Builder b(element.getContext());
  if (element.isIndex())
    return b.getI64Type();
  return element.isBF16() ? Type(b.getI16Type()) : element;
}

static int64_t getStoredBytes(Type element) {
  return getStored(element).getIntOrFloatBitWidth() / 8;
}

Place vulkan::makePlace(KernelBuilder &b, MemRefType type, Value base,
                        ValueRange sizes) {
  Place place{base, b.index(0), {}, {}};
  unsigned next = 0;
  for (int64_t size : type.getShape())
    place.sizes.push_back(ShapedType::isDynamic(size) ? sizes[next++]
                                                      : b.index(size));
  Value stride = b.index(1);
  place.strides.resize(type.getRank());
  for (int64_t dim = type.getRank(); dim-- > 0;) {
    place.strides[dim] = stride;
    stride = b.createOrFold<arith::MulIOp>(stride, place.sizes[dim]);
  }
  return place;
}

/// The address of an element, for an access of type `accessed`.
static Value getPointer(KernelBuilder &b, const Place &place, Type element,
                        Value at, Type accessed) {
  if (place.isArray()) {
    Value number = arith::IndexCastOp::create(b, b.getI32Type(), at);
    return spirv::AccessChainOp::create(b, place.base, ValueRange(number));
  }
  Value bytes =
      b.createOrFold<arith::MulIOp>(at, b.index(getStoredBytes(element)));
  bytes = arith::IndexCastOp::create(b, b.getI64Type(), bytes);
  Value address = arith::AddIOp::create(b, place.base, bytes);
  return spirv::ConvertUToPtrOp::create(
      b,
      spirv::PointerType::get(accessed,
                              spirv::StorageClass::PhysicalStorageBuffer),
      address);
}

static spirv::MemoryAccessAttr getAligned(KernelBuilder &b) {
  return spirv::MemoryAccessAttr::get(b.getContext(),
                                      spirv::MemoryAccess::Aligned);
}

/// What is stored of `count` elements, at most as many as a vector has.
static Value read(KernelBuilder &b, const Place &place, Type element, Value at,
                  int64_t count, int64_t alignment) {
  Type stored = getStored(element);
  if (place.isArray())
    return spirv::LoadOp::create(b, getPointer(b, place, element, at, stored));
  int64_t bytes = getStoredBytes(element);
  Type type = count > 1 ? Type(VectorType::get(count, stored)) : stored;
  // Bytes that lie in words are read as words.
  bool isWord =
      stored.isInteger(8) && count == kReadBytes && alignment >= kReadBytes;
  Type readType = isWord ? b.getI32Type() : type;
  Value value = spirv::LoadOp::create(
      b, getPointer(b, place, element, at, readType), getAligned(b),
      b.getI32IntegerAttr(int32_t(std::max(alignment, bytes))));
  return isWord ? spirv::BitcastOp::create(b, type, value) : value;
}

Value vulkan::load(KernelBuilder &b, const Place &place, Type element, Value at,
                   int64_t lanes, int64_t alignment) {
  Type stored = getStored(element);
  auto convert = [&](Value value) -> Value {
    if (element.isIndex())
      return arith::IndexCastOp::create(b, element, value);
    return stored == element ? value
                             : arith::BitcastOp::create(b, element, value);
  };
  if (!lanes)
    return convert(read(b, place, element, at, 1, alignment));
  int64_t step = place.isArray() || stored != element ? 1 : kMostLanes;
  if (lanes > 1 && lanes <= step)
    return read(b, place, element, at, lanes, alignment);
  // (Of pieces, each but the first one may lie at less.)
  alignment = std::min(alignment, step * getStoredBytes(element));
  SmallVector<Value> elements;
  for (int64_t i = 0; i < lanes; i += step) {
    int64_t count = std::min(step, lanes - i);
    Value piece = read(b, place, element, b.add(at, i), count, alignment);
    for (int64_t j = 0; j < count; ++j)
      elements.push_back(count > 1
                             ? Value(vector::ExtractOp::create(b, piece, j))
                             : convert(piece));
  }
  return vector::FromElementsOp::create(b, VectorType::get(lanes, element),
                                        elements);
}

void vulkan::store(KernelBuilder &b, const Place &place, Value value, Value at,
                   int64_t alignment) {
  auto vector = dyn_cast<VectorType>(value.getType());
  Type element = vector ? vector.getElementType() : value.getType();
  Type stored = getStored(element);
  auto write = [&](Value each, Value to) {
    if (element.isIndex())
      each = arith::IndexCastOp::create(b, stored, each);
    else if (stored != element)
      each = arith::BitcastOp::create(b, stored, each);
    Value pointer = getPointer(b, place, element, to, each.getType());
    if (place.isArray())
      spirv::StoreOp::create(b, pointer, each);
    else
      spirv::StoreOp::create(b, pointer, each, getAligned(b),
                             b.getI32IntegerAttr(int32_t(std::max(
                                 alignment, getStoredBytes(element)))));
  };
  if (!vector)
    return write(value, at);
  int64_t lanes = vector.getNumElements();
  bool isWhole = !place.isArray() && stored == element;
  if (isWhole && lanes > 1 && lanes <= kMostLanes)
    return write(value, at);
  alignment = 0;
  for (int64_t i = 0; i < lanes; ++i)
    write(vector::ExtractOp::create(b, value, i), b.add(at, i));
}

// SPDX-License-Identifier: Apache-2.0
//
// Loads and stores of a shader, in the memory of the device, of a workgroup, or
// of an invocation.
#ifndef LUMEN_PASSES_TARGET_VULKAN_BUFFERACCESS_H
#define LUMEN_PASSES_TARGET_VULKAN_BUFFERACCESS_H

#include "passes/support/KernelBuilder.h"

#include "mlir/IR/BuiltinTypes.h"

namespace mlir::lumen::vulkan {

/// Where the elements of a buffer are.
struct Place {
  /// An address (i64), or a pointer to an array.
  Value base;
  /// In elements: of the first one, and between those of each dimension.
  Value offset;
  SmallVector<Value> sizes, strides;

  bool isArray() const;
};

/// What memory has for a value: no bf16, whose bits are moved, and no index.
Type getStored(Type element);

/// A buffer without gaps. `sizes`: those that the type leaves open.
Place makePlace(KernelBuilder &b, MemRefType type, Value base,
                ValueRange sizes);

/// Element number `at` from the base on; with `lanes`, a vector of so many.
/// `alignment`: bytes; 0 for that of an element.
Value load(KernelBuilder &b, const Place &place, Type element, Value at,
           int64_t lanes = 0, int64_t alignment = 0);

/// Stores an element or a vector.
void store(KernelBuilder &b, const Place &place, Value value, Value at,
           int64_t alignment = 0);

} // namespace mlir::lumen::vulkan

#endif // LUMEN_PASSES_TARGET_VULKAN_BUFFERACCESS_H

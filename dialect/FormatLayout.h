// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a packed weight: which components it has, where each begins and
// how it is indexed. `lumen_mlir.formats.packing` is the NumPy twin of this
// file.
#ifndef LUMEN_FORMATLAYOUT_H
#define LUMEN_FORMATLAYOUT_H

#include "dialect/LumenDialect.h"

namespace mlir::lumen {

/// Codes per span, the unit that all bit planes share: 8 steps of 4 codes.
inline constexpr int64_t kSpan = 32;

/// One bit plane of the codes: bits [offset, offset + width) of every code.
struct CodePlane {
  int64_t width;
  int64_t offset;
  /// Vector loads per span; each holds 8 / loads steps.
  int64_t getLoads() const { return width; }
};

/// Splits a code of `bits` bits into planes of 4, 2 and 1 bits (8 stays whole),
/// low bits first.
SmallVector<CodePlane> getCodePlanes(int64_t bits);

/// One component of a packed weight.
struct PackedComponent {
  enum class Kind { Codes, ScaleSuper, ScaleSub, MinSuper, MinSub, Values };
  Kind kind;
  /// Which code plane (Kind::Codes only).
  CodePlane plane;
  Type elementType;
  /// Logical columns of the weight behind one entry along K.
  int64_t columns;
  /// Elements behind one entry: `rows` for scales, `loads * rows * 4` for
  /// codes.
  int64_t elementsPerEntry;
  /// Bytes per entry.
  int64_t getEntryBytes() const;
};

/// The components of a packed weight with element type `elementType` and `rows`
/// rows per tile, in storage order. `format` is null for float elements.
SmallVector<PackedComponent>
getPackedComponents(FormatOp format, Type elementType, int64_t rows);

/// Bytes of a component for a weight of n x k, rounded up to 64.
int64_t getComponentBytes(const PackedComponent &component, int64_t n,
                          int64_t k, int64_t rows);

/// Bytes of a whole weight of this type, raw or packed. The type has a static
/// shape. Fails (without a message) where the format cannot be found from
/// `from`.
FailureOr<int64_t> getWeightBytes(RankedTensorType type, Operation *from);

/// The format a quantized tensor type names, looked up from `from`; null for
/// float elements.
FormatOp lookupFormat(RankedTensorType type, Operation *from);

} // namespace mlir::lumen

#endif // LUMEN_FORMATLAYOUT_H

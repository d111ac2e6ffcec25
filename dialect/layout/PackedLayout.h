// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a packed weight: which components it has, where each begins and
// how it is indexed. Python has the same functions (`_mlir.layout`).
#ifndef LUMEN_DIALECT_LAYOUT_PACKEDLAYOUT_H
#define LUMEN_DIALECT_LAYOUT_PACKEDLAYOUT_H

#include "dialect/layout/FormatLayout.h"

namespace mlir::lumen {

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

/// Consecutive elements of a row that one step of a product takes, of weights
/// with such elements: codes go through `lumen.dot4`, floats through fused
/// multiply-adds. A target (null: none in particular) whose instructions take
/// more codes at once has longer steps.
int64_t getStepSize(Type elementType, TargetAttr target = {});

/// How a weight of this type, whose format is looked up from `from`, is packed
/// for the products of a target.
///
/// A target's tile holds two vectors of rows where its registers allow it, so
/// that activations spread over the lanes serve twice. A format with several
/// groups in a span converts and scales more sums beside what it unpacks: one
/// vector of rows and more tokens, which share an unpacked code, are the better
/// use of as many sums.
PackedAttr getPackedLayout(TargetAttr target, RankedTensorType weight,
                           Operation *from);
/// The same where the format is known; it is null for float elements.
PackedAttr getPackedLayout(TargetAttr target, Type elementType,
                           FormatOp format);

/// Whether products of a target (null: none in particular) take codes of a
/// format, null for float elements, as signed bytes.
bool storesSignedCodes(TargetAttr target, FormatOp format);

/// Whether products of a target take codes of a format whole.
bool storesWholeCodes(TargetAttr target, FormatOp format);

/// Whether this layout has whole codes of a format.
bool hasWholeCodes(PackedAttr layout, FormatOp format);

/// What is added to a code as this layout stores it; `layout` is null for codes
/// without a sign.
int64_t getStoredBias(FormatOp format, PackedAttr layout);

//===----------------------------------------------------------------------===//
// Components
//===----------------------------------------------------------------------===//

/// One component of a packed weight. Components that go by at the same pace are
/// a stream, in whose units they lie in the order in which a product reads
/// them: what belongs to a span, then what blocks and rows have beside it.
struct PackedComponent {
  enum class Kind { Codes, Factor, Values };
  Kind kind;
  /// The bits that this component holds of every code or factor.
  BitPlane plane;
  /// Kind::Factor: its position in `getStoredFactors`.
  unsigned factor;
  Type elementType;
  /// Logical columns of the weight behind a unit of the stream; 0: the whole
  /// row.
  int64_t columns;
  /// Entries in a unit, and elements in each: `rows` for factors, `rows * k`
  /// for codes, an entry of which is a vector load, and for floats.
  int64_t entries, elementsPerEntry;
  /// Where this component begins in a unit, and whether that is the first of a
  /// stream.
  int64_t offset = 0;
  bool beginsStream = false;
  /// Bytes of a unit.
  int64_t unitBytes = 0;
  /// Bytes from the first half of the loads of codes to the second, where there
  /// are halves.
  int64_t halfBytes = 0;
  /// Whether these are codes less by `kSignBias`.
  bool isSigned = false;
  /// Whether these are whole codes (see getCodePieces).
  bool isWhole = false;

  /// Bytes of this component in a unit.
  int64_t getBytes() const;
  /// Units of a weight of `n` columns.
  int64_t getUnits(int64_t n) const {
    return columns ? llvm::divideCeil(n, columns) : 1;
  }
  /// Where in a unit entry `entry` begins.
  int64_t getEntryOffset(int64_t entry) const;
  /// Bytes from one element to the next, by dimension, where what a unit holds
  /// of this component has this shape.
  SmallVector<int64_t> getStrides(ArrayRef<int64_t> shape) const;
};

/// The components of a packed weight with element type `elementType`, in
/// storage order. `format` is null for float elements.
SmallVector<PackedComponent>
getPackedComponents(FormatOp format, Type elementType, PackedAttr layout);

/// Bytes that a tile of a weight of `columns` columns has in the stream of a
/// component.
int64_t getTileBytes(const PackedComponent &component, int64_t columns);

/// Bytes of a component's stream for a weight of `rows` x `columns`, rounded up
/// to kAlignment.
int64_t getStreamBytes(const PackedComponent &component, int64_t rows,
                       int64_t columns, PackedAttr layout);

/// Bytes of all streams.
int64_t getPackedBytes(ArrayRef<PackedComponent> components, int64_t rows,
                       int64_t columns, PackedAttr layout);

/// Bytes of a whole weight of this type, raw or packed. The type has a static
/// shape. Fails (without a message) where the format cannot be found from
/// `from`.
FailureOr<int64_t> getWeightBytes(RankedTensorType type, Operation *from);

} // namespace mlir::lumen

#endif // LUMEN_DIALECT_LAYOUT_PACKEDLAYOUT_H

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

/// Bytes of which arenas, the buffers in them and the streams of packed weights
/// begin at multiples: a cache line, and the widest vector of any target.
inline constexpr int64_t kAlignment = 64;

/// Bytes of an element, or of a vector of elements.
int64_t getBytes(Type type);

/// One bit plane: bits [offset, offset + width) of every code or factor.
struct BitPlane {
  int64_t width;
  int64_t offset;
  /// Vector loads per span (of codes); each holds 8 / loads steps.
  int64_t getLoads() const { return width; }
  /// Values that share a byte.
  int64_t getValuesPerByte() const { return width < 8 ? 8 / width : 1; }
};

/// Splits a code of `bits` bits into planes of 4, 2 and 1 bits (8 stays whole),
/// low bits first.
SmallVector<BitPlane> getBitPlanes(int64_t bits);

//===----------------------------------------------------------------------===//
// Factors: what scales and minima are made of
//===----------------------------------------------------------------------===//

/// How many weights share a factor.
enum class FactorLevel { Row, Block, Group };

/// A value of the format's region that a packed weight keeps.
struct StoredFactor {
  Value value;
  FactorLevel level;
  /// Whole elements, or planes of fewer bits where that makes the block smaller
  /// by more than 3 %.
  SmallVector<BitPlane> planes;
};

/// True where `factor` (an operand of `lumen.decoded`) is computed from a
/// `lumen.stored`.
bool dependsOnStored(Value factor);

/// What the packed weight keeps, in the order of its first use by the scale and
/// the minimum: the results of `lumen.stored` where there are any, otherwise
/// the factors themselves. What two factors share is kept once.
SmallVector<StoredFactor> getStoredFactors(FormatOp format);

/// Integers from `least` to `most`.
struct IntegerRange {
  int64_t least, most;
  /// What products of both can be.
  IntegerRange operator*(IntegerRange other) const;
  int64_t getMagnitude() const;
};

/// The integers of `factor`, the scale or the minimum of `lumen.decoded`, where
/// it is a float of the block times an integer of the group; nothing where it
/// is anything else, or has no bounds that are plain to see.
std::optional<IntegerRange> getGroupIntegers(OperandRange factor);

/// Whether the minima of a weight, if it has any, can meet sums of activation
/// codes as pairs of 16 bits: they are small integers times a float of the
/// block, and the `group` codes that share a scale hold whole pairs of sums, of
/// `sumGroup` codes each.
bool takesIntegerSums(FormatOp format, int64_t group, int64_t sumGroup);

/// What is added to an unsigned code of the format: a table's entries are
/// shifted to be unsigned, and the shift is the bias.
int64_t getCodeBias(FormatOp format);

/// Whether codes take all 8 bits and are signed bytes with their bias.
bool hasSignedBytes(FormatOp format);

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
  /// Entries in a unit, and elements in each: `rows` for factors, `rows * 4`
  /// for codes, an entry of which is a vector load.
  int64_t entries, elementsPerEntry;
  /// Where this component begins in a unit, and whether that is the first of a
  /// stream.
  int64_t offset = 0;
  bool beginsStream = false;
  /// Bytes of a unit.
  int64_t unitBytes = 0;
  /// Bytes from the first half of the loads of codes to the second (x of a
  /// step), where there are halves.
  int64_t halfBytes = 0;

  /// Bytes of this component in a unit.
  int64_t getBytes() const;
  /// Units along K of a weight of `k` columns.
  int64_t getUnits(int64_t k) const { return columns ? k / columns : 1; }
  /// Where in a unit entry `entry` begins.
  int64_t getEntryOffset(int64_t entry) const;
};

/// The components of a packed weight with element type `elementType` and `rows`
/// rows per tile, in storage order. `format` is null for float elements.
SmallVector<PackedComponent>
getPackedComponents(FormatOp format, Type elementType, int64_t rows);

/// Bytes of a component's stream for a weight of n x k, rounded up to
/// kAlignment.
int64_t getStreamBytes(const PackedComponent &component, int64_t n, int64_t k,
                       int64_t rows);

/// Bytes of a whole weight of this type, raw or packed. The type has a static
/// shape. Fails (without a message) where the format cannot be found from
/// `from`.
FailureOr<int64_t> getWeightBytes(RankedTensorType type, Operation *from);

/// The format a quantized tensor type names, looked up from `from`; null for
/// float elements.
FormatOp lookupFormat(RankedTensorType type, Operation *from);

} // namespace mlir::lumen

#endif // LUMEN_FORMATLAYOUT_H

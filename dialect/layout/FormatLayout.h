// SPDX-License-Identifier: Apache-2.0
//
// What a packed weight keeps of a format: planes of its codes, and the values
// that its scales and minima follow from. `PackedLayout.h` says where they lie.
#ifndef LUMEN_DIALECT_LAYOUT_FORMATLAYOUT_H
#define LUMEN_DIALECT_LAYOUT_FORMATLAYOUT_H

#include "dialect/LumenDialect.h"

namespace mlir::lumen {

/// Codes per span, the unit that all bit planes share.
inline constexpr int64_t kSpan = 32;

/// Consecutive codes of a row that `lumen.dot4` multiplies and adds at once.
inline constexpr int64_t kDotStep = 4;

/// Bytes of which arenas, the buffers in them and the streams of packed weights
/// begin at multiples: a cache line, and the widest vector of any target.
inline constexpr int64_t kAlignment = 64;

/// Bytes of an element, or of a vector of elements.
int64_t getBytes(Type type);

/// One bit plane: bits [offset, offset + width) of every code or factor.
struct BitPlane {
  int64_t width;
  int64_t offset;
  /// Loads per span of codes of which a step takes `k`.
  int64_t getLoads(int64_t k) const {
    return std::max<int64_t>(1, width * kSpan / (8 * k));
  }
  /// Steps that a load holds, one behind the other in the bits of its bytes.
  int64_t getStepsPerLoad(int64_t k) const { return kSpan / k / getLoads(k); }
  /// Values that share a byte.
  int64_t getValuesPerByte() const { return width < 8 ? 8 / width : 1; }
};

/// Bits of a code: [bit, bit + width) of a load of a span.
struct CodePiece {
  int64_t load, bit, width;
};

/// Whether codes of so many bits can lie whole in the lower bits of bytes,
/// which leaves upper bits over.
bool leavesBits(int64_t bits);

/// Where whole codes of `bits` bits lie that a step takes, of which there are 8
/// in a span: the bits of a code from the upper ones on. The first steps of a
/// unit (see getStepsOfUnit) are one piece each, several of them in a load
/// where these fit; the last ones are made of what the loads leave over.
SmallVector<CodePiece> getCodePieces(int64_t bits, int64_t step);

/// The least steps that fill whole loads.
int64_t getStepsOfUnit(int64_t bits);

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

/// How many significant bits the values of `factor`, the scale or the minimum
/// of `lumen.decoded`, have at most in f32; nothing where that is not plain to
/// see, or where they may be as large or as small as floats can be.
std::optional<int64_t> getSignificantBits(OperandRange factor);

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

/// Whether a packed code is a byte, and no index into a table.
bool hasByteCodes(FormatOp format);

/// What is subtracted from codes that are stored as signed bytes.
inline constexpr int64_t kSignBias = 128;

/// The format a quantized tensor type names, looked up from `from`; null for
/// float elements.
FormatOp lookupFormat(RankedTensorType type, Operation *from);

} // namespace mlir::lumen

#endif // LUMEN_DIALECT_LAYOUT_FORMATLAYOUT_H

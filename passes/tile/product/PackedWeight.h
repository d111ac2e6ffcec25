// SPDX-License-Identifier: Apache-2.0
//
// A packed weight as the operand of a product: its components as tensors, and
// what the bodies of linalg ops do to turn their elements into codes and
// scales.
#ifndef LUMEN_PASSES_TILE_PRODUCT_PACKEDWEIGHT_H
#define LUMEN_PASSES_TILE_PRODUCT_PACKEDWEIGHT_H

#include "dialect/layout/PackedLayout.h"
#include "passes/tile/product/TileBuilder.h"

#include <numeric>

namespace mlir::lumen {

/// Iteration dimensions of a span: token, the three bits of the step, row lane,
/// position inside a step.
enum SpanDim : unsigned { kToken, kX, kY, kZ, kRow, kK4, kSpanDims };

/// How many bits number a step of a span: x, y and z. What reads codes and
/// their activations is written for steps of this size alone.
inline constexpr unsigned kStepBits = kRow - kX;
static_assert(kDotStep << kStepBits == kSpan);

/// Where the span is whose factors are wanted.
struct SpanPosition {
  Value tile, block, span;
};

/// Which dimensions of a generic number the groups of a span and the row lanes.
struct FactorDims {
  unsigned dims, firstGroup, row;
};

/// Operands of a generic that hold factors, and what its body needs to know.
struct FactorOperands {
  unsigned first = 0;
  /// Without those of groups only what all columns of a block share is there.
  bool hasGroups = true;
  /// Per operand: a shift in bits on top of what the group in the span asks
  /// for; null where there is none.
  SmallVector<Value> shifts;

  bool holds(const StoredFactor &factor) const {
    return hasGroups || factor.level != FactorLevel::Group;
  }
};

class PackedWeight {
public:
  /// `weight` is the result of a `lumen.from_bytes` with a packed type.
  PackedWeight(TileBuilder &b, Value weight);

  RankedTensorType type;
  PackedAttr layout;
  /// Of a tile.
  int64_t rows;
  /// Null for float elements. (Accessors of ops are not const.)
  mutable FormatOp format;
  /// The buffer that holds it.
  Value bytes;
  /// Float elements: [tile][k][row]; in pairs: [tile][unit][pair][row][2], and
  /// both of a pair as i32: [tile][pair][row].
  Value values, words;
  /// Whether it comes from memory, and not from a cache.
  bool isFar = true;

  /// Pairs of columns that a unit has: those of 16 bytes of an activation,
  /// which one load takes, or fewer where these do not divide the columns.
  static int64_t getPairsPerUnit(int64_t columns) {
    return std::gcd<int64_t>(4, columns / 2);
  }
  /// Whether pairs of columns lie together.
  bool hasPairs() const { return !format && layout.getK() == 2; }
  int64_t getTiles() const;
  int64_t getColumns() const { return type.getDimSize(1); }
  /// log2 of the groups per span: how many of x, y, z number a group.
  unsigned getGroupBits() const;
  /// What is added to a code: a table's entries are shifted to be unsigned, and
  /// the shift is the bias.
  int64_t getBias() const;
  /// Whether codes take all 8 bits and are signed bytes with their bias.
  bool hasSignedBytes() const;
  /// Whether codes are stored as signed bytes.
  bool hasSignedCodes() const;
  bool hasMin() const;
  /// Bits of a code, in all of its planes.
  int64_t getCodeBits() const;
  /// Whether a code takes a byte of its own.
  bool hasByteCodes() const { return codes.front().first.width == 8; }

  /// Adds the bytes of the code planes of a span to the operands of a generic
  /// over `SpanDim`.
  void collectCodes(TileBuilder &b, const SpanPosition &at,
                    SmallVectorImpl<Value> &inputs,
                    SmallVectorImpl<AffineMap> &maps) const;
  /// How many operands these are.
  unsigned getCodeOperands() const;
  /// A plane of the codes as a buffer [tile][span][bits of the load…][row, k4],
  /// and the only plane of a stored factor as it is.
  Value getCodeBuffer(TileBuilder &b, unsigned plane) const;
  Value getFactorBuffer(unsigned factor) const;
  /// `values` and `words` as buffers.
  Value getValueBuffer() const;
  Value getWordBuffer() const;
  /// The codes of a step in all rows of a tile, from all planes: vector<Rxi32>
  /// of four codes each. There must be no table.
  Value loadCodes(TileBuilder &b, const SpanPosition &at, int64_t step) const;
  /// The code as an i8, from these operands.
  Value emitCode(KernelBuilder &nested, ValueRange bytes) const;

  /// Lets the op that makes `value`, for `tokens` tokens, fetch what it reads
  /// of the weight ahead, where that helps. A single stream of whole bytes the
  /// hardware follows better by itself than several of different pace.
  void fetchAhead(Value value, int64_t tokens) const;

  /// Adds the factors of a span to the operands of a generic; `hasGroups`:
  /// those of its groups too.
  FactorOperands collectFactors(TileBuilder &b, const SpanPosition &at,
                                FactorDims dims, SmallVectorImpl<Value> &inputs,
                                SmallVectorImpl<AffineMap> &maps,
                                bool hasGroups = true) const;
  /// The scale or the minimum in f32 from the block arguments of a generic.
  Value emitScale(KernelBuilder &nested, const FactorOperands &operands,
                  FactorDims dims, ValueRange arguments) const;
  Value emitMin(KernelBuilder &nested, const FactorOperands &operands,
                FactorDims dims, ValueRange arguments) const;
  /// The parts of `factor`, the format's scale or minimum, that all columns of
  /// a block share, multiplied, in f32.
  Value emitOfBlock(KernelBuilder &nested, OperandRange factor,
                    const FactorOperands &operands, FactorDims dims,
                    ValueRange arguments) const;
  /// The other part where there is one, an integer of the group (see
  /// getGroupIntegers), in i32.
  Value emitOfGroup(KernelBuilder &nested, OperandRange factor,
                    const FactorOperands &operands, FactorDims dims,
                    ValueRange arguments) const;
  /// Whether all columns of a block have the same scale.
  bool hasBlockScale() const;
  OperandRange getScale() const { return format.getDecoded().getScale(); }
  OperandRange getMin() const { return format.getDecoded().getMin(); }
  /// What v(code) can be.
  IntegerRange getValues() const;

private:
  struct Factor {
    StoredFactor stored;
    /// One tensor per plane: [tile][row] for a whole row, [tile][block][row]
    /// for a block, and for groups [tile][block][entry][row] or, where a span
    /// has entries of its own, [bits of the group…][row] behind [tile][span] or
    /// [tile][block][span in the block].
    struct Plane {
      Value tensor;
      bool isInSpan;
    };
    SmallVector<Plane, 2> planes;
  };
  /// Whether codes lie whole in their loads (see getCodePieces).
  bool hasWholeCodes() const { return lumen::hasWholeCodes(layout, format); }
  /// Loads of a unit of whole codes.
  int64_t getUnitLoads() const {
    int64_t bits = format.getBits();
    return getStepsOfUnit(bits) * bits / 8;
  }
  Value emitPlanes(KernelBuilder &nested, ValueRange planeBytes) const;
  Value emitWholeCode(KernelBuilder &nested, ValueRange loads) const;
  Value loadWholeCodes(TileBuilder &b, const SpanPosition &at,
                       int64_t step) const;
  /// log2 of the groups in a byte of this plane.
  static unsigned getSharedBits(BitPlane plane);
  Value viewComponent(TileBuilder &b, Value bytes, int64_t streamBegin,
                      const PackedComponent &component) const;
  void viewPairs(TileBuilder &b, Value bytes, const PackedComponent &component);
  /// True where a span has an entry of its own (or several) in this plane.
  bool hasEntryPerSpan(const StoredFactor &factor, BitPlane plane) const;
  Value emitProduct(KernelBuilder &nested, ValueRange parts,
                    const FactorOperands &operands, FactorDims dims,
                    ValueRange arguments) const;
  /// What the format's region computes as `value`, for one element.
  Value emitPart(KernelBuilder &nested, Value value,
                 const FactorOperands &operands, FactorDims dims,
                 ValueRange arguments) const;
  Value emitStored(KernelBuilder &nested, unsigned factor,
                   const FactorOperands &operands, FactorDims dims,
                   ValueRange arguments) const;

  /// One tensor per code plane: [tile][span][bits of the position…][row][k4].
  /// Whole codes are one: [tile][span][load of a unit][unit, if
  /// several][row][k4].
  SmallVector<std::pair<BitPlane, Value>> codes;
  SmallVector<Factor> factors;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_PACKEDWEIGHT_H

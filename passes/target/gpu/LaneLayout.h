// SPDX-License-Identifier: Apache-2.0
//
// Which elements of a vector the threads of a warp have.
#ifndef LUMEN_PASSES_TARGET_GPU_LANELAYOUT_H
#define LUMEN_PASSES_TARGET_GPU_LANELAYOUT_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"

namespace mlir::lumen {

/// Threads of a warp.
constexpr int64_t kWarp = 32;

/// `elements` in chunks of consecutive ones, which go round the lanes: chunk i
/// is in lane i % 32. Where there are fewer chunks than lanes, several lanes
/// have the same.
struct LaneLayout {
  int64_t elements, chunk;

  int64_t getChunks() const { return elements / chunk; }
  /// Chunks of a lane.
  int64_t getTurns() const { return std::max<int64_t>(1, getChunks() / kWarp); }
  /// After so many lanes they begin again.
  int64_t getPeriod() const { return std::min(getChunks(), kWarp); }
  /// Elements of a lane.
  int64_t getOwn() const { return getTurns() * chunk; }
  /// All lanes have everything.
  bool isUniform() const { return getChunks() == 1; }

  bool operator==(const LaneLayout &other) const {
    return elements == other.elements && chunk == other.chunk;
  }

  /// What a lane has of a vector with this element: a scalar where that is one
  /// of several.
  Type getType(Type element) const {
    return getOwn() == 1 && !isUniform()
               ? element
               : Type(VectorType::get(getOwn(), element));
  }

  /// Whether `elements` can be laid out in chunks of this size.
  static bool isPossible(int64_t elements, int64_t chunk);
};

/// The layouts of all vectors of a function. Elements that meet are in the same
/// lane, and those that lumen.dot4 adds up are all in one. Constants are made
/// where they are used, so they have none.
class LaneLayouts {
public:
  /// Fails with an error where no layout does for all that is done with a
  /// value.
  static FailureOr<LaneLayouts> find(func::FuncOp function);

  LaneLayout lookup(Value value) const { return layouts.at(value); }
  bool contains(Value value) const { return layouts.contains(value); }
  void set(Value value, LaneLayout layout) { layouts[value] = layout; }

private:
  DenseMap<Value, LaneLayout> layouts;
};

/// How the elements of a constant follow from their numbers: `first`, and for
/// each field of consecutive bits of the number, these bits times `weight`. An
/// arithmetic progression has one field.
struct NumberRule {
  struct Field {
    int64_t shift, bits, weight;
  };
  int64_t first;
  SmallVector<Field> fields;

  int64_t apply(int64_t number) const;
};

/// Nothing where 32-bit integers follow no such rule.
std::optional<NumberRule> findNumberRule(DenseElementsAttr elements);

/// Elements that lanes have together of an operand of lumen.dot4, lumen.dot2 or
/// lumen.mma; 0 for those of other ops.
int64_t getSumChunk(OpOperand &operand);

/// Whether `value` is a constant vector, which has no layout of its own.
bool isConstantVector(Value value);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_GPU_LANELAYOUT_H

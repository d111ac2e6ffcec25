// SPDX-License-Identifier: Apache-2.0
//
// What the code of kernels is written with: a builder that knows constants,
// loops, loads and stores, and vectors of one dimension.
#ifndef LUMEN_PASSES_SUPPORT_KERNELBUILDER_H
#define LUMEN_PASSES_SUPPORT_KERNELBUILDER_H

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::lumen {

/// The lanes of a vector.
int64_t getLanes(Value vector);

class KernelBuilder : public ImplicitLocOpBuilder {
public:
  using ImplicitLocOpBuilder::ImplicitLocOpBuilder;

  //===--------------------------------------------------------------------===//
  // Constants
  //===--------------------------------------------------------------------===//

  Value index(int64_t value);
  /// `value` as `type`, an integer or a vector of integers whose lanes are all
  /// equal. Bits that do not fit are cut off.
  Value integer(Type type, int64_t value);
  /// The same for floats.
  Value real(Type type, double value);
  /// `lanes` times `value` in f32.
  Value splat(int64_t lanes, double value);
  Value zero(Type type);
  /// `first`, `first` + 1, … in i32.
  Value laneNumbers(int64_t lanes, int64_t first = 0);
  /// `of(0)`, `of(1)`, … in i32.
  Value numbers(int64_t lanes, function_ref<int64_t(int64_t)> of);

  //===--------------------------------------------------------------------===//
  // Indices and constants. Adding 0 and dividing by 1 emit nothing.
  //===--------------------------------------------------------------------===//

  Value add(Value value, int64_t offset);
  Value multiply(Value value, int64_t factor);
  /// Unsigned.
  Value divide(Value value, int64_t divisor);
  Value remainder(Value value, int64_t divisor);
  /// An unsigned integer as an index.
  Value toIndex(Value value);

  //===--------------------------------------------------------------------===//
  // Memory
  //===--------------------------------------------------------------------===//

  /// Memory of a worker's own, aligned for any vector.
  Value allocateScratch(ArrayRef<int64_t> shape, Type element);
  /// `buffer` with its last two dimensions joined.
  Value collapseInner(Value buffer);
  /// One element.
  Value load(Value buffer, ValueRange at);
  /// `lanes` elements from `at` on.
  Value load(int64_t lanes, Value buffer, ValueRange at);
  /// An element, or a vector of them from `at` on.
  void store(Value value, Value buffer, ValueRange at);
  /// The elements that are so many behind the one at `at` as `numbers`, a
  /// vector of integers, says. They lie at multiples of their size.
  Value gather(Value buffer, ValueRange at, Value numbers);
  void scatter(Value vector, Value buffer, ValueRange at, Value numbers);

  //===--------------------------------------------------------------------===//
  // Control flow. Where a body ends, the builder stands behind the op.
  //===--------------------------------------------------------------------===//

  /// `body(i)` for i = begin, begin + step, … below `end`.
  void forEach(Value begin, Value end, int64_t step,
               function_ref<void(Value)> body);
  /// `body(i)` for i = 0, …, count - 1.
  void forEach(Value count, function_ref<void(Value)> body);
  void forEach(int64_t count, function_ref<void(Value)> body);

  /// What a loop computes: the values of `body(i, values)` replace `values`,
  /// which are `init` at first.
  using Body = function_ref<SmallVector<Value>(Value, ValueRange)>;
  SmallVector<Value> accumulate(Value begin, Value end, int64_t step,
                                ValueRange init, Body body);
  SmallVector<Value> accumulate(Value count, ValueRange init, Body body);

  /// A parallel loop, one iteration for every point below `sizes`.
  scf::ForallOp parallel(ArrayRef<OpFoldResult> sizes,
                         function_ref<void(ValueRange)> body);

  /// Where the target's workers are warps, `body` becomes a function of its
  /// own.
  void outline(function_ref<void()> body);

  /// A branch without results.
  void branch(Value condition, function_ref<void()> then,
              function_ref<void()> otherwise = nullptr);
  /// A branch to one of two values of `type`.
  Value choose(Value condition, Type type, function_ref<Value()> then,
               function_ref<Value()> otherwise);

  //===--------------------------------------------------------------------===//
  // Vectors
  //===--------------------------------------------------------------------===//

  /// `scalar` in every one of `lanes` lanes.
  Value broadcast(Value scalar, int64_t lanes);
  /// Lane number `lane` of `vector` in every one of `lanes` lanes.
  Value spreadLane(Value vector, int64_t lane, int64_t lanes);
  /// `lanes` lanes of `vector` from number `first` on; `vector` where that is
  /// all of them.
  Value extract(Value vector, int64_t first, int64_t lanes);
  /// `vector` as consecutive vectors of `lanes` lanes.
  SmallVector<Value> split(Value vector, int64_t lanes);
  /// `part` in place of the lanes of `vector` from number `first` on.
  Value insert(Value part, Value vector, int64_t first);
  /// The lanes of `vectors` one after the other.
  Value concatenate(ArrayRef<Value> vectors);
  /// A float or a signed integer, or a vector of these, as the float type
  /// `element`.
  Value convert(Value value, Type element);
  /// `acc + lhs * rhs`. The product has no other use and both ops carry
  /// `contract`, so that a target with fused multiply-add always fuses them.
  Value multiplyAdd(Value lhs, Value rhs, Value acc);
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_SUPPORT_KERNELBUILDER_H

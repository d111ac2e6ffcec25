// SPDX-License-Identifier: Apache-2.0
//
// Functions of vectors that several kinds of kernel compute. The order of every
// sum is fixed by the number of its lanes.
#ifndef LUMEN_PASSES_TILE_VECTORMATH_H
#define LUMEN_PASSES_TILE_VECTORMATH_H

#include "passes/support/KernelBuilder.h"

namespace mlir::lumen {

/// A vector rounded to integers.
struct Rounded {
  Value real;    // of floats
  Value integer; // of i32
};

/// Rounds lanes of magnitude below 2^22 to the nearest integer, ties to even.
/// Two additions on every target, while not all have an instruction for it.
Rounded emitRoundEven(KernelBuilder &b, Value x);

/// The nearest bf16 of f32 lanes, ties to even, in integer arithmetic: LLVM
/// calls a function for every lane where a target has no instruction.
Value emitRoundToBf16(KernelBuilder &b, Value x);

/// Sums of every `group` neighbouring lanes of `integers` (a power of two), in
/// order.
Value emitGroupSums(KernelBuilder &b, Value integers, int64_t group);

/// Sum of the lanes in a fixed order: the upper half is added to the lower one
/// until one lane is left. An odd number of lanes is filled up with zeros.
Value emitTreeSum(KernelBuilder &b, Value vector);

/// The largest lane. It is the same in any order; there must be no NaN, which
/// makes it one instruction.
Value emitMaximum(KernelBuilder &b, Value vector);

/// 2^x of f32 lanes, with a relative error of 1e-7; 0 below -125.
Value emitExp2(KernelBuilder &b, Value x);

/// 1 / (1 + exp(-x)) of f32, a vector or a scalar.
Value emitSigmoid(KernelBuilder &b, Value x);

/// x / (1 + exp(-y)) of f32, vectors or scalars: `x` times the sigmoid of `y`,
/// rounded once less.
Value emitTimesSigmoid(KernelBuilder &b, Value x, Value y);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_VECTORMATH_H

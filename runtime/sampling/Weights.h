//===- Weights.h - Logits as weights to draw by -----------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// A weight is a power of 2, rounded to a multiple of a unit that is so large
// that every sum of weights is exact in double precision. So sums have no
// order: they are the same bits whatever is summed first, in vectors of any
// width, by any number of threads, and in `lumen_mlir.reference.sampling`.
//
// Every operation is one of IEEE 754, rounded by itself. These files are
// compiled without contraction to fused multiply-adds (-ffp-contract=off).
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_SAMPLING_WEIGHTS_H
#define LUMEN_RUNTIME_SAMPLING_WEIGHTS_H

#include <cstddef>
#include <cstdint>

namespace mlir::lumen {

/// The weights 2^((value - largest) * scale) of values up to `largest`.
struct WeightScale {
  float largest;
  /// The logarithm of e to base 2, divided by the temperature.
  float scale;
  /// Values below it weigh nothing.
  float least;
  /// The unit times 2^23: below it, float32 cannot tell multiples apart by
  /// itself.
  float magic;

  /// For sums of up to `count` weights, each at most 1.
  WeightScale(float largest, double temperature, float least, size_t count);
};

/// Values whose largest is looked for together.
constexpr size_t kGroup = 128;
/// Weights that are added up together.
constexpr size_t kBlock = 512;

constexpr size_t countPieces(size_t count, size_t size) {
  return (count + size - 1) / size;
}

/// The largest of each group of values; true where none of them is NaN.
bool findMaxima(const float *values, size_t count, float *maxima);

/// The sum of the weights of each block. Writes the weights too, unless
/// `weights` is null.
void addWeights(const float *values, size_t count, const WeightScale &scale,
                double *sums, float *weights = nullptr);

/// `value`, from 0 to 1, as a multiple of the unit.
inline float roundToUnit(float value, float magic) {
  return value < magic ? (value + magic) - magic : value;
}

/// The natural logarithm of a positive number: other than that of C libraries,
/// the same bits everywhere.
double logarithm(double value);

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_SAMPLING_WEIGHTS_H

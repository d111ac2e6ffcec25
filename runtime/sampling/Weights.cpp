//===- Weights.cpp - Logits as weights to draw by -------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/sampling/Weights.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

// GCC is told by its command line.
#ifdef __clang__
#pragma clang fp contract(off)
#endif

using namespace mlir::lumen;

#define ALWAYS_INLINE inline __attribute__((always_inline))

namespace {
// What compilers map to the vectors that a target has.
constexpr size_t kLanes = 8;
typedef float Floats __attribute__((vector_size(32)));
typedef uint32_t Words __attribute__((vector_size(32)));
typedef double Doubles __attribute__((vector_size(64)));
} // namespace

WeightScale::WeightScale(float largest, double temperature, float least,
                         size_t count)
    : largest(largest) {
  constexpr double logTwoOfE = 1.4426950408889634;
  scale = float(
      std::clamp(logTwoOfE / temperature, double(FLT_MIN), double(FLT_MAX)));
  // What is further away weighs less than half a unit, and its power would be
  // no normal number.
  this->least =
      std::max({least, float(double(largest) - 60 / double(scale)), -FLT_MAX});
  // The weights' sum has at most as many units as double precision tells apart.
  int bits = 0;
  while (bits < 30 && size_t(1) << bits < count)
    ++bits;
  magic = std::ldexp(1.0f, bits - 53 + 23);
}

double mlir::lumen::logarithm(double value) {
  int exponent;
  double mantissa = std::frexp(value, &exponent);
  if (mantissa < 0.70710678118654752) {
    mantissa *= 2;
    --exponent;
  }
  // Of (1 + s) / (1 - s), as a series.
  double s = (mantissa - 1) / (mantissa + 1), square = s * s, sum = 0;
  for (int i = 12; i >= 0; --i)
    sum = sum * square + 1.0 / (2 * i + 1);
  return exponent * 0.69314718055994531 + 2 * s * sum;
}

//===----------------------------------------------------------------------===//
// What is computed for several instruction sets
//===----------------------------------------------------------------------===//

// Vectors are passed by reference: how they are passed by value depends on the
// instruction set.
static ALWAYS_INLINE void load(Floats &vector, const float *values) {
  std::memcpy(&vector, values, sizeof(vector));
}

/// The power is 2^n * 2^f, where f is from -0.5 to 0.5, and 2^f comes from a
/// polynomial.
static ALWAYS_INLINE void getWeights(Floats &weights, const Floats &values,
                                     const WeightScale &scale) {
  constexpr float toInteger = 0x1.8p23f;
  Floats exponent = (values - scale.largest) * scale.scale;
  Floats shifted = exponent + toInteger;
  Floats f = exponent - (shifted - toInteger);
  Floats power = f * 0x1.5bba14p-10f + 0x1.3cea88p-7f;
  power = power * f + 0x1.c6b752p-5f;
  power = power * f + 0x1.ebf9bcp-3f;
  power = power * f + 0x1.62e42ap-1f;
  power = power * f + 1.0f;
  Words bits = (Words)power + ((Words)shifted << 23);
  power = (Floats)bits;
  Floats rounded = (power + scale.magic) - scale.magic;
  power = power < scale.magic ? rounded : power;
  weights = (Floats)((Words)power & (Words)(values >= scale.least));
}

/// A vector that ends in what weighs nothing.
static ALWAYS_INLINE void loadRest(Floats &vector, const float *values,
                                   size_t count) {
  float rest[kLanes];
  for (size_t lane = 0; lane < kLanes; ++lane)
    rest[lane] = lane < count ? values[lane] : -INFINITY;
  load(vector, rest);
}

static ALWAYS_INLINE void addBlocks(const float *values, size_t count,
                                    const WeightScale &given, double *sums,
                                    float *weights) {
  const WeightScale scale = given;
  for (size_t begin = 0; begin < count; begin += kBlock) {
    size_t end = std::min(begin + kBlock, count), i = begin;
    Floats vector, powers;
    Doubles sum = {};
    for (; i + kLanes <= end; i += kLanes) {
      load(vector, values + i);
      getWeights(powers, vector, scale);
      sum += __builtin_convertvector(powers, Doubles);
      if (weights)
        std::memcpy(weights + i, &powers, sizeof(powers));
    }
    if (i < end) {
      loadRest(vector, values + i, end - i);
      getWeights(powers, vector, scale);
      sum += __builtin_convertvector(powers, Doubles);
      if (weights)
        std::memcpy(weights + i, &powers, (end - i) * sizeof(float));
    }
    double total = 0;
    for (size_t lane = 0; lane < kLanes; ++lane)
      total += sum[lane];
    *sums++ = total;
  }
}

static ALWAYS_INLINE bool findGroups(const float *values, size_t count,
                                     float *maxima) {
  Words isNaN = {};
  for (size_t begin = 0; begin < count; begin += kGroup) {
    size_t end = std::min(begin + kGroup, count), i = begin;
    Floats vector, largest;
    loadRest(largest, values, 0);
    for (; i + kLanes <= end; i += kLanes) {
      load(vector, values + i);
      isNaN |= (Words)(vector != vector);
      largest = vector > largest ? vector : largest;
    }
    if (i < end) {
      loadRest(vector, values + i, end - i);
      isNaN |= (Words)(vector != vector);
      largest = vector > largest ? vector : largest;
    }
    float maximum = largest[0];
    for (size_t lane = 1; lane < kLanes; ++lane)
      maximum = largest[lane] > maximum ? largest[lane] : maximum;
    *maxima++ = maximum;
  }
  uint32_t any = 0;
  for (size_t lane = 0; lane < kLanes; ++lane)
    any |= isNaN[lane];
  return !any;
}

//===----------------------------------------------------------------------===//
// The choice of an instruction set
//===----------------------------------------------------------------------===//

#ifdef __x86_64__
__attribute__((target("avx2"))) static void
addBlocksAvx2(const float *values, size_t count, const WeightScale &scale,
              double *sums, float *weights) {
  addBlocks(values, count, scale, sums, weights);
}

__attribute__((target("avx2"))) static bool
findGroupsAvx2(const float *values, size_t count, float *maxima) {
  return findGroups(values, count, maxima);
}

static bool hasAvx2() {
  static const bool found = __builtin_cpu_supports("avx2");
  return found;
}
#endif

bool mlir::lumen::findMaxima(const float *values, size_t count, float *maxima) {
#ifdef __x86_64__
  if (hasAvx2())
    return findGroupsAvx2(values, count, maxima);
#endif
  return findGroups(values, count, maxima);
}

void mlir::lumen::addWeights(const float *values, size_t count,
                             const WeightScale &scale, double *sums,
                             float *weights) {
#ifdef __x86_64__
  if (hasAvx2())
    return addBlocksAvx2(values, count, scale, sums, weights);
#endif
  addBlocks(values, count, scale, sums, weights);
}

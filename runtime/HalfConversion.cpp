//===- HalfConversion.cpp - f16 and bf16 without hardware -----------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/HalfConversion.h"

#include <cmath>
#include <cstring>

using namespace mlir::lumen;

template <typename To, typename From> static To bitCast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

float mlir::lumen::extendHalf(uint16_t bits) {
  // Shifted into place, the exponent is 112 too small; a multiplication by a
  // power of two mends it, subnormal numbers included.
  uint32_t magnitude = uint32_t(bits & 0x7fff) << 13;
  float value = bitCast<float>(magnitude) * 0x1p112f;
  if ((bits & 0x7c00) == 0x7c00) // Infinity and NaN.
    value = bitCast<float>(magnitude | 0x7f800000u);
  return (bits & 0x8000) ? -value : value;
}

uint16_t mlir::lumen::truncateToHalf(float value) {
  uint32_t bits = bitCast<uint32_t>(value);
  uint16_t sign = (bits >> 16) & 0x8000;
  uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) // NaN: quiet, with the top of its payload.
    return sign | 0x7e00 | ((magnitude >> 13) & 0x1ff);
  if (magnitude >= 0x477ff000) // From 65520 on, infinity is nearest.
    return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Below 2^-14 the unit is 2^-24 whatever the number, which is the unit of
    // f32 numbers in [0.5, 1): adding 0.5 rounds.
    float rounded = bitCast<float>(magnitude) + 0.5f;
    return sign | uint16_t(bitCast<uint32_t>(rounded) - 0x3f000000);
  }
  uint32_t odd = (magnitude >> 13) & 1;
  return sign | uint16_t((magnitude - 0x38000000 + 0xfff + odd) >> 13);
}

uint16_t mlir::lumen::truncateToHalf(double value) {
  // Rounding to f32 first is harmless if it rounds to odd: then the second
  // rounding sees on which side of a tie the number was.
  float nearest = float(value);
  if (double(nearest) != value && std::isfinite(nearest)) {
    uint32_t bits = bitCast<uint32_t>(nearest);
    if (!(bits & 1))
      bits += std::fabs(double(nearest)) > std::fabs(value) ? -1 : 1;
    nearest = bitCast<float>(bits);
  }
  return truncateToHalf(nearest);
}

uint16_t mlir::lumen::truncateToBFloat(float value) {
  uint32_t bits = bitCast<uint32_t>(value);
  if (std::isnan(value))
    return (bits >> 16) | 0x40;
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

#if defined(__x86_64__)
// Half-precision arguments and results travel in SSE registers; _Float16 serves
// for both kinds as their carrier.
extern "C" {
static float extendHalfABI(_Float16 value) {
  return extendHalf(bitCast<uint16_t>(value));
}
static _Float16 truncateFloatABI(float value) {
  return bitCast<_Float16>(truncateToHalf(value));
}
static _Float16 truncateDoubleABI(double value) {
  return bitCast<_Float16>(truncateToHalf(value));
}
static _Float16 truncateToBFloatABI(float value) {
  return bitCast<_Float16>(truncateToBFloat(value));
}
}

std::vector<std::pair<const char *, void *>>
mlir::lumen::getHalfConversionSymbols() {
  return {{"__extendhfsf2", reinterpret_cast<void *>(&extendHalfABI)},
          {"__truncsfhf2", reinterpret_cast<void *>(&truncateFloatABI)},
          {"__truncdfhf2", reinterpret_cast<void *>(&truncateDoubleABI)},
          {"__truncsfbf2", reinterpret_cast<void *>(&truncateToBFloatABI)}};
}
#else
std::vector<std::pair<const char *, void *>>
mlir::lumen::getHalfConversionSymbols() {
  return {};
}
#endif

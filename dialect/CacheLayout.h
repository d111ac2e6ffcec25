// SPDX-License-Identifier: Apache-2.0
//
// The layout of a page of a KV cache, 16 positions of one head. A cache of f16
// or f32 has tensor dimensions for it; a cache of i8 has bytes, as follows.
#ifndef LUMEN_DIALECT_CACHELAYOUT_H
#define LUMEN_DIALECT_CACHELAYOUT_H

#include "llvm/Support/MathExtras.h"
#include <algorithm>
#include <cstdint>

namespace mlir::lumen {

/// Positions of a page, the lanes of a score vector.
inline constexpr int64_t kCacheBlock = 16;

/// Codes of 8 bits with an f16 scale per 32 values of a head, as in q8_0; the
/// last group of a head may be shorter. First the codes of the page, of keys as
/// [d/4][position][4] with 128 added (what lumen.dot4 wants), of values as
/// [position][d]; then the scales, [group][position].
struct QuantizedPage {
  static constexpr int64_t kGroup = 32;
  /// What is added to the codes of keys.
  static constexpr int64_t kKeyBias = 128;

  int64_t headDim;

  int64_t getGroups() const { return llvm::divideCeil(headDim, kGroup); }
  int64_t getBytes() const { return kCacheBlock * (headDim + 2 * getGroups()); }
  /// Where the scales of a group begin.
  int64_t getScales(int64_t group) const {
    return kCacheBlock * (headDim + 2 * group);
  }
  /// Values of a group.
  int64_t getGroupSize(int64_t group) const {
    return std::min(kGroup, headDim - group * kGroup);
  }
};

} // namespace mlir::lumen

#endif // LUMEN_DIALECT_CACHELAYOUT_H

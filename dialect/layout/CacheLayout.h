// SPDX-License-Identifier: Apache-2.0
//
// The layout of a block of a KV cache, 16 positions of one head. A cache of f16
// or f32 has tensor dimensions for it; a cache of i8 has bytes, as follows.
// Four blocks are a page. Python has the same functions (`_mlir.layout`).
#ifndef LUMEN_DIALECT_LAYOUT_CACHELAYOUT_H
#define LUMEN_DIALECT_LAYOUT_CACHELAYOUT_H

#include "dialect/layout/FormatLayout.h"

#include "llvm/Support/MathExtras.h"

namespace mlir::lumen {

/// Positions of a block, the lanes of a score vector.
inline constexpr int64_t kCacheBlock = 16;

/// Positions of a page: consecutive ones of one sequence, which takes pages
/// wherever they are free.
inline constexpr int64_t kCachePage = 64;

/// What `runs` of lumen.attention say: the first row, how many, the sequence.
inline constexpr int64_t kRunColumns = 3;

/// Codes of 8 bits with an f16 scale per 32 values of a head, as in q8_0; the
/// last group of a head may be shorter. First the codes of the block, of keys
/// as [d/4][position][4] with 128 added (what lumen.dot4 wants), of values as
/// [position][d]; then the scales, [group][position].
struct QuantizedBlock {
  static constexpr int64_t kGroup = 32;
  /// What is added to the codes of keys.
  static constexpr int64_t kKeyBias = 128;

  int64_t headDim;

  /// Whether heads of this size can be kept so.
  static bool fits(int64_t headDim) { return headDim % kDotStep == 0; }
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

/// The dimensions of a block of keys or values with such elements.
inline SmallVector<int64_t> getBlockShape(Type elementType, bool isKey,
                                          int64_t headDim) {
  if (elementType.isInteger())
    return {QuantizedBlock{headDim}.getBytes()};
  if (isKey)
    return {headDim, kCacheBlock};
  return {kCacheBlock, headDim};
}

} // namespace mlir::lumen

#endif // LUMEN_DIALECT_LAYOUT_CACHELAYOUT_H

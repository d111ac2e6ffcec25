// SPDX-License-Identifier: Apache-2.0
//
// The layout of a page of a KV cache, 16 positions of one head. A cache of f16
// or f32 has tensor dimensions for it; a cache of i8 has bytes, as follows.
// Python has the same functions (`_mlir.layout`).
#ifndef LUMEN_DIALECT_LAYOUT_CACHELAYOUT_H
#define LUMEN_DIALECT_LAYOUT_CACHELAYOUT_H

#include "dialect/layout/FormatLayout.h"

#include "llvm/Support/MathExtras.h"

namespace mlir::lumen {

/// Positions of a page, the lanes of a score vector.
inline constexpr int64_t kCacheBlock = 16;

/// Positions between two corrections of the running maximum of attention. Rings
/// have a multiple of it.
inline constexpr int64_t kAttentionPositions = 64;

/// Pages of a cache of so many positions.
inline int64_t getPages(int64_t positions) {
  return llvm::divideCeil(positions, kCacheBlock);
}

/// Pages of a ring that holds a window and the tokens of a step.
inline int64_t getRingPages(int64_t window, int64_t tokens) {
  return llvm::alignTo(window + tokens - 1, kAttentionPositions) / kCacheBlock;
}

/// Codes of 8 bits with an f16 scale per 32 values of a head, as in q8_0; the
/// last group of a head may be shorter. First the codes of the page, of keys as
/// [d/4][position][4] with 128 added (what lumen.dot4 wants), of values as
/// [position][d]; then the scales, [group][position].
struct QuantizedPage {
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

/// The dimensions of a page of keys or values with such elements.
inline SmallVector<int64_t> getPageShape(Type elementType, bool isKey,
                                         int64_t headDim) {
  if (elementType.isInteger())
    return {QuantizedPage{headDim}.getBytes()};
  if (isKey)
    return {headDim, kCacheBlock};
  return {kCacheBlock, headDim};
}

} // namespace mlir::lumen

#endif // LUMEN_DIALECT_LAYOUT_CACHELAYOUT_H

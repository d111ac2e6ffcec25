// SPDX-License-Identifier: Apache-2.0
//
// How large the tiles of attention are: of rows, which are (token, query head)
// pairs of the group that reads a KV head, and of positions.
#ifndef LUMEN_PASSES_TILE_ATTENTION_ATTENTIONTILE_H
#define LUMEN_PASSES_TILE_ATTENTION_ATTENTIONTILE_H

#include "dialect/LumenDialect.h"
#include "dialect/layout/CacheLayout.h"

namespace mlir::lumen {

/// Rows that share every load of keys and values.
inline constexpr int64_t kAttentionRows = 8;
/// Positions whose softmax is computed on its own; such parts are merged in
/// their order. So they can be computed by several workers, and the result does
/// not depend on how many there are.
inline constexpr int64_t kAttentionSplit = 512;
/// The most parts: the last one takes all positions that are left.
inline constexpr int64_t kAttentionSplits = 64;

/// What fits the registers of the target.
struct AttentionRegisters {
  /// Rows whose accumulators are live at a time.
  int64_t rows;
  /// Lanes of a row among them: kCacheBlock times a power of two.
  int64_t lanes;
  /// Whether codes of keys had better be signed.
  bool signedCodes;

  /// Null stands for a target of 32 registers of 512 bits.
  static AttentionRegisters of(TargetAttr target);
};

/// The positions that a tile of rows meets at a time.
struct PositionTile {
  /// The KV head.
  Value head;
  /// Where the first one lies in the caches, a multiple of
  /// kAttentionPositions.
  Value place;
  /// How many there are, kAttentionPositions at most.
  Value count;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ATTENTION_ATTENTIONTILE_H

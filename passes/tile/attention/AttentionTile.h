// SPDX-License-Identifier: Apache-2.0
//
// How large the tiles of attention are: of rows, which are (token, query head)
// pairs of the group that reads a KV head, and of positions.
#ifndef LUMEN_PASSES_TILE_ATTENTION_ATTENTIONTILE_H
#define LUMEN_PASSES_TILE_ATTENTION_ATTENTIONTILE_H

#include "dialect/LumenDialect.h"
#include "dialect/layout/CacheLayout.h"

namespace mlir::lumen {

/// Positions between two corrections of the running maximum: those of a page.
inline constexpr int64_t kAttentionPositions = kCachePage;

/// Positions whose softmax is computed on its own; such parts are merged in
/// their order. So they can be computed by several workers, and the result does
/// not depend on how many there are.
struct AttentionParts {
  /// Of a part.
  int64_t positions;
  /// The most parts: the last one takes all positions that are left.
  int64_t most;
  /// The most sequences whose parts are shared: the arena holds them.
  int64_t sharedRuns;
  /// Whether the worker who computes the last part of a tile merges all,
  /// instead of any worker when all have met.
  bool lastMerges;
};

/// Accumulators that are live at a time.
struct AttentionShape {
  int64_t rows;
  /// Of a row: a power of two.
  int64_t lanes;
};

/// What fits the registers of the target.
struct AttentionRegisters {
  /// Rows that share every load of keys and values.
  int64_t rows;
  /// Lanes of all accumulators together.
  int64_t held;
  /// The fewest lanes of a row: a load of keys or values serves the rows, a
  /// factor these lanes.
  int64_t leastLanes;
  /// Steps whose factors are one load.
  int64_t steps;
  /// Positions of a row whose softmax is computed at a time.
  int64_t softmaxLanes;
  /// Elements of a row that are computed at a time where they do not meet: a
  /// multiple of the groups of 8-bit codes.
  int64_t pieceLanes;
  /// Whether codes of keys had better be signed.
  bool signedCodes;
  AttentionParts parts;

  /// For a tile of `rows` rows.
  AttentionShape shapeOf(int64_t rows) const;

  /// Null stands for a target of 32 registers of 512 bits.
  static AttentionRegisters of(TargetAttr target);
};

/// The positions that a tile of rows meets at a time.
struct PositionTile {
  /// The KV head.
  Value head;
  /// Where the first one lies in the caches, which the others follow.
  Value place;
  /// Where those of the next tile lie.
  Value nextPlace;
  /// How many there are, kAttentionPositions at most.
  Value count;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ATTENTION_ATTENTIONTILE_H

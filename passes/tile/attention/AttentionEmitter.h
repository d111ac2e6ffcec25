// SPDX-License-Identifier: Apache-2.0
//
// Attention of one tile of rows over the KV cache, as vector code with an
// online softmax. A row is one (token, query head) pair of the group that reads
// a KV head.
#ifndef LUMEN_PASSES_TILE_ATTENTION_ATTENTIONEMITTER_H
#define LUMEN_PASSES_TILE_ATTENTION_ATTENTIONEMITTER_H

#include "dialect/CacheLayout.h"
#include "passes/support/RowUtils.h"

namespace mlir::lumen {

/// Rows that share every load of keys and values.
inline constexpr int64_t kAttentionRows = 8;
/// Positions between two corrections of the running maximum.
inline constexpr int64_t kAttentionPositions = 64;
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
  /// Lanes of a row among them, a multiple of kCacheBlock.
  int64_t lanes;
  /// Whether codes of keys had better be signed.
  bool signedCodes = false;

  static AttentionRegisters forVectorBits(int64_t bits);
};

class AttentionEmitter {
public:
  /// `quantize` is the only user of the attention's result, or null.
  AttentionEmitter(ImplicitLocOpBuilder &b, AttentionOp op, QuantizeOp quantize,
                   AttentionRegisters registers);

  /// Sizes and scratch memory, at the top level of the kernel. A tile of rows
  /// may be split among workers where it is one of the first `sharedTiles` and
  /// has at most `sharedRows`.
  void emitPrologue(int64_t sharedTiles, int64_t sharedRows);
  /// The number of rows of a KV head: tokens times query heads per KV head.
  Value getRowCount() const { return rowCount; }
  Value getTokens() const { return tokens; }
  int64_t getGroup() const { return group; }
  /// The number of parts that the positions before `end` have.
  Value emitSplitCount(Value end);
  /// Rows `first`, … (`rows` of them, as far as they exist) of KV head `head`,
  /// where the tile has one part. Otherwise only part number `part` of tile
  /// `tile`, which `emitMerge` waits for.
  void emitTile(Value head, Value tile, Value first, int64_t rows, Value part,
                Value isWhole);
  /// Joins the `parts` parts of a tile.
  void emitMerge(Value head, Value tile, Value first, int64_t rows,
                 Value parts);

private:
  /// What is known of the rows of a tile after some of their positions.
  struct State {
    Value outputs; // [row][d], not yet divided by the sums
    Value maxima;  // [row] largest score
    Value sums;    // [row][16] sum of probabilities, by lane
  };

  void emitReset(const State &state, int64_t rows);
  /// The state of one part, added to those before it.
  void emitJoin(int64_t rows);
  /// Copies the state of a part to where other workers see it, or back.
  void emitExchange(Value head, Value tile, Value part, int64_t rows,
                    bool publish);
  void emitLoadQueries(Value head, Value first, int64_t rows);
  /// `start` is where the first position of the tile lies in the caches.
  void emitScores(Value head, Value start, Value valid, int64_t rows);
  /// Starts to fetch `registers.lanes` elements, from element `offset` on, of
  /// what `cache` (of floats) holds for a head from position `position` on.
  void emitFetch(Value cache, Value head, Value position, Value offset);
  Value loadValues(Value head, Value position, int64_t d, int64_t lanes);
  void emitSoftmax(Value start, int64_t rows);
  void emitValues(Value head, Value start, Value valid, int64_t rows);
  void emitStore(Value head, Value first, int64_t rows);
  /// The positions of `part` from `seen` on (null for all) and before `end`.
  void emitPart(Value head, Value part, Value seen, Value end, int64_t rows);
  /// Positions that the caches hold.
  Value emitRingSize();
  /// The first position of the first tile of positions that any row from
  /// `first` on sees; null without a window.
  Value emitBegin(Value first);
  Value emitEnd(Value first, int64_t rows);
  /// Token and first column of a row, which may lie past the last one.
  std::pair<Value, Value> locateRow(Value head, Value row);
  Value emitExp2(Value x);

  // The same with caches of 8-bit codes (QuantizedAttention.cpp).
  void emitQuantizeQuery(Value i, Value x);
  void emitCodeScores(Value head, Value start, Value valid, int64_t rows);
  /// Probabilities times the scales of one group of the values.
  void emitWeights(Value head, Value start, Value valid, int64_t rows,
                   int64_t group);
  /// Starts to fetch a page of `cache`.
  void emitFetchPage(Value cache, Value head, Value block);
  Value loadCodeValues(Value head, Value position, int64_t d, int64_t lanes);
  /// The scales of a group at the positions of a page.
  Value loadScales(Value cache, Value head, Value block, int64_t group);

  Value index(int64_t value);
  /// A loop over 0, …, count - 1 that carries accumulators.
  SmallVector<Value>
  emitAccumulation(Value count, ArrayRef<Value> init,
                   function_ref<SmallVector<Value>(Value, ValueRange)> body);
  /// `body(i)` for i = 0, …, count - 1.
  void emitLoop(Value count, function_ref<void(Value)> body);

  ImplicitLocOpBuilder &b;
  AttentionOp op;
  QuantizeOp quantize;
  AttentionRegisters registers;
  int64_t group, headDim;
  bool isQuantized;
  Value q, k, v;
  Value tokens, rowCount;
  // Scratch of a worker, one line per row of the tile.
  Value queries;     // [row][d], scaled
  Value scores;      // [row][position]; probabilities after the softmax
  Value weights;     // [row][position]; probabilities, times scales if any
  Value queryCodes;  // [row][d] of i8, only with codes as keys
  Value queryScales; // [row][group]
  Value queryBiases; // [row][group] what the bias of the keys adds, negated
  Value limits;      // [row] last position that the row attends to
  Value nextMaxima;  // [row] including this tile
  Value corrections; // [row] exp(maximum - next maximum)
  Value tileSums;    // [row][16] of this tile
  State running;     // of the part at hand
  State joined;      // of all parts before it
  State shared;      // [head][tile][part]…, of all workers
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ATTENTION_ATTENTIONEMITTER_H

// SPDX-License-Identifier: Apache-2.0
//
// Attention of one tile of rows over the KV cache, as vector code with an
// online softmax. A row is one (token, query head) pair of the group that reads
// a KV head.
#ifndef LUMEN_PASSES_TILE_ATTENTION_ATTENTIONEMITTER_H
#define LUMEN_PASSES_TILE_ATTENTION_ATTENTIONEMITTER_H

#include "passes/tile/attention/CacheReader.h"

namespace mlir::lumen {

class AttentionEmitter {
public:
  /// `quantize` is the only user of the attention's result, or null.
  AttentionEmitter(KernelBuilder &b, AttentionOp op, QuantizeOp quantize,
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
  /// The scores `x` of a row from position `first` of a tile on, where those
  /// are minus infinity that the row does not see: `limit` is the last one.
  Value emitHidden(Value x, int64_t first, Value limit);
  /// Whether there are any in the tile.
  Value emitHides(Value limit);
  /// `start` is the first position of the tile.
  void emitSoftmax(Value start, int64_t rows);
  void emitValues(const PositionTile &at, int64_t rows);
  /// Of the elements from `d` on.
  void emitValues(const PositionTile &at, int64_t rows, Value d,
                  AttentionShape shape);
  void emitStore(Value head, Value first, int64_t rows);
  /// The positions of `part` from `seen` on (null for all) and before `end`.
  void emitPart(Value head, Value part, Value seen, Value end, int64_t rows);
  /// The first position of the first tile of positions that any row from
  /// `first` on sees; null without a window.
  Value emitBegin(Value first);
  Value emitEnd(Value first, int64_t rows);
  /// `body(d, lanes)` for the elements of a head, so many at a time.
  void forEachPiece(function_ref<void(int64_t, int64_t)> body);
  /// Token and first column of a row, which may lie past the last one.
  std::pair<Value, Value> locateRow(Value head, Value row);

  KernelBuilder &b;
  AttentionOp op;
  QuantizeOp quantize;
  AttentionRegisters registers;
  int64_t group, headDim;
  std::unique_ptr<CacheReader> caches;
  Value q, tokens, rowCount;
  // Scratch of a worker, one line per row of the tile.
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

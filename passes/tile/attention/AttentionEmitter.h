// SPDX-License-Identifier: Apache-2.0
//
// Attention of one tile of rows over the KV cache, as vector code with an
// online softmax. A row is one (token, query head) pair of the group that reads
// a KV head.
#ifndef LUMEN_PASSES_TILE_ATTENTION_ATTENTIONEMITTER_H
#define LUMEN_PASSES_TILE_ATTENTION_ATTENTIONEMITTER_H

#include "passes/tile/attention/CacheReader.h"

namespace mlir::lumen {

/// Rows of one sequence that are computed together, as far as they exist:
/// numbers of (token, member of the group) pairs.
struct RowTile {
  Value head;     // the KV head
  Value first;    // row
  Value end;      // behind the last row of the run
  Value sequence; // whose pages hold the positions
};

class AttentionEmitter {
public:
  /// `quantize` is the only user of the attention's result, or null.
  AttentionEmitter(KernelBuilder &b, AttentionOp op, QuantizeOp quantize,
                   AttentionRegisters registers);

  /// Sizes and scratch memory, at the top level of the kernel. A tile of rows
  /// may be split among workers where it is one of the first `sharedTiles` and
  /// has at most `sharedRows`.
  void emitPrologue(int64_t sharedTiles, int64_t sharedRows);
  Value getTokens() const { return tokens; }
  int64_t getGroup() const { return group; }
  /// The number of parts that the positions before `end` have.
  Value emitSplitCount(Value end);
  /// `rows` rows of a tile, where it has one part. Otherwise only part number
  /// `part` of the shared tile `number`, which `emitMerge` waits for, or the
  /// worker of its last part merges.
  void emitTile(const RowTile &tile, Value number, int64_t rows, Value part,
                Value isWhole);
  /// Joins the `parts` parts of a tile, as far as it has so many.
  void emitMerge(const RowTile &tile, Value number, int64_t rows, Value parts);
  /// The position behind that of a tile's last row.
  Value emitEnd(const RowTile &tile, int64_t rows);

private:
  /// What is known of the rows of a tile after some of their positions.
  struct State {
    Value outputs; // [row][d], not yet divided by the sums
    Value maxima;  // [row] largest score
    Value sums;    // [row][16] sum of probabilities, by lane
  };

  /// Joins all parts of a tile with the states of `rows` rows in registers.
  void emitMergeAtOnce(const RowTile &tile, Value number, int64_t rows,
                       Value count);
  void emitReset(const State &state, int64_t rows);
  /// The state of one part, added to those before it.
  void emitJoin(int64_t rows);
  /// Copies the state of a part to where other workers see it, or back.
  void emitExchange(Value head, Value number, Value part, int64_t rows,
                    bool publish);
  void emitLoadQueries(const RowTile &tile, int64_t rows);
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
  void emitStore(const RowTile &tile, int64_t rows);
  /// The positions of `part` from `seen` on (null for all) and before `end`.
  void emitPart(const RowTile &tile, Value part, Value seen, Value end,
                int64_t rows);
  /// The first position of the first tile of positions that any row sees; null
  /// without a window.
  Value emitBegin(const RowTile &tile);
  /// The position of a token.
  Value emitPosition(Value token);
  /// Where the positions of a sequence lie that page number `page` holds, or
  /// its last page.
  Value emitPlace(Value sequence, Value page);
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
  Value q, positions, pages, tokens;
  // Scratch of a worker, one line per row of the tile.
  Value limits;      // [row] last position that the row attends to
  Value nextMaxima;  // [row] including this tile
  Value corrections; // [row] exp(maximum - next maximum)
  Value tileSums;    // [row][16] of this tile
  State running;     // of the part at hand
  State joined;      // of all parts before it
  State shared;      // [head][number][part]…, of all workers
  int64_t sharedTiles = 0;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ATTENTION_ATTENTIONEMITTER_H

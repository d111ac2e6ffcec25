// SPDX-License-Identifier: Apache-2.0
//
// Attention of one tile of rows over the KV cache, as vector code with an
// online softmax. A row is one (token, query head) pair of the group that reads
// a KV head.
#ifndef LUMEN_PASSES_ATTENTIONEMITTER_H
#define LUMEN_PASSES_ATTENTIONEMITTER_H

#include "passes/RowUtils.h"

namespace mlir::lumen {

/// Rows that share every load of keys and values.
inline constexpr int64_t kAttentionRows = 8;
/// Positions between two corrections of the running maximum.
inline constexpr int64_t kAttentionPositions = 64;
/// Positions of one block of the caches, the lanes of a score vector.
inline constexpr int64_t kCacheBlock = 16;

/// What fits the registers of the target.
struct AttentionRegisters {
  /// Rows whose accumulators are live at a time.
  int64_t rows;
  /// Lanes of a row among them, a multiple of kCacheBlock.
  int64_t lanes;

  static AttentionRegisters forVectorBits(int64_t bits);
};

class AttentionEmitter {
public:
  /// `quantize` is the only user of the attention's result, or null.
  AttentionEmitter(ImplicitLocOpBuilder &b, AttentionOp op, QuantizeOp quantize,
                   AttentionRegisters registers);

  /// Sizes and scratch memory, at the top level of the kernel.
  void emitPrologue();
  /// The number of rows of a KV head: tokens times query heads per KV head.
  Value getRowCount() const { return rowCount; }
  Value getTokens() const { return tokens; }
  int64_t getGroup() const { return group; }
  /// Rows `first`, … (`rows` of them, as far as they exist) of KV head `head`.
  void emitTile(Value head, Value first, int64_t rows);

private:
  /// A group of rows and lanes whose accumulators are in registers.
  using Accumulators = SmallVector<Value>;

  void emitLoadQueries(Value head, Value first, int64_t rows);
  void emitScores(Value head, Value start, Value valid, int64_t rows);
  void emitSoftmax(Value start, int64_t rows);
  void emitValues(Value head, Value start, Value valid, int64_t rows);
  void emitStore(Value head, Value first, int64_t rows);
  /// Token and first column of a row, which may lie past the last one.
  std::pair<Value, Value> locateRow(Value head, Value row);
  Value emitExp2(Value x);
  Value index(int64_t value);
  /// `body(i)` for i = 0, …, count - 1.
  void emitLoop(Value count, function_ref<void(Value)> body);

  ImplicitLocOpBuilder &b;
  AttentionOp op;
  QuantizeOp quantize;
  AttentionRegisters registers;
  int64_t group, headDim;
  Value q, k, v;
  Value tokens, rowCount;
  // Scratch of a worker, one line per row of the tile.
  Value queries;     // [row][d], scaled
  Value scores;      // [row][position]; probabilities after the softmax
  Value outputs;     // [row][d], not yet divided by the sums
  Value limits;      // [row] last position that the row attends to
  Value maxima;      // [row] running maximum
  Value nextMaxima;  // [row] including this tile
  Value corrections; // [row] exp(maximum - next maximum)
  Value sums;        // [row][16] running sum of probabilities, by lane
  Value tileSums;    // [row][16] of this tile
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_ATTENTIONEMITTER_H

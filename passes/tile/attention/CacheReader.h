// SPDX-License-Identifier: Apache-2.0
//
// What attention does with the KV cache, whose blocks hold floats or 8-bit
// codes: the products of queries and keys, and the values for those of
// probabilities and values. The sums have one order in both.
#ifndef LUMEN_PASSES_TILE_ATTENTION_CACHEREADER_H
#define LUMEN_PASSES_TILE_ATTENTION_CACHEREADER_H

#include "dialect/LumenDialect.h"
#include "passes/support/KernelBuilder.h"
#include "passes/tile/attention/AttentionTile.h"

#include <memory>

namespace mlir::lumen {

class CacheReader {
public:
  /// The reader for the caches of `op`.
  static std::unique_ptr<CacheReader> create(KernelBuilder &b, AttentionOp op,
                                             AttentionRegisters registers);
  virtual ~CacheReader() = default;

  /// Views of the caches and scratch memory, at the top level of the kernel.
  virtual void emitPrologue() = 0;
  /// Keeps the elements `x` from `d` on of the query of row `row` of the tile,
  /// whose scale is that of the scores.
  virtual void emitQuery(Value row, int64_t d, Value x) = 0;
  /// The scores of the first `rows` rows. A position past the last one has a
  /// score of no meaning.
  virtual void emitScores(const PositionTile &at, int64_t rows) = 0;
  /// How many elements of a value have the same weights.
  virtual int64_t getSpan() const { return headDim; }
  /// The accumulators of weighted values, whose lanes are elements of a span.
  AttentionShape getValueShape(int64_t rows) const;
  /// Makes the weights of values in the span from element `d` on of the
  /// probabilities, where these are not what values are multiplied with.
  virtual void emitWeights(const PositionTile &at, int64_t rows, int64_t d) {}
  /// Starts to fetch the keys behind a tile, a share of them wherever weights
  /// of positions from `i` on meet `lanes` elements of values from `d` on.
  virtual void emitFetchKeys(const PositionTile &at, Value i, Value d,
                             int64_t lanes) {}
  /// `lanes` elements from `d` on of a value, in f32: that of the position
  /// `step` behind `position`, in the same block.
  virtual Value emitValue(Value head, Value position, int64_t step, Value d,
                          int64_t lanes) = 0;

  /// What a loop over `count` steps computes: `body(first, steps, values)` does
  /// as many as have their factors in one load, or one.
  using Body = function_ref<SmallVector<Value>(Value, int64_t, ValueRange)>;
  SmallVector<Value> accumulate(Value count, ValueRange init, Body body);

  /// [row][position]: scores, and what the softmax makes of them.
  Value getScores() const { return scores; }
  /// [row][position]: what values are multiplied with.
  Value getWeights() const { return weights; }

protected:
  CacheReader(KernelBuilder &b, AttentionOp op, AttentionRegisters registers);

  KernelBuilder &b;
  AttentionOp op;
  AttentionRegisters registers;
  int64_t headDim;
  /// The caches, as they are.
  Value k, v;
  /// Scratch of a worker.
  Value scores, weights;
};

/// The factors of `count` rows from `begin` on, in `steps` columns of a buffer
/// from `column` on.
class Factors {
public:
  Factors(KernelBuilder &b, Value buffer, int64_t begin, int64_t count,
          Value column, int64_t steps);

  /// That of row number `i` of them and step `step`, in all of `lanes` lanes.
  Value emit(int64_t i, int64_t step, int64_t lanes);

private:
  KernelBuilder &b;
  Value buffer, column;
  int64_t begin;
  /// The factors of several steps, by row. For one step, there is none.
  SmallVector<Value> loaded;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ATTENTION_CACHEREADER_H

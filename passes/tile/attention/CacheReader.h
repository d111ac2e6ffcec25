// SPDX-License-Identifier: Apache-2.0
//
// What attention does with the KV cache, whose pages hold floats or 8-bit
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
  /// Positions that the caches hold.
  virtual Value emitCapacity() = 0;
  /// Keeps the query `x` of row `row` of the tile, whose scale is that of the
  /// scores.
  virtual void emitQuery(Value row, Value x) = 0;
  /// The scores of the first `rows` rows. A position past the last one has a
  /// score of no meaning.
  virtual void emitScores(const PositionTile &at, int64_t rows) = 0;
  /// Whether all elements of a value have the same weights: the probabilities.
  virtual bool hasOneWeight() const = 0;
  /// Makes the weights of values from element `d` on of the probabilities,
  /// where these are not what values are multiplied with.
  virtual void emitWeights(const PositionTile &at, int64_t rows, int64_t d) {}
  /// Starts to fetch the keys behind a tile, a share of them for each of its
  /// positions, `i`, and every element `d` where values are read.
  virtual void emitFetchKeys(const PositionTile &at, Value i, Value d) {}
  /// `lanes` elements from `d` on of a value, in f32.
  virtual Value emitValue(Value head, Value position, Value d,
                          int64_t lanes) = 0;

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

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ATTENTION_CACHEREADER_H

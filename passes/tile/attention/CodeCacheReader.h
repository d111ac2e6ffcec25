// SPDX-License-Identifier: Apache-2.0
//
// Caches of 8-bit codes in pages of bytes (QuantizedPage): scores are integer
// products of codes, and the scales of values join the probabilities.
#ifndef LUMEN_PASSES_TILE_ATTENTION_CODECACHEREADER_H
#define LUMEN_PASSES_TILE_ATTENTION_CODECACHEREADER_H

#include "dialect/layout/CacheLayout.h"
#include "passes/tile/attention/CacheReader.h"

namespace mlir::lumen {

class CodeCacheReader final : public CacheReader {
public:
  CodeCacheReader(KernelBuilder &b, AttentionOp op,
                  AttentionRegisters registers)
      : CacheReader(b, op, registers), page{op.getHeadDim()} {}

  void emitPrologue() override;
  Value emitCapacity() override;
  void emitQuery(Value row, Value x) override;
  void emitScores(const PositionTile &at, int64_t rows) override;
  bool hasOneWeight() const override { return false; }
  void emitWeights(const PositionTile &at, int64_t rows, int64_t d) override;
  Value emitValue(Value head, Value position, Value d, int64_t lanes) override;

private:
  /// `emitBlock` of every page of a tile: the number of the page in the cache,
  /// and its first position in the tile.
  void forEachPage(const PositionTile &at,
                   function_ref<void(Value, Value)> emitBlock);
  /// The sums of products of codes of one group of elements: the first `count`
  /// rows from `begin` on, times the positions of a page.
  SmallVector<Value> emitGroupSums(Value head, Value block, int64_t group,
                                   int64_t begin, int64_t count);
  void emitFetchPage(Value cache, Value head, Value block);
  /// The scales of a group at the positions of a page.
  Value loadScales(Value cache, Value head, Value block, int64_t group);

  QuantizedPage page;
  Value queryCodes;  // [row][d] of i8
  Value queryScales; // [row][group]
  Value queryBiases; // [row][group] what the bias of the keys adds, negated
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ATTENTION_CODECACHEREADER_H

// SPDX-License-Identifier: Apache-2.0
//
// Caches of 8-bit codes in blocks of bytes (QuantizedBlock): scores are integer
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
      : CacheReader(b, op, registers), layout{op.getHeadDim()} {}

  void emitPrologue() override;
  void emitQuery(Value row, int64_t d, Value x) override;
  void emitScores(const PositionTile &at, int64_t rows) override;
  int64_t getSpan() const override { return QuantizedBlock::kGroup; }
  void emitWeights(const PositionTile &at, int64_t rows, int64_t d) override;
  Value emitValue(Value head, Value position, int64_t step, Value d,
                  int64_t lanes) override;

private:
  /// `lanes` positions of a block from `first` on.
  struct BlockPart {
    Value block; // the number of the page in the cache
    Value first;
    int64_t lanes;
  };

  /// `emitBlock` of every block of a tile: its number in the cache,
  /// and its first position in the tile.
  void forEachBlock(const PositionTile &at,
                    function_ref<void(Value, Value)> emitBlock);
  /// The accumulators of scores.
  AttentionShape getScoreShape(int64_t rows) const;
  /// The scores of `count` rows from `begin` on at a part of a block, which
  /// begins at position `place` of the tile.
  void emitScores(Value head, const BlockPart &part, Value place, int64_t begin,
                  int64_t count);
  /// The sums of products of codes of one group of elements: `count` rows from
  /// `begin` on, times the positions of a part.
  SmallVector<Value> emitGroupSums(Value head, const BlockPart &part,
                                   int64_t group, int64_t begin, int64_t count);
  void emitFetchBlock(Value cache, Value head, Value block);
  /// The scales of a group at the positions of a part.
  Value loadScales(Value cache, Value head, const BlockPart &part,
                   int64_t group);

  QuantizedBlock layout;
  Value queryCodes;  // [row][d] of i8
  Value queryScales; // [row][group]
  Value queryBiases; // [row][group] what the bias of the keys adds, negated
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ATTENTION_CODECACHEREADER_H

// SPDX-License-Identifier: Apache-2.0
//
// Caches of f16 or f32: keys as [block of positions][d][position in the block],
// values as [position][d].
#ifndef LUMEN_PASSES_TILE_ATTENTION_FLOATCACHEREADER_H
#define LUMEN_PASSES_TILE_ATTENTION_FLOATCACHEREADER_H

#include "passes/tile/attention/CacheReader.h"

namespace mlir::lumen {

class FloatCacheReader final : public CacheReader {
public:
  FloatCacheReader(KernelBuilder &b, AttentionOp op,
                   AttentionRegisters registers)
      : CacheReader(b, op, registers) {}

  void emitPrologue() override;
  void emitQuery(Value row, int64_t d, Value x) override;
  void emitScores(const PositionTile &at, int64_t rows) override;
  void emitFetchKeys(const PositionTile &at, Value i, Value d,
                     int64_t lanes) override;
  Value emitValue(Value head, Value position, int64_t step, Value d,
                  int64_t lanes) override;

private:
  Value queries; // [row][d]
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ATTENTION_FLOATCACHEREADER_H

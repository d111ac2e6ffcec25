// SPDX-License-Identifier: Apache-2.0
//
// The rows that go to experts and come back from them.
#include "passes/support/KernelBuffers.h"
#include "passes/tile/rows/RowEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

class GatherRowsEmitter final : public RowOpEmitterOf<GatherRowsOp> {
  using RowOpEmitterOf::RowOpEmitterOf;

  int64_t getColumns() { return rankedType(op.getX()).getDimSize(1); }

  /// No piece crosses two rows of x.
  void addWidths(ColumnWidths &widths) override {
    widths.requirePiece(std::gcd(getColumns(), ColumnWidths::kFreePiece));
  }

  LogicalResult verify(const ColumnLoop &loop) override {
    if (getColumns() % loop.piece == 0)
      return success();
    return op.emitOpError("gathers rows of ")
           << getColumns() << " columns in pieces of " << loop.piece;
  }

  SmallVector<Value> emitPieces(RowEmitter &rows, ColumnTile &tile) override {
    KernelBuilder &b = rows.b;
    Value x = getSourceBuffer(op.getX());
    Value source = getSourceBuffer(op.getSource());
    return rows.mapPieces(tile, [&](int64_t begin, int64_t lanes) {
      Value at = b.add(tile.base, begin);
      Value slot = b.divide(at, getColumns());
      Value token = b.toIndex(b.load(source, {rows.row, slot}));
      Value column = b.remainder(at, getColumns());
      return b.load(lanes, x, {token, column});
    });
  }
};

class CombineEmitter final : public RowOpEmitterOf<CombineOp> {
  using RowOpEmitterOf::RowOpEmitterOf;

  void emitPrologue(RowEmitter &rows) override;
  SmallVector<Value> emitPieces(RowEmitter &rows, ColumnTile &tile) override;

  /// Where the row of an expert stands, and what it is multiplied with.
  struct Slot {
    Value row, column, weight;
  };
  SmallVector<Slot> slots;
};

} // namespace

void CombineEmitter::emitPrologue(RowEmitter &rows) {
  KernelBuilder &b = rows.b;
  int64_t count = rankedType(op.getPlace()).getDimSize(1);
  Value place = getSourceBuffer(op.getPlace());
  Value weights = getSourceBuffer(op.getWeights());
  slots.clear();
  for (int64_t s = 0; s < count; ++s) {
    SmallVector<Value> indices = {rows.row, b.index(s)};
    Value number = b.toIndex(b.load(place, indices));
    Value slot = b.remainder(number, count);
    Value row = b.divide(number, count);
    Value column = b.multiply(slot, rows.loop.columns);
    slots.push_back({row, column, b.load(weights, indices)});
  }
}

SmallVector<Value> CombineEmitter::emitPieces(RowEmitter &rows,
                                              ColumnTile &tile) {
  KernelBuilder &b = rows.b;
  Value x = getSourceBuffer(op.getX());
  SmallVector<Value> sums;
  for (const Slot &slot : slots) {
    Value first = arith::AddIOp::create(b, tile.base, slot.column);
    size_t i = 0;
    sums = rows.mapPieces(tile, [&](int64_t begin, int64_t lanes) -> Value {
      Value values = b.load(lanes, x, {slot.row, b.add(first, begin)});
      Value weight = b.broadcast(slot.weight, lanes);
      if (sums.empty())
        return arith::MulFOp::create(b, values, weight);
      return b.multiplyAdd(values, weight, sums[i++]);
    });
  }
  return sums;
}

RowOpEmitterPtr lumen::createEmitter(GatherRowsOp op) {
  return std::make_unique<GatherRowsEmitter>(op);
}

RowOpEmitterPtr lumen::createEmitter(CombineOp op) {
  return std::make_unique<CombineEmitter>(op);
}

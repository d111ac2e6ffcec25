// SPDX-License-Identifier: Apache-2.0
//
// Row-local ops as vector code: the columns of one row are computed piece by
// piece in registers, through whole chains of ops, without rows of scratch
// memory.
#ifndef LUMEN_PASSES_TILE_ROWS_ROWEMITTER_H
#define LUMEN_PASSES_TILE_ROWS_ROWEMITTER_H

#include "passes/tile/rows/RowOpEmitter.h"

namespace mlir::lumen {

/// The ops of a kernel whose results live on the same columns.
struct ColumnLoop {
  SmallVector<RowOpEmitterPtr> ops;
  int64_t columns = 0;
  /// Columns of one vector: no op's group or head crosses it.
  int64_t piece = 1;
  /// Columns of one iteration, a multiple of `piece`: no block crosses it.
  int64_t tile = 1;
  /// Columns of a chain of element-wise operations that fit the registers.
  int64_t chain = 1;

  /// Whether all ops compute any columns by themselves.
  bool takesAnyColumns() const {
    return llvm::all_of(
        ops, [](const RowOpEmitterPtr &op) { return op->takesAnyColumns(); });
  }

  int64_t getFullTiles() const { return columns / tile; }
  int64_t getTail() const { return columns % tile; }
};

/// Columns of a row: those from `base` on, `width` of them.
struct ColumnTile {
  ColumnTile(Value base, int64_t width) : base(base), width(width) {}

  Value base;
  int64_t width;
  /// The values of which the tile is computed already, in vectors of a piece
  /// each (the last may be shorter).
  llvm::DenseMap<Value, SmallVector<Value>> pieces;
};

/// Emits the ops of one ColumnLoop for one row.
class RowEmitter {
public:
  RowEmitter(KernelBuilder &b, const ColumnLoop &loop, Value row);

  /// What the tiles of the row share: sums of squares, angles, the block of
  /// bytes.
  void emitPrologue();
  /// The stores of all results for a tile.
  void emitTile(Value base, int64_t width);

  /// The pieces of `value`, rows of a buffer or of an op of the loop.
  SmallVector<Value> emit(Value value, ColumnTile &tile);
  /// The pieces of row `at` of a buffer, or of one that has no rows.
  SmallVector<Value> emitLoads(Value buffer, Value at, const ColumnTile &tile);
  /// `body` of each piece of `value`.
  SmallVector<Value> map(Value value, ColumnTile &tile,
                         function_ref<Value(Value)> body);
  /// `body(i, lanes)` for the columns from number i of the tile on.
  SmallVector<Value> mapPieces(const ColumnTile &tile,
                               function_ref<Value(int64_t, int64_t)> body);

  KernelBuilder &b;
  const ColumnLoop &loop;
  const Value row;

private:
  llvm::DenseMap<Operation *, RowOpEmitter *> emitters;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ROWS_ROWEMITTER_H

// SPDX-License-Identifier: Apache-2.0
//
// Row-local ops as vector code: the columns of one row are computed piece by
// piece in registers, through whole chains of ops, without rows of scratch
// memory.
#ifndef LUMEN_PASSES_TILE_ROWS_ROWEMITTER_H
#define LUMEN_PASSES_TILE_ROWS_ROWEMITTER_H

#include "dialect/LumenDialect.h"
#include "passes/support/KernelBuilder.h"

#include "llvm/ADT/DenseMap.h"

namespace mlir::lumen {

/// The ops of a kernel whose results live on the same columns.
struct ColumnLoop {
  SmallVector<Operation *> ops;
  int64_t columns = 0;
  /// Columns of one vector: no op's group or head crosses it.
  int64_t piece = 1;
  /// Columns of one iteration, a multiple of `piece`: no block crosses it.
  int64_t tile = 1;

  int64_t getFullTiles() const { return columns / tile; }
  int64_t getTail() const { return columns % tile; }
};

/// Emits the ops of one ColumnLoop for one row.
class RowEmitter {
public:
  RowEmitter(KernelBuilder &b, const ColumnLoop &loop, Value row, Value staging)
      : b(b), loop(loop), row(row), staging(staging) {}

  /// What the tiles of the row share: sums of squares, angles, the block of
  /// bytes.
  void emitPrologue();
  /// The stores of all results for the columns `base`, … (`width` of them).
  void emitTile(Value base, int64_t width);

private:
  /// A tile being emitted, and the pieces of it that are there already.
  struct Tile {
    Tile(Value base, int64_t width) : base(base), width(width) {}
    Value base;
    int64_t width;
    llvm::DenseMap<Value, SmallVector<Value>> pieces;
  };

  SmallVector<Value> emit(Value value, Tile &tile);
  SmallVector<Value> emitLoads(Value buffer, Value at, Tile &tile);
  SmallVector<Value> emitEmbedding(EmbeddingOp op, Tile &tile);
  SmallVector<Value> emitElementwisePieces(Operation *op, Tile &tile);
  Value emitRope(RopeOp op, Value x);
  Value emitInverseRms(RmsNormOp op);
  /// 1 / sqrt(mean + epsilon) of `count` values whose squares are summed up in
  /// the lanes of `squares`.
  Value emitInverseRoot(RmsNormOp op, Value squares, int64_t count);
  Value emitHeadNorm(RmsNormOp op, Value x);
  SmallVector<Value> emitGather(GatherRowsOp op, Tile &tile);
  SmallVector<Value> emitCombine(CombineOp op, Tile &tile);

  KernelBuilder &b;
  const ColumnLoop &loop;
  Value row;
  /// Per-worker scratch of one head in the element type of the cache; may be
  /// null.
  Value staging;
  /// From the prologue: first byte (embedding), 1/rms or the weight of a head
  /// (rms_norm), rows, columns and factors of the slots (combine),
  /// the sigmoid (gate), cosines and sines (rope), absolute position
  /// (kv_append).
  llvm::DenseMap<Operation *, SmallVector<Value>> shared;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ROWS_ROWEMITTER_H

// SPDX-License-Identifier: Apache-2.0
//
// How the ops of rows kernels become code: one class for each, behind
// `createRowOpEmitter`.
#ifndef LUMEN_PASSES_TILE_ROWS_ROWOPEMITTER_H
#define LUMEN_PASSES_TILE_ROWS_ROWOPEMITTER_H

#include "dialect/LumenDialect.h"
#include "passes/support/KernelBuilder.h"

#include "llvm/ADT/DenseMap.h"

#include <memory>
#include <numeric>

namespace mlir::lumen {

class RowEmitter;
struct ColumnLoop;
struct ColumnTile;

/// What the ops of a loop ask of its columns.
struct ColumnWidths {
  /// Columns of a vector where no op asks for a certain number.
  static constexpr int64_t kFreePiece = 64;

  /// An op works on so many columns together.
  void requirePiece(int64_t width) {
    piece = std::lcm(piece, width);
    isFree = false;
  }
  /// An op makes so many columns at once, of several pieces.
  void requireBlock(int64_t width) { block = std::lcm(block, width); }

  int64_t piece = 1, block = 1;
  bool isFree = true;
};

/// One op. What its tiles share for a row is kept between `emitPrologue` and
/// the tiles.
class RowOpEmitter {
public:
  explicit RowOpEmitter(KernelOpInterface op) : kernelOp(op) {}
  virtual ~RowOpEmitter() = default;

  KernelOpInterface getOp() const { return kernelOp; }

  virtual void addWidths(ColumnWidths &) {}
  /// Whether the op can work on the columns that were chosen.
  virtual LogicalResult verify(const ColumnLoop &) { return success(); }
  /// Whether the op computes any columns by themselves, however few.
  virtual bool takesAnyColumns() const { return false; }
  /// Memory of a worker's own, once for all rows.
  virtual void emitScratch(KernelBuilder &, const ColumnLoop &) {}
  virtual void emitPrologue(RowEmitter &) {}
  /// The pieces of the result, where other ops can take them as they come.
  virtual SmallVector<Value> emitPieces(RowEmitter &, ColumnTile &) {
    llvm_unreachable("the op has no rows of floats as its result");
  }
  /// Stores the results: the pieces, unless an op does better.
  virtual void emitStores(RowEmitter &, ColumnTile &);

private:
  KernelOpInterface kernelOp;
};

using RowOpEmitterPtr = std::unique_ptr<RowOpEmitter>;

/// The emitter of an op of this type.
template <typename Op> class RowOpEmitterOf : public RowOpEmitter {
public:
  explicit RowOpEmitterOf(Op op) : RowOpEmitter(op), op(op) {}

protected:
  Op op;
};

inline RankedTensorType rankedType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

/// The emitter of an op of a rows kernel.
RowOpEmitterPtr createRowOpEmitter(KernelOpInterface op);

//===----------------------------------------------------------------------===//
// One function per op, in the file of its class. Element-wise ops have none:
// ElementwiseEmitter.h says all of them.
//===----------------------------------------------------------------------===//

RowOpEmitterPtr createEmitter(CombineOp op);
RowOpEmitterPtr createEmitter(EmbeddingOp op);
RowOpEmitterPtr createEmitter(GateOp op);
RowOpEmitterPtr createEmitter(GatherRowsOp op);
RowOpEmitterPtr createEmitter(GroupKeysOp op);
RowOpEmitterPtr createEmitter(KvAppendOp op);
RowOpEmitterPtr createEmitter(LargestGroupsOp op);
RowOpEmitterPtr createEmitter(QuantizeOp op);
RowOpEmitterPtr createEmitter(RmsNormOp op);
RowOpEmitterPtr createEmitter(RopeOp op);
RowOpEmitterPtr createEmitter(SelectRowsOp op);
RowOpEmitterPtr createEmitter(ToBf16Op op);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ROWS_ROWOPEMITTER_H

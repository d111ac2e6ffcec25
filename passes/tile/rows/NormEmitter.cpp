// SPDX-License-Identifier: Apache-2.0
#include "passes/support/KernelBuffers.h"
#include "passes/tile/VectorMath.h"
#include "passes/tile/rows/RowEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

/// 1 / sqrt(mean + epsilon) of `count` values whose squares are summed up in
/// the lanes of `squares`.
static Value emitInverseRoot(KernelBuilder &b, RmsNormOp op, Value squares,
                             int64_t count) {
  auto constant = [&](double value) { return b.real(b.getF32Type(), value); };
  Value mean =
      arith::DivFOp::create(b, emitTreeSum(b, squares), constant(count));
  Value biased = arith::AddFOp::create(
      b, mean, constant(op.getEpsilon().convertToDouble()));
  return arith::DivFOp::create(b, constant(1.0),
                               math::SqrtOp::create(b, biased));
}

namespace {

/// Over whole rows.
class RowNormEmitter final : public RowOpEmitterOf<RmsNormOp> {
  using RowOpEmitterOf::RowOpEmitterOf;

  bool takesAnyColumns() const override { return true; }

  void emitPrologue(RowEmitter &rows) override;

  /// Sums of squares of long pieces: `lanes` of them, of the columns that are
  /// `first`, … modulo `step`. They are added up as the tree of a whole piece
  /// does it.
  Value emitSquares(RowEmitter &rows, int64_t first, int64_t lanes,
                    int64_t step);

  SmallVector<Value> emitPieces(RowEmitter &rows, ColumnTile &tile) override {
    KernelBuilder &b = rows.b;
    SmallVector<Value> left = rows.emit(op.getX(), tile),
                       right = rows.emit(op.getWeight(), tile), pieces;
    for (auto [x, weight] : llvm::zip_equal(left, right)) {
      Value normed =
          arith::MulFOp::create(b, x, b.broadcast(inverse, getLanes(x)));
      pieces.push_back(arith::MulFOp::create(b, normed, weight));
    }
    return pieces;
  }

  Value inverse; // of the root of the mean of squares
};

/// Over every head of a row.
class HeadNormEmitter final : public RowOpEmitterOf<RmsNormOp> {
  using RowOpEmitterOf::RowOpEmitterOf;

  int64_t getSize() { return rankedType(op.getWeight()).getDimSize(0); }

  void addWidths(ColumnWidths &widths) override {
    widths.requirePiece(getSize());
  }

  void emitPrologue(RowEmitter &rows) override {
    weight = rows.b.load(getSize(), getSourceBuffer(op.getWeight()),
                         rows.b.index(0));
  }

  SmallVector<Value> emitPieces(RowEmitter &rows, ColumnTile &tile) override {
    KernelBuilder &b = rows.b;
    return rows.map(op.getX(), tile, [&](Value x) {
      SmallVector<Value> heads;
      for (Value head : b.split(x, getSize())) {
        Value squares = arith::MulFOp::create(b, head, head);
        Value inverse = emitInverseRoot(b, op, squares, getSize());
        head = arith::MulFOp::create(b, head, b.broadcast(inverse, getSize()));
        heads.push_back(arith::MulFOp::create(b, head, weight));
      }
      return b.concatenate(heads);
    });
  }

  Value weight;
};

} // namespace

Value RowNormEmitter::emitSquares(RowEmitter &rows, int64_t first,
                                  int64_t lanes, int64_t step) {
  KernelBuilder &b = rows.b;
  if (step < rows.loop.piece) {
    Value lower = emitSquares(rows, first, lanes, 2 * step);
    Value upper = emitSquares(rows, first + step, lanes, 2 * step);
    return arith::AddFOp::create(b, lower, upper);
  }
  auto sums = b.accumulate(
      b.index(first), b.index(rows.loop.columns), step, b.splat(lanes, 0.0),
      [&](Value base, ValueRange acc) -> SmallVector<Value> {
        ColumnTile tile(base, lanes);
        Value x = rows.emit(op.getX(), tile).front();
        return {b.multiplyAdd(x, x, acc[0])};
      });
  return sums.front();
}

void RowNormEmitter::emitPrologue(RowEmitter &rows) {
  KernelBuilder &b = rows.b;
  const ColumnLoop &loop = rows.loop;
  // Longer pieces are too many accumulators.
  int64_t lanes = 4 * std::min(loop.chain, loop.piece);
  if (lanes < loop.piece && loop.tile == loop.piece &&
      llvm::isPowerOf2_64(loop.piece) && loop.takesAnyColumns()) {
    Value squares = emitSquares(rows, 0, lanes, lanes);
    inverse = emitInverseRoot(b, op, squares, loop.columns);
    return;
  }
  // One accumulator per piece of a tile. Its shape, and so the order of the
  // sum, depends on the kernel only.
  SmallVector<Value> sums(loop.tile / loop.piece, b.splat(loop.piece, 0.0));
  auto addSquares = [&](Value base, int64_t width, SmallVector<Value> acc) {
    ColumnTile tile(base, width);
    for (auto [i, x] : llvm::enumerate(rows.emit(op.getX(), tile))) {
      if (x.getType() != acc[i].getType())
        x = b.insert(x, b.splat(loop.piece, 0.0), 0);
      acc[i] = b.multiplyAdd(x, x, acc[i]);
    }
    return acc;
  };
  if (loop.getFullTiles())
    sums = b.accumulate(b.index(0), b.index(loop.getFullTiles() * loop.tile),
                        loop.tile, sums, [&](Value base, ValueRange acc) {
                          return addSquares(base, loop.tile,
                                            llvm::to_vector_of<Value>(acc));
                        });
  if (loop.getTail())
    sums = addSquares(b.index(loop.getFullTiles() * loop.tile), loop.getTail(),
                      sums);

  Value sum = sums.front();
  for (Value next : ArrayRef(sums).drop_front())
    sum = arith::AddFOp::create(b, sum, next);
  inverse = emitInverseRoot(b, op, sum, loop.columns);
}

RowOpEmitterPtr lumen::createEmitter(RmsNormOp op) {
  if (op.isPerHead())
    return std::make_unique<HeadNormEmitter>(op);
  return std::make_unique<RowNormEmitter>(op);
}

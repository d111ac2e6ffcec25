// SPDX-License-Identifier: Apache-2.0
#include "passes/support/KernelBuffers.h"
#include "passes/tile/rows/RowEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

class RopeEmitter final : public RowOpEmitterOf<RopeOp> {
  using RowOpEmitterOf::RowOpEmitterOf;

  int64_t getRotated() { return rankedType(op.getTable()).getDimSize(1); }

  void addWidths(ColumnWidths &widths) override {
    widths.requirePiece(op.getHeadDim());
  }

  void emitPrologue(RowEmitter &rows) override {
    KernelBuilder &b = rows.b;
    int64_t half = getRotated() / 2;
    Value table = getSourceBuffer(op.getTable());
    Value positions = getSourceBuffer(op.getPositions());
    Value position = b.toIndex(b.load(positions, rows.row));
    cosine = b.load(half, table, {position, b.index(0)});
    sine = b.load(half, table, {position, b.index(half)});
  }

  SmallVector<Value> emitPieces(RowEmitter &rows, ColumnTile &tile) override {
    return rows.map(op.getX(), tile, [&](Value x) {
      auto heads =
          llvm::map_to_vector(rows.b.split(x, op.getHeadDim()),
                              [&](Value head) { return turn(rows.b, head); });
      return rows.b.concatenate(heads);
    });
  }

  Value turn(KernelBuilder &b, Value head);

  Value cosine, sine;
};

} // namespace

Value RopeEmitter::turn(KernelBuilder &b, Value head) {
  int64_t headDim = op.getHeadDim(), rotated = getRotated();
  Value first, second;
  bool interleaved = op.getStyle() == "norm";
  if (interleaved) {
    auto pairs = vector::DeinterleaveOp::create(b, b.extract(head, 0, rotated));
    first = pairs.getRes1();
    second = pairs.getRes2();
  } else {
    first = b.extract(head, 0, rotated / 2);
    second = b.extract(head, rotated / 2, rotated / 2);
  }
  Value turnedFirst =
      arith::SubFOp::create(b, arith::MulFOp::create(b, first, cosine),
                            arith::MulFOp::create(b, second, sine));
  Value turnedSecond =
      arith::AddFOp::create(b, arith::MulFOp::create(b, first, sine),
                            arith::MulFOp::create(b, second, cosine));
  SmallVector<Value> parts = {turnedFirst, turnedSecond};
  if (interleaved)
    parts = {vector::InterleaveOp::create(b, turnedFirst, turnedSecond)};
  if (rotated < headDim)
    parts.push_back(b.extract(head, rotated, headDim - rotated));
  return b.concatenate(parts);
}

RowOpEmitterPtr lumen::createEmitter(RopeOp op) {
  return std::make_unique<RopeEmitter>(op);
}

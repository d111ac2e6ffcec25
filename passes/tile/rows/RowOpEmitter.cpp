// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/rows/RowOpEmitter.h"

#include "passes/support/KernelBuffers.h"
#include "passes/tile/ElementwiseEmitter.h"
#include "passes/tile/QuantizeEmitter.h"
#include "passes/tile/VectorMath.h"
#include "passes/tile/rows/RowEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::lumen;

void RowOpEmitter::emitStores(RowEmitter &rows, ColumnTile &tile) {
  Value result = kernelOp->getResult(0);
  for (Value buffer : getDestinations(result))
    for (auto [i, piece] : llvm::enumerate(rows.emit(result, tile)))
      rows.b.store(piece, buffer,
                   {rows.row, rows.b.add(tile.base, i * rows.loop.piece)});
}

namespace {

class SelectRowsEmitter final : public RowOpEmitterOf<SelectRowsOp> {
  using RowOpEmitterOf::RowOpEmitterOf;

  bool takesAnyColumns() const override { return true; }

  void emitPrologue(RowEmitter &rows) override {
    KernelBuilder &b = rows.b;
    selected = b.toIndex(b.load(getSourceBuffer(op.getRows()), rows.row));
  }

  SmallVector<Value> emitPieces(RowEmitter &rows, ColumnTile &tile) override {
    return rows.emitLoads(getSourceBuffer(op.getX()), selected, tile);
  }

  Value selected;
};

class GateEmitter final : public RowOpEmitterOf<GateOp> {
  using RowOpEmitterOf::RowOpEmitterOf;

  bool takesAnyColumns() const override { return true; }

  void emitPrologue(RowEmitter &rows) override {
    KernelBuilder &b = rows.b;
    // A vector, because that is what the exponential is made for.
    Value gate = b.load(getSourceBuffer(op.getGate()), {rows.row, b.index(0)});
    Value sigmoids = emitSigmoid(b, b.broadcast(gate, 16));
    sigmoid = vector::ExtractOp::create(b, sigmoids, ArrayRef<int64_t>{0});
  }

  SmallVector<Value> emitPieces(RowEmitter &rows, ColumnTile &tile) override {
    KernelBuilder &b = rows.b;
    return rows.map(op.getX(), tile, [&](Value x) -> Value {
      return arith::MulFOp::create(b, x, b.broadcast(sigmoid, getLanes(x)));
    });
  }

  Value sigmoid;
};

class QuantizeEmitter final : public RowOpEmitterOf<QuantizeOp> {
  using RowOpEmitterOf::RowOpEmitterOf;

  void addWidths(ColumnWidths &widths) override {
    widths.requirePiece(op.getGroup());
  }

  bool takesAnyColumns() const override { return true; }

  /// Columns that are quantized at a time; those of a group where registers
  /// hold these, or where it must be so.
  int64_t getPart(const ColumnLoop &loop) {
    int64_t group = op.getGroup(), sumGroup = op.getSumGroup();
    if (group / 4 <= loop.chain || !loop.takesAnyColumns())
      return group;
    int64_t part = std::max(2 * loop.chain, sumGroup);
    bool fits =
        group % part == 0 && part % sumGroup == 0 && part % loop.chain == 0;
    return fits ? part : group;
  }

  void emitScratch(KernelBuilder &b, const ColumnLoop &loop) override {
    // What is computed is kept, what is read is read again.
    if (getPart(loop) < int64_t(op.getGroup()) && !getSourceBuffer(op.getX()))
      values = b.allocateScratch(op.getGroup(), b.getF32Type());
  }

  void emitStores(RowEmitter &rows, ColumnTile &tile) override {
    if (int64_t part = getPart(rows.loop), group = op.getGroup(); part < group)
      for (int64_t begin = 0; begin < tile.width; begin += group)
        emitGroup(rows, rows.b.add(tile.base, begin), part);
    else
      emitWholeGroups(rows, tile);
  }

  void emitWholeGroups(RowEmitter &rows, ColumnTile &tile) {
    for (auto [i, piece] : llvm::enumerate(rows.emit(op.getX(), tile)))
      emitQuantizeStore(rows.b, op, rows.row,
                        rows.b.add(tile.base, i * rows.loop.piece), piece);
  }

  void emitGroup(RowEmitter &rows, Value first, int64_t part);

  Value values; // of a group
};

/// The group that begins at column `first`, `part` columns at a time.
void QuantizeEmitter::emitGroup(RowEmitter &rows, Value first, int64_t part) {
  KernelBuilder &b = rows.b;
  Value zero = b.index(0), size = b.index(op.getGroup());
  int64_t lanes = values ? rows.loop.chain : part;
  auto emit = [&](Value column) {
    ColumnTile tile(column, lanes);
    return rows.emit(op.getX(), tile).front();
  };
  auto most = b.accumulate(
      zero, size, lanes, b.splat(lanes, 0.0),
      [&](Value begin, ValueRange acc) -> SmallVector<Value> {
        Value x = emit(arith::AddIOp::create(b, first, begin));
        if (values)
          b.store(x, values, begin);
        return {arith::MaxNumFOp::create(b, acc[0], math::AbsFOp::create(b, x),
                                         arith::FastMathFlags::nnan)};
      });
  GroupScale group = emitGroupScale(b, emitMaximum(b, most.front()));
  emitStoreScale(b, op, rows.row, first, group.scale);
  b.forEach(zero, size, part, [&](Value begin) {
    Value column = arith::AddIOp::create(b, first, begin);
    Value x = values ? b.load(part, values, begin) : emit(column);
    emitStoreCodes(b, op, rows.row, column, emitCodes(b, x, group.inverse));
  });
}

class ToBf16Emitter final : public RowOpEmitterOf<ToBf16Op> {
  using RowOpEmitterOf::RowOpEmitterOf;

  bool takesAnyColumns() const override { return true; }

  void emitStores(RowEmitter &rows, ColumnTile &tile) override {
    for (Value buffer : getDestinations(op.getResult()))
      for (auto [i, piece] : llvm::enumerate(rows.emit(op.getX(), tile)))
        rows.b.store(emitRoundToBf16(rows.b, piece), buffer,
                     {rows.row, rows.b.add(tile.base, i * rows.loop.piece)});
  }
};

class ElementwiseEmitter final : public RowOpEmitter {
  using RowOpEmitter::RowOpEmitter;

  bool takesAnyColumns() const override { return true; }

  SmallVector<Value> emitPieces(RowEmitter &rows, ColumnTile &tile) override {
    SmallVector<SmallVector<Value>> operands;
    for (Value operand : getOp()->getOperands())
      operands.push_back(rows.emit(operand, tile));
    SmallVector<Value> pieces;
    for (size_t i = 0; i < operands.front().size(); ++i) {
      auto values = llvm::map_to_vector(
          operands, [&](const SmallVector<Value> &all) { return all[i]; });
      pieces.push_back(emitElementwise(rows.b, getOp(), values));
    }
    return pieces;
  }
};

} // namespace

RowOpEmitterPtr lumen::createEmitter(GateOp op) {
  return std::make_unique<GateEmitter>(op);
}

RowOpEmitterPtr lumen::createEmitter(QuantizeOp op) {
  return std::make_unique<QuantizeEmitter>(op);
}

RowOpEmitterPtr lumen::createEmitter(SelectRowsOp op) {
  return std::make_unique<SelectRowsEmitter>(op);
}

RowOpEmitterPtr lumen::createEmitter(ToBf16Op op) {
  return std::make_unique<ToBf16Emitter>(op);
}

RowOpEmitterPtr lumen::createRowOpEmitter(KernelOpInterface op) {
  return llvm::TypeSwitch<Operation *, RowOpEmitterPtr>(op)
      .Case<CombineOp, EmbeddingOp, GateOp, GatherRowsOp, GroupKeysOp,
            KvAppendOp, LargestGroupsOp, QuantizeOp, RmsNormOp, RopeOp,
            SelectRowsOp, ToBf16Op>([](auto op) { return createEmitter(op); })
      .Default([&](Operation *) {
        return std::make_unique<ElementwiseEmitter>(op);
      });
}

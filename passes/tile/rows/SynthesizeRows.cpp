// SPDX-License-Identifier: Apache-2.0
//
// Synthesizes kernels of row-local ops as loops over rows and columns of vector
// code.
#include "passes/Passes.h"
#include "passes/check/KernelContract.h"
#include "passes/support/KernelBuffers.h"
#include "passes/target/common/Architecture.h"
#include "passes/tile/rows/RowEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/ADT/EquivalenceClasses.h"

#include <numeric>

namespace mlir::lumen {
#define GEN_PASS_DEF_SYNTHESIZEROWSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

bool isRowOp(Operation *op) { return getKernelKind(op) == KernelKind::Rows; }

/// Whether other ops of the kernel can take the pieces of `value` as they come.
bool isPieces(Value value) {
  Operation *op = value.getDefiningOp();
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return op && isRowOp(op) && value == op->getResult(0) && type &&
         type.getRank() == 2 && type.getElementType().isF32();
}

/// The rows whose columns `op` computes.
RankedTensorType getColumnsType(Operation *op) {
  auto kernelOp = cast<KernelOpInterface>(op);
  Value rows = kernelOp.getUpdated() ? kernelOp.getRows() : op->getResult(0);
  return cast<RankedTensorType>(rows.getType());
}

/// Replaces the body of one kernel.
class RowsSynthesizer {
public:
  explicit RowsSynthesizer(func::FuncOp kernel)
      : kernel(kernel), b(kernel.getLoc(), kernel.getContext()) {}

  LogicalResult run();

private:
  LogicalResult collectOps();
  LogicalResult formLoops();
  LogicalResult chooseWidths(ColumnLoop &loop);
  Value emitRowCount();
  void emitLoop(const ColumnLoop &loop, Value row, Value chunk, Value chunks);

  func::FuncOp kernel;
  KernelBuilder b;
  SmallVector<Operation *> ops;
  SmallVector<ColumnLoop> loops;
};

} // namespace

/// Every operand is a buffer, or rows that another op of the kernel computes
/// piece by piece.
static LogicalResult verifyOperands(Operation *op) {
  auto kernelOp = cast<KernelOpInterface>(op);
  if (failed(verifyBufferOperands(kernelOp)))
    return failure();
  SmallVector<NamedOperand> whole = kernelOp.getBufferOperands();
  for (auto [i, operand] : llvm::enumerate(op->getOperands())) {
    bool isWhole = llvm::is_contained(llvm::make_second_range(whole), operand);
    bool isBuffer = !!operand.getDefiningOp<bufferization::ToTensorOp>();
    if (isa<TensorType>(operand.getType()) && !isWhole && !isBuffer &&
        !isPieces(operand))
      return op->emitOpError("operand ")
             << i << " is neither a buffer nor rows of the kernel: "
             << operand.getType();
  }
  return success();
}

LogicalResult RowsSynthesizer::collectOps() {
  if (failed(verifyKernel(kernel, isRowOp)))
    return failure();
  for (Operation &op : kernel.getBody().front())
    if (isRowOp(&op))
      ops.push_back(&op);
  if (ops.empty())
    return kernel.emitError("has nothing to compute row by row");
  for (Operation *op : ops)
    if (failed(verifyOperands(op)))
      return failure();
  return success();
}

LogicalResult RowsSynthesizer::formLoops() {
  llvm::EquivalenceClasses<Operation *> connected;
  for (Operation *op : ops) {
    connected.insert(op);
    for (Value operand : op->getOperands())
      if (isPieces(operand))
        connected.unionSets(operand.getDefiningOp(), op);
  }
  llvm::MapVector<Operation *, ColumnLoop> byLeader;
  for (Operation *op : ops) {
    ColumnLoop &loop = byLeader[connected.getLeaderValue(op)];
    loop.ops.push_back(createRowOpEmitter(cast<KernelOpInterface>(op)));
    int64_t columns = getColumnsType(op).getDimSize(1);
    if (loop.ops.size() > 1 && loop.columns != columns)
      return op->emitOpError("works on rows of ")
             << columns << " columns with ops on rows of " << loop.columns;
    loop.columns = columns;
  }
  for (auto &[leader, loop] : byLeader) {
    if (failed(chooseWidths(loop)))
      return failure();
    loops.push_back(std::move(loop));
  }
  return success();
}

/// The verifiers of the ops have checked every width and block on its own: each
/// divides the columns.
LogicalResult RowsSynthesizer::chooseWidths(ColumnLoop &loop) {
  ColumnWidths widths;
  for (const RowOpEmitterPtr &op : loop.ops)
    op->addWidths(widths);
  loop.piece = widths.isFree ? ColumnWidths::kFreePiece : widths.piece;
  loop.tile = std::lcm(loop.piece, widths.block);
  TargetAttr target = TargetAttr::lookup(kernel);
  loop.chain = Architecture::of(target).getChainLanes(target);
  if (loop.piece > kMostLanes || loop.tile > kMostLanes)
    return kernel.emitOpError("needs vectors of ")
           << std::max(loop.piece, loop.tile) << " columns, more than "
           << kMostLanes;
  if (!widths.isFree && loop.columns % loop.tile)
    return kernel.emitOpError("needs pieces of ")
           << loop.tile << " columns, which do not divide its rows of "
           << loop.columns;
  for (const RowOpEmitterPtr &op : loop.ops)
    if (failed(op->verify(loop)))
      return failure();
  return success();
}

Value RowsSynthesizer::emitRowCount() {
  // Operands come before what is computed from them: the first op reads a
  // buffer.
  Value rows = cast<KernelOpInterface>(ops.front()).getRows();
  return memref::DimOp::create(b, getSourceBuffer(rows), 0);
}

void RowsSynthesizer::emitLoop(const ColumnLoop &loop, Value row, Value chunk,
                               Value chunks) {
  RowEmitter emitter(b, loop, row);
  emitter.emitPrologue();
  Value next = b.add(chunk, 1);
  int64_t tiles = loop.getFullTiles();
  if (tiles) {
    auto bound = [&](Value position) -> Value {
      return arith::DivUIOp::create(b, b.multiply(position, tiles), chunks);
    };
    Value first = bound(chunk), end = bound(next);
    b.forEach(first, end, 1, [&](Value tile) {
      emitter.emitTile(b.multiply(tile, loop.tile), loop.tile);
    });
  }
  if (loop.getTail()) {
    Value isLast =
        arith::CmpIOp::create(b, arith::CmpIPredicate::eq, next, chunks);
    b.branch(isLast, [&] {
      emitter.emitTile(b.index(tiles * loop.tile), loop.getTail());
    });
  }
}

LogicalResult RowsSynthesizer::run() {
  if (failed(collectOps()))
    return failure();
  if (failed(formLoops()))
    return failure();
  b.setInsertionPoint(kernel.getBody().front().getTerminator());
  for (const ColumnLoop &loop : loops)
    for (const RowOpEmitterPtr &op : loop.ops)
      op->emitScratch(b, loop);
  // Where rows are fewer than workers, a row is cut into chunks of columns.
  // Results do not depend on it: what a whole row is needed for is computed in
  // every chunk.
  Value rows = emitRowCount();
  int64_t mostTiles = 1;
  for (const ColumnLoop &loop : loops)
    mostTiles = std::max(mostTiles, loop.getFullTiles());
  Value perRow =
      arith::CeilDivUIOp::create(b, WorkerCountOp::create(b, b.getIndexType()),
                                 arith::MaxUIOp::create(b, rows, b.index(1)));
  Value chunks = arith::MinUIOp::create(b, perRow, b.index(mostTiles));
  b.parallel({rows, chunks}, [&](ValueRange at) {
    for (const ColumnLoop &loop : loops)
      emitLoop(loop, at[0], at[1], chunks);
  });
  eraseTensorOps(kernel);
  return success();
}

namespace {

class SynthesizeRowsPass
    : public mlir::lumen::impl::SynthesizeRowsPassBase<SynthesizeRowsPass> {
public:
  void runOnOperation() override {
    for (func::FuncOp kernel : getKernels(getOperation(), KernelKind::Rows))
      if (failed(RowsSynthesizer(kernel).run()))
        return signalPassFailure();
  }
};

} // namespace

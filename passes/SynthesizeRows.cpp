// SPDX-License-Identifier: Apache-2.0
//
// Synthesizes kernels of row-local ops as loops over rows and columns of vector
// code.
#include "passes/Passes.h"
#include "passes/RowEmitter.h"

#include "dialect/FormatLayout.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/EquivalenceClasses.h"
#include "llvm/ADT/TypeSwitch.h"

#include <numeric>

namespace mlir::lumen {
#define GEN_PASS_DEF_SYNTHESIZEROWSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Columns of a vector where no op asks for a certain width.
constexpr int64_t kFreePiece = 64;

bool isRowOp(Operation *op) {
  return isa<AddOp, CombineOp, EmbeddingOp, GateOp, GatherRowsOp, KvAppendOp,
             LastRowsOp, QuantizeOp, RmsNormOp, RopeOp, ScaleOp, SwigluOp>(op);
}

/// Replaces the body of one kernel.
class RowsSynthesizer {
public:
  explicit RowsSynthesizer(func::FuncOp kernel)
      : kernel(kernel), b(kernel.getLoc(), kernel.getContext()) {}

  LogicalResult run();

private:
  LogicalResult collectOps();
  void formLoops();
  void chooseWidths(ColumnLoop &loop);
  Value emitRowCount();
  Value allocateStaging();
  void emitLoop(const ColumnLoop &loop, Value row, Value chunk, Value chunks);

  func::FuncOp kernel;
  ImplicitLocOpBuilder b;
  SmallVector<Operation *> ops;
  SmallVector<ColumnLoop> loops;
  Value staging;
};

} // namespace

LogicalResult RowsSynthesizer::collectOps() {
  for (Operation &op : kernel.getBody().front()) {
    if (isRowOp(&op)) {
      ops.push_back(&op);
      continue;
    }
    bool isTensorOp =
        llvm::any_of(op.getOperandTypes(), llvm::IsaPred<TensorType>);
    if (isTensorOp && !isa<bufferization::MaterializeInDestinationOp>(op))
      return op.emitOpError("does not work row by row");
  }
  if (ops.empty())
    return kernel.emitError("has nothing to compute row by row");
  if (llvm::none_of(ops, llvm::IsaPred<LastRowsOp>))
    return success();
  // All rows of such a kernel start at `first`, so nothing may read past it.
  for (Operation *op : ops)
    if (auto last = dyn_cast<LastRowsOp>(op);
        last && !getSourceBuffer(last.getX()))
      return last.emitOpError("must read an argument of the kernel");
  for (Operation *op : ops)
    for (Value operand : op->getOperands()) {
      auto type = dyn_cast<RankedTensorType>(operand.getType());
      bool isWeight = !type || !type.isDynamicDim(0);
      if (!isa<LastRowsOp>(op) && !isWeight && getSourceBuffer(operand))
        return op->emitOpError(
            "reads other rows than the kernel's lumen.last_rows");
    }
  return success();
}

void RowsSynthesizer::formLoops() {
  llvm::EquivalenceClasses<Operation *> connected;
  for (Operation *op : ops) {
    connected.insert(op);
    for (Value operand : op->getOperands())
      if (Operation *producer = operand.getDefiningOp())
        if (isRowOp(producer) && !isa<KvAppendOp>(producer))
          connected.unionSets(producer, op);
  }
  llvm::MapVector<Operation *, ColumnLoop> byLeader;
  for (Operation *op : ops) {
    ColumnLoop &loop = byLeader[connected.getLeaderValue(op)];
    loop.ops.push_back(op);
    Value row = op->getResult(0);
    if (auto append = dyn_cast<KvAppendOp>(op))
      row = append.getX();
    loop.columns = cast<RankedTensorType>(row.getType()).getDimSize(1);
  }
  for (auto &[leader, loop] : byLeader) {
    chooseWidths(loop);
    loops.push_back(std::move(loop));
  }
}

void RowsSynthesizer::chooseWidths(ColumnLoop &loop) {
  bool free = true;
  int64_t block = 1;
  auto require = [&](int64_t width) {
    loop.piece = std::lcm(loop.piece, width);
    free = false;
  };
  for (Operation *op : loop.ops) {
    llvm::TypeSwitch<Operation *>(op)
        .Case([&](QuantizeOp op) { require(op.getGroup()); })
        .Case([&](RmsNormOp op) {
          if (op.isPerHead())
            require(
                cast<RankedTensorType>(op.getWeight().getType()).getDimSize(0));
        })
        .Case([&](GatherRowsOp op) {
          // No piece crosses two rows of x.
          auto x = cast<RankedTensorType>(op.getX().getType());
          require(std::gcd(x.getDimSize(1), kFreePiece));
        })
        .Case([&](RopeOp op) { require(op.getHeadDim()); })
        .Case([&](KvAppendOp op) { require(op.getHeadDim()); })
        .Case([&](EmbeddingOp op) {
          auto table = cast<RankedTensorType>(op.getTable().getType());
          if (FormatOp format = lookupFormat(table, op)) {
            require(format.getSumGroup());
            block = std::lcm(block, int64_t(format.getBlock()));
          }
        });
  }
  if (free)
    loop.piece = kFreePiece;
  loop.tile = std::lcm(loop.piece, block);
  // The verifiers of the ops have checked every width and block on its own.
  assert((free || !loop.getTail()) && "an op's width does not divide its row");
}

Value RowsSynthesizer::emitRowCount() {
  for (Operation *op : ops)
    if (auto last = dyn_cast<LastRowsOp>(op)) {
      Value rows = memref::DimOp::create(b, getSourceBuffer(last.getX()), 0);
      return arith::SubIOp::create(b, rows, last.getFirst());
    }
  for (Operation *op : ops) {
    // Tokens, caches and activations are in front of tables and weights.
    Value x =
        isa<KvAppendOp>(op) ? cast<KvAppendOp>(op).getX() : op->getOperand(0);
    if (Value buffer = getSourceBuffer(x))
      return memref::DimOp::create(b, buffer, 0);
  }
  llvm_unreachable("the first op of a kernel reads an argument");
}

Value RowsSynthesizer::allocateStaging() {
  int64_t headDim = 0;
  Type element;
  for (Operation *op : ops)
    if (auto append = dyn_cast<KvAppendOp>(op);
        append && append.getKind() == "key") {
      headDim = std::max(headDim, append.getHeadDim());
      element = getElementTypeOrSelf(append.getCache());
    }
  if (!headDim)
    return {};
  return allocateScratch(b, headDim, element);
}

void RowsSynthesizer::emitLoop(const ColumnLoop &loop, Value row, Value chunk,
                               Value chunks) {
  RowEmitter emitter(b, loop, row, staging);
  emitter.emitPrologue();
  Value one = arith::ConstantIndexOp::create(b, 1);
  Value next = arith::AddIOp::create(b, chunk, one);
  if (loop.getFullTiles()) {
    Value tiles = arith::ConstantIndexOp::create(b, loop.getFullTiles());
    auto bound = [&](Value position) -> Value {
      return arith::DivUIOp::create(
          b, arith::MulIOp::create(b, position, tiles), chunks);
    };
    auto forOp = scf::ForOp::create(b, bound(chunk), bound(next), one);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(forOp.getBody());
    Value tile = arith::ConstantIndexOp::create(b, loop.tile);
    emitter.emitTile(arith::MulIOp::create(b, forOp.getInductionVar(), tile),
                     loop.tile);
  }
  if (loop.getTail()) {
    Value isLast =
        arith::CmpIOp::create(b, arith::CmpIPredicate::eq, next, chunks);
    auto ifOp = scf::IfOp::create(b, isLast);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(ifOp.thenBlock());
    Value base =
        arith::ConstantIndexOp::create(b, loop.getFullTiles() * loop.tile);
    emitter.emitTile(base, loop.getTail());
  }
}

LogicalResult RowsSynthesizer::run() {
  if (failed(collectOps()))
    return failure();
  formLoops();
  b.setInsertionPoint(kernel.getBody().front().getTerminator());
  staging = allocateStaging();
  // Where rows are fewer than workers, a row is cut into chunks of columns.
  // Results do not depend on it: what a whole row is needed for is computed in
  // every chunk.
  Value rows = emitRowCount();
  int64_t mostTiles = 1;
  for (const ColumnLoop &loop : loops)
    mostTiles = std::max(mostTiles, loop.getFullTiles());
  Value one = arith::ConstantIndexOp::create(b, 1);
  Value perRow =
      arith::CeilDivUIOp::create(b, WorkerCountOp::create(b, b.getIndexType()),
                                 arith::MaxUIOp::create(b, rows, one));
  Value chunks = arith::MinUIOp::create(
      b, perRow, arith::ConstantIndexOp::create(b, mostTiles));

  auto forall = scf::ForallOp::create(b, ArrayRef<OpFoldResult>{rows, chunks},
                                      ValueRange{},
                                      /*mapping=*/std::nullopt);
  b.setInsertionPointToStart(forall.getBody());
  for (const ColumnLoop &loop : loops)
    emitLoop(loop, forall.getInductionVar(0), forall.getInductionVar(1),
             chunks);
  eraseTensorOps(kernel);
  return success();
}

namespace {

class SynthesizeRowsPass
    : public mlir::lumen::impl::SynthesizeRowsPassBase<SynthesizeRowsPass> {
public:
  void runOnOperation() override {
    for (auto kernel : getOperation().getOps<func::FuncOp>()) {
      auto kind = kernel->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr);
      if (kind && kind.getValue() == "rows" &&
          failed(RowsSynthesizer(kernel).run()))
        return signalPassFailure();
    }
  }
};

} // namespace

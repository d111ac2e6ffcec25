// SPDX-License-Identifier: Apache-2.0
//
// Synthesizes attention kernels as a parallel loop over KV heads and tiles of
// rows, each of one sequence.
#include "passes/Passes.h"
#include "passes/check/KernelContract.h"
#include "passes/support/KernelBuffers.h"
#include "passes/target/gpu/TeamOfWarps.h"
#include "passes/tile/attention/AttentionEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_SYNTHESIZEATTENTIONPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

/// A worker that has so many tiles is not far behind or ahead of the others.
static constexpr int64_t kTilesOfWorker = 4;

/// The attention of a kernel and the quantization of its result, if any.
static FailureOr<std::pair<AttentionOp, QuantizeOp>>
findOps(func::FuncOp kernel) {
  auto isOfKind = [](Operation *op) {
    return isa<AttentionOp, QuantizeOp>(op);
  };
  if (failed(verifyKernel(kernel, isOfKind)))
    return failure();
  auto attentions = llvm::to_vector(kernel.getOps<AttentionOp>());
  if (attentions.size() != 1)
    return kernel.emitError("holds ")
           << attentions.size() << " lumen.attention, expected one";
  AttentionOp attention = attentions.front();
  if (failed(verifyBufferOperands(attention)))
    return failure();
  QuantizeOp quantize;
  for (auto op : kernel.getOps<QuantizeOp>()) {
    if (quantize || op.getX() != attention.getResult())
      return op.emitOpError("in an attention kernel must be the only one, of "
                            "the result of lumen.attention");
    quantize = op;
  }
  int64_t headDim = attention.getHeadDim();
  if (headDim > kMostLanes)
    return attention.emitOpError("has heads of ")
           << headDim << " values, more than " << kMostLanes;
  if (quantize && headDim % int64_t(quantize.getGroup()))
    return quantize.emitOpError("cannot join attention: its group of ")
           << quantize.getGroup() << " does not divide the head dimension of "
           << headDim;
  return std::pair(attention, quantize);
}

namespace {

/// Replaces the body of one kernel.
class AttentionSynthesizer {
public:
  AttentionSynthesizer(AttentionOp op, QuantizeOp quantize,
                       AttentionRegisters registers)
      : op(op), b(op.getLoc(), op->getBlock()->getTerminator()),
        emitter(b, op, quantize, registers), mostRows(registers.rows),
        parts(registers.parts), group(emitter.getGroup()),
        singleRows(std::min(group, mostRows)),
        singleTiles(llvm::divideCeil(group, singleRows)) {
    // Each has a counter of the team's.
    if (parts.lastMerges)
      parts.sharedRuns = std::clamp<int64_t>(
          kCounters / (int64_t(op.getKvHeads()) * singleTiles), 1,
          parts.sharedRuns);
  }

  void run();

private:
  struct Run {
    Value first, count, sequence;
  };
  Run loadRun(Value number);
  /// The tiles of a run.
  Value emitTileCount(const Run &run);
  /// How many tiles all runs have.
  Value emitTileCount();
  /// The parts of the longest sequence, whose tokens are single ones.
  Value emitMostParts();
  /// Rows of tile number `i` of all: the tiles of the first run come first.
  RowTile findTile(Value head, Value i);
  /// Rows of tile number `i` where every run is a single token.
  RowTile findSingleTile(Value head, Value i);
  RowTile makeTile(Value head, const Run &run, Value number, int64_t rows);
  Value compare(arith::CmpIPredicate predicate, Value lhs, Value rhs) {
    return arith::CmpIOp::create(b, predicate, lhs, rhs);
  }

  AttentionOp op;
  KernelBuilder b;
  AttentionEmitter emitter;
  int64_t mostRows;
  AttentionParts parts;
  int64_t group;
  /// A single token has as many rows as the group; tiles of just these waste
  /// none.
  int64_t singleRows, singleTiles;
  Value runs, runCount;
};

} // namespace

AttentionSynthesizer::Run AttentionSynthesizer::loadRun(Value number) {
  auto load = [&](int64_t column) {
    return b.toIndex(b.load(runs, {number, b.index(column)}));
  };
  return {load(0), load(1), load(2)};
}

Value AttentionSynthesizer::emitTileCount(const Run &run) {
  return arith::CeilDivUIOp::create(b, b.multiply(run.count, group),
                                    b.index(mostRows));
}

Value AttentionSynthesizer::emitTileCount() {
  return b
      .accumulate(runCount, b.index(0),
                  [&](Value i, ValueRange sum) -> SmallVector<Value> {
                    return {arith::AddIOp::create(b, sum[0],
                                                  emitTileCount(loadRun(i)))};
                  })
      .front();
}

Value AttentionSynthesizer::emitMostParts() {
  return b
      .accumulate(runCount, b.index(1),
                  [&](Value i, ValueRange most) -> SmallVector<Value> {
                    RowTile tile =
                        makeTile(b.index(0), loadRun(i), b.index(0), group);
                    Value parts =
                        emitter.emitSplitCount(emitter.emitEnd(tile, group));
                    return {arith::MaxUIOp::create(b, most[0], parts)};
                  })
      .front();
}

RowTile AttentionSynthesizer::makeTile(Value head, const Run &run, Value number,
                                       int64_t rows) {
  Value first = b.multiply(run.first, group);
  Value end = b.multiply(arith::AddIOp::create(b, run.first, run.count), group);
  first = arith::AddIOp::create(b, first, b.multiply(number, rows));
  return {head, first, end, run.sequence};
}

RowTile AttentionSynthesizer::findSingleTile(Value head, Value i) {
  return makeTile(head, loadRun(b.divide(i, singleTiles)),
                  b.remainder(i, singleTiles), singleRows);
}

RowTile AttentionSynthesizer::findTile(Value head, Value i) {
  // As long as there is more than one run: what is left of the number behind
  // the tiles of the runs that were passed, and how many were.
  Value last = arith::SubIOp::create(b, runCount, b.index(1));
  auto found = b.accumulate(
      last, {i, b.index(0)},
      [&](Value number, ValueRange at) -> SmallVector<Value> {
        Value count = emitTileCount(loadRun(number));
        Value isHere = compare(arith::CmpIPredicate::eq, at[1], number);
        Value isBehind = compare(arith::CmpIPredicate::uge, at[0], count);
        Value passes = arith::AndIOp::create(b, isHere, isBehind);
        Value left = arith::SubIOp::create(b, at[0], count);
        return {arith::SelectOp::create(b, passes, left, at[0]),
                arith::SelectOp::create(b, passes, b.add(at[1], 1), at[1])};
      });
  Run run = loadRun(found[1]);
  // Later tiles see more positions. Counting from both ends in turn gives
  // every contiguous share of the iterations the same work.
  Value half = b.divide(found[0], 2);
  Value fromEnd = arith::SubIOp::create(
      b, arith::SubIOp::create(b, emitTileCount(run), b.index(1)), half);
  Value isOdd =
      compare(arith::CmpIPredicate::ne, b.remainder(found[0], 2), b.index(0));
  Value number = arith::SelectOp::create(b, isOdd, fromEnd, half);
  return makeTile(head, run, number, mostRows);
}

void AttentionSynthesizer::run() {
  runs = getSourceBuffer(op.getRuns());
  runCount = memref::DimOp::create(b, runs, 0);
  int64_t heads = op.getKvHeads();
  emitter.emitPrologue(singleTiles * parts.sharedRuns, singleRows);
  Value one = b.index(1);
  Value single =
      compare(arith::CmpIPredicate::eq, emitter.getTokens(), runCount);
  Value singleCount = b.multiply(runCount, singleTiles);
  Value tiles =
      arith::SelectOp::create(b, single, singleCount, emitTileCount());

  // Single tokens have few tiles. Where the team cannot share them evenly,
  // their positions are shared as well, and the parts merged behind a barrier.
  Value workers = WorkerCountOp::create(b, b.getIndexType());
  Value pieces = b.multiply(singleCount, heads);
  Value isUneven =
      compare(arith::CmpIPredicate::ne,
              arith::RemUIOp::create(b, pieces, workers), b.index(0));
  // Sequences of different lengths are uneven by themselves.
  Value isMixed = compare(arith::CmpIPredicate::ugt, runCount, one);
  Value isFew = compare(arith::CmpIPredicate::ult, pieces,
                        b.multiply(workers, kTilesOfWorker));
  Value fits =
      compare(arith::CmpIPredicate::ule, runCount, b.index(parts.sharedRuns));
  Value isSplit = arith::AndIOp::create(
      b, arith::AndIOp::create(b, single, fits),
      arith::AndIOp::create(b, arith::OrIOp::create(b, isUneven, isMixed),
                            isFew));
  Value count = arith::SelectOp::create(b, isSplit, emitMostParts(), one);
  Value isWhole = compare(arith::CmpIPredicate::eq, count, one);

  b.parallel({b.getIndexAttr(heads), tiles, count}, [&](ValueRange at) {
    Value head = at[0], i = at[1], part = at[2];
    auto emitTile = [&] {
      emitter.emitTile(findTile(head, i), i, mostRows, part, isWhole);
    };
    auto emitSingleTile = [&] {
      emitter.emitTile(findSingleTile(head, i), i, singleRows, part, isWhole);
    };
    if (singleRows == mostRows)
      emitTile();
    else
      b.branch(single, emitSingleTile, emitTile);
  });
  if (parts.lastMerges)
    return;
  Value merged =
      arith::SelectOp::create(b, isWhole, b.index(0), b.index(heads));
  b.parallel({merged, singleCount}, [&](ValueRange at) {
    RowTile tile = singleRows == mostRows ? findTile(at[0], at[1])
                                          : findSingleTile(at[0], at[1]);
    emitter.emitMerge(tile, at[1], singleRows, count);
  });
}

static LogicalResult synthesize(func::FuncOp kernel,
                                AttentionRegisters registers) {
  auto ops = findOps(kernel);
  if (failed(ops))
    return failure();
  AttentionSynthesizer(ops->first, ops->second, registers).run();
  eraseTensorOps(kernel);
  return success();
}

namespace {

class SynthesizeAttentionPass
    : public mlir::lumen::impl::SynthesizeAttentionPassBase<
          SynthesizeAttentionPass> {
public:
  void runOnOperation() override {
    auto registers = AttentionRegisters::of(TargetAttr::lookup(getOperation()));
    for (func::FuncOp kernel :
         getKernels(getOperation(), KernelKind::Attention))
      if (failed(synthesize(kernel, registers)))
        return signalPassFailure();
  }
};

} // namespace

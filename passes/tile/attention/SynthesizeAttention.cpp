// SPDX-License-Identifier: Apache-2.0
//
// Synthesizes attention kernels as a parallel loop over KV heads and tiles of
// rows.
#include "passes/Passes.h"
#include "passes/check/KernelContract.h"
#include "passes/support/KernelBuffers.h"
#include "passes/tile/attention/AttentionEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
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

static LogicalResult synthesize(func::FuncOp kernel,
                                AttentionRegisters registers) {
  auto ops = findOps(kernel);
  if (failed(ops))
    return failure();
  auto [attention, quantize] = *ops;
  KernelBuilder b(attention.getLoc(), kernel.getBody().front().getTerminator());
  AttentionEmitter emitter(b, attention, quantize, registers);
  int64_t group = emitter.getGroup(), heads = attention.getKvHeads();
  // A single token has as many rows as the group; tiles of just these waste
  // none.
  int64_t singleRows = std::min(group, kAttentionRows);
  int64_t singleTiles = llvm::divideCeil(group, singleRows);
  emitter.emitPrologue(singleTiles, singleRows);
  auto compare = [&](arith::CmpIPredicate predicate, Value lhs, Value rhs) {
    return arith::CmpIOp::create(b, predicate, lhs, rhs);
  };
  Value one = b.index(1);
  Value single = compare(arith::CmpIPredicate::eq, emitter.getTokens(), one);
  Value tileRows = arith::SelectOp::create(b, single, b.index(singleRows),
                                           b.index(kAttentionRows));
  Value tiles = arith::CeilDivUIOp::create(b, emitter.getRowCount(), tileRows);

  // One token has few tiles. Where the team cannot share them evenly, their
  // positions are shared as well, and the parts merged behind a barrier.
  Value workers = WorkerCountOp::create(b, b.getIndexType());
  Value count = b.index(heads * singleTiles);
  Value isUneven =
      compare(arith::CmpIPredicate::ne,
              arith::RemUIOp::create(b, count, workers), b.index(0));
  Value isFew = compare(arith::CmpIPredicate::ult, count,
                        b.multiply(workers, kTilesOfWorker));
  Value isSplit = arith::AndIOp::create(
      b, single, arith::AndIOp::create(b, isUneven, isFew));
  Value parts = emitter.emitSplitCount(b.add(attention.getPosition(), 1));
  parts = arith::SelectOp::create(b, isSplit, parts, one);
  Value isWhole = compare(arith::CmpIPredicate::eq, parts, one);

  b.parallel({b.getIndexAttr(heads), tiles, parts}, [&](ValueRange at) {
    Value head = at[0], i = at[1], part = at[2];
    // Later tiles see more positions. Counting from both ends in turn gives
    // every contiguous share of the iterations the same work.
    Value half = b.divide(i, 2);
    Value fromEnd =
        arith::SubIOp::create(b, arith::SubIOp::create(b, tiles, one), half);
    Value isOdd =
        compare(arith::CmpIPredicate::ne, b.remainder(i, 2), b.index(0));
    Value tile = arith::SelectOp::create(b, isOdd, fromEnd, half);
    Value first = arith::MulIOp::create(b, tile, tileRows);
    auto emitTile = [&](int64_t rows) {
      emitter.emitTile(head, tile, first, rows, part, isWhole);
    };
    if (singleRows == kAttentionRows)
      emitTile(kAttentionRows);
    else
      b.branch(
          single, [&] { emitTile(singleRows); },
          [&] { emitTile(kAttentionRows); });
  });
  Value merged =
      arith::SelectOp::create(b, isWhole, b.index(0), b.index(heads));
  b.parallel({merged, b.getIndexAttr(singleTiles)}, [&](ValueRange at) {
    Value head = at[0], tile = at[1];
    emitter.emitMerge(head, tile, b.multiply(tile, singleRows), singleRows,
                      parts);
  });
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

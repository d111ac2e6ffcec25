// SPDX-License-Identifier: Apache-2.0
//
// Synthesizes attention kernels as a parallel loop over KV heads and tiles of
// rows.
#include "passes/Passes.h"
#include "passes/check/KernelContract.h"
#include "passes/support/Dot4.h"
#include "passes/tile/attention/AttentionEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
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
  if (failed(verifyIsBuffer(attention, "q", attention.getQ())) ||
      failed(verifyIsBuffer(attention, "k", attention.getK())) ||
      failed(verifyIsBuffer(attention, "v", attention.getV())))
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
  ImplicitLocOpBuilder b(attention.getLoc(),
                         kernel.getBody().front().getTerminator());
  auto index = [&](int64_t value) -> Value {
    return arith::ConstantIndexOp::create(b, value);
  };
  AttentionEmitter emitter(b, attention, quantize, registers);
  int64_t group = emitter.getGroup(), heads = attention.getKvHeads();
  // A single token has as many rows as the group; tiles of just these waste
  // none.
  int64_t singleRows = std::min(group, kAttentionRows);
  int64_t singleTiles = llvm::divideCeil(group, singleRows);
  emitter.emitPrologue(singleTiles, singleRows);
  Value single = arith::CmpIOp::create(b, arith::CmpIPredicate::eq,
                                       emitter.getTokens(), index(1));
  Value tileRows = arith::SelectOp::create(b, single, index(singleRows),
                                           index(kAttentionRows));
  Value tiles = arith::CeilDivUIOp::create(b, emitter.getRowCount(), tileRows);

  // One token has few tiles. Where the team cannot share them evenly, their
  // positions are shared as well, and the parts merged behind a barrier.
  Value workers = WorkerCountOp::create(b, b.getIndexType());
  Value count = index(heads * singleTiles);
  Value isUneven = arith::CmpIOp::create(
      b, arith::CmpIPredicate::ne, arith::RemUIOp::create(b, count, workers),
      index(0));
  Value isFew = arith::CmpIOp::create(
      b, arith::CmpIPredicate::ult, count,
      arith::MulIOp::create(b, workers, index(kTilesOfWorker)));
  Value isSplit = arith::AndIOp::create(
      b, single, arith::AndIOp::create(b, isUneven, isFew));
  Value one = index(1);
  Value parts = emitter.emitSplitCount(
      arith::AddIOp::create(b, attention.getPosition(), one));
  parts = arith::SelectOp::create(b, isSplit, parts, one);
  Value isWhole =
      arith::CmpIOp::create(b, arith::CmpIPredicate::eq, parts, one);
  auto emitForall = [&](ArrayRef<OpFoldResult> sizes) {
    auto forall = scf::ForallOp::create(b, sizes, ValueRange{},
                                        /*mapping=*/std::nullopt);
    b.setInsertionPointToStart(forall.getBody());
    return forall;
  };

  auto forall = emitForall({b.getIndexAttr(heads), tiles, parts});
  Value head = forall.getInductionVar(0), i = forall.getInductionVar(1),
        part = forall.getInductionVar(2);
  // Later tiles see more positions. Counting from both ends in turn gives every
  // contiguous share of the iterations the same work.
  Value half = divideByConstant(b, i, 2);
  Value fromEnd =
      arith::SubIOp::create(b, arith::SubIOp::create(b, tiles, one), half);
  Value isOdd =
      arith::CmpIOp::create(b, arith::CmpIPredicate::ne,
                            arith::RemUIOp::create(b, i, index(2)), index(0));
  Value tile = arith::SelectOp::create(b, isOdd, fromEnd, half);
  Value first = arith::MulIOp::create(b, tile, tileRows);
  if (singleRows == kAttentionRows) {
    emitter.emitTile(head, tile, first, kAttentionRows, part, isWhole);
  } else {
    auto ifOp = scf::IfOp::create(b, single, /*withElseRegion=*/true);
    b.setInsertionPointToStart(ifOp.thenBlock());
    emitter.emitTile(head, tile, first, singleRows, part, isWhole);
    b.setInsertionPointToStart(ifOp.elseBlock());
    emitter.emitTile(head, tile, first, kAttentionRows, part, isWhole);
  }

  b.setInsertionPointAfter(forall);
  Value merged = arith::SelectOp::create(b, isWhole, index(0), index(heads));
  forall = emitForall({merged, b.getIndexAttr(singleTiles)});
  tile = forall.getInductionVar(1);
  first = arith::MulIOp::create(b, tile, index(singleRows));
  emitter.emitMerge(forall.getInductionVar(0), tile, first, singleRows, parts);
  eraseTensorOps(kernel);
  return success();
}

namespace {

class SynthesizeAttentionPass
    : public mlir::lumen::impl::SynthesizeAttentionPassBase<
          SynthesizeAttentionPass> {
public:
  void runOnOperation() override {
    auto target =
        getOperation()->getAttrOfType<TargetAttr>(LumenDialect::kTargetAttr);
    auto registers = AttentionRegisters::forVectorBits(
        target ? target.getVectorBits() : 512);
    registers.signedCodes = prefersSignedCodes(target);
    for (func::FuncOp kernel : getKernels(getOperation(), "attention"))
      if (failed(synthesize(kernel, registers)))
        return signalPassFailure();
  }
};

} // namespace

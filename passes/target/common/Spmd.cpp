// SPDX-License-Identifier: Apache-2.0
//
// Shares out the parallel loops of a function among the workers of the team
// that runs it.
#include "passes/Passes.h"
#include "passes/support/Warps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_SPMDPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

struct SpmdPass final : lumen::impl::SpmdPassBase<SpmdPass> {
  using SpmdPassBase::SpmdPassBase;

  void runOnOperation() override {
    func::FuncOp function = getOperation();
    SmallVector<scf::ForallOp> loops;
    function.walk<WalkOrder::PreOrder>(
        [&](scf::ForallOp loop) { loops.push_back(loop); });
    if (loops.empty())
      return;
    for (scf::ForallOp loop : loops)
      if (failed(verify(loop)))
        return signalPassFailure();
    if (loops.back()->hasAttr(LumenDialect::kNowaitAttr) ||
        loops.back()->hasAttr(LumenDialect::kOptionalAttr)) {
      loops.back().emitOpError("is the last of its function, so the workers "
                               "must wait for each other behind it");
      return signalPassFailure();
    }
    bool met = false;
    before = nullptr;
    for (scf::ForallOp loop : loops) {
      Wait wait = met ? Wait::IfRun : Wait::Yes;
      if (loop->hasAttr(LumenDialect::kNowaitAttr))
        wait = Wait::No;
      bool isOptional = loop->hasAttr(LumenDialect::kOptionalAttr);
      if (isOptional)
        wait = Wait::IfRun;
      met = wait != Wait::No && !isOptional;
      shareOut(loop, wait);
    }
    for (BlockArgument argument : function.getArguments())
      if (function.getArgAttr(argument.getArgNumber(),
                              LumenDialect::kIsInBlockAttr))
        workInBlocks(function, argument);
  }

private:
  /// When the workers wait for each other behind a loop. Where they have met
  /// and the next loop turns out to have no iterations, they need not meet
  /// again.
  enum class Wait { No, IfRun, Yes };

  LogicalResult verify(scf::ForallOp loop);
  void shareOut(scf::ForallOp loop, Wait wait);
  void workInBlocks(func::FuncOp function, Value isInBlock);

  /// How many pieces the loops have, behind which the workers did not wait.
  Value before;
};

LogicalResult SpmdPass::verify(scf::ForallOp loop) {
  if (!isa<func::FuncOp>(loop->getParentOp()))
    return loop.emitOpError("must stand at the top level of a function, where "
                            "every worker comes by once");
  if (loop.getRank() == 0)
    return loop.emitOpError("must have at least one dimension");
  if (loop.getNumResults())
    return loop.emitOpError("must have no results, got ")
           << loop.getNumResults();
  return success();
}

/// Where `isInBlock` is true, the team is the block.
void SpmdPass::workInBlocks(func::FuncOp function, Value isInBlock) {
  SmallVector<Operation *> ops;
  function.walk([&](Operation *op) {
    if (isa<WorkerIdOp, WorkerCountOp, BarrierOp>(op))
      ops.push_back(op);
  });
  for (Operation *op : ops) {
    ImplicitLocOpBuilder b(op->getLoc(), op->getContext());
    b.setInsertionPointAfter(op);
    if (isa<BarrierOp>(op)) {
      auto ifOp = scf::IfOp::create(b, isInBlock, /*withElseRegion=*/true);
      op->moveBefore(ifOp.elseBlock()->getTerminator());
      b.setInsertionPointToStart(ifOp.thenBlock());
      BlockBarrierOp::create(b);
      continue;
    }
    Value own = isa<WorkerIdOp>(op) ? BlockWorkerIdOp::create(b).getResult()
                                    : BlockWorkerCountOp::create(b).getResult();
    Value chosen = arith::SelectOp::create(b, isInBlock, own, op->getResult(0));
    op->getResult(0).replaceAllUsesExcept(chosen, chosen.getDefiningOp());
  }
}

/// A loop over claims, and in it one over the iterations of a claim.
void SpmdPass::shareOut(scf::ForallOp loop, Wait wait) {
  ImplicitLocOpBuilder b(loop.getLoc(), loop);
  auto value = [&](OpFoldResult size) {
    return getValueOrCreateConstantIndexOp(b, b.getLoc(), size);
  };
  unsigned rank = loop.getRank();
  SmallVector<Value> lowers, steps, trips;
  Value total;
  for (unsigned i = 0; i < rank; ++i) {
    lowers.push_back(value(loop.getMixedLowerBound()[i]));
    steps.push_back(value(loop.getMixedStep()[i]));
    Value trip = value(loop.getMixedUpperBound()[i]);
    if (!loop.isNormalized()) {
      trip = arith::SubIOp::create(b, trip, lowers[i]);
      trip = arith::CeilDivUIOp::create(b, trip, steps[i]);
    }
    trips.push_back(trip);
    total = total ? Value(arith::MulIOp::create(b, total, trip)) : trip;
  }
  Value one = arith::ConstantIndexOp::create(b, 1);
  scf::ForOp piece;
  if (hasWarps(loop)) {
    // Warps are alike, so they take turns; first those that had less to do in
    // the loops before.
    Value first = WorkerIdOp::create(b), count = WorkerCountOp::create(b);
    if (before) {
      Value taken = arith::RemUIOp::create(b, before, count);
      Value left = arith::SubIOp::create(b, count, taken);
      first = arith::RemUIOp::create(b, arith::AddIOp::create(b, first, left),
                                     count);
    }
    piece = scf::ForOp::create(b, first, total, count);
    if (wait == Wait::No)
      before = before ? arith::AddIOp::create(b, before, total) : total;
    else
      before = nullptr;
  } else {
    scf::WhileOp::create(
        b, TypeRange{b.getIndexType(), b.getIndexType()}, ValueRange{},
        [&](OpBuilder &nested, Location loc, ValueRange) {
          auto claim = ClaimOp::create(nested, loc, total);
          Value isLeft =
              arith::CmpIOp::create(nested, loc, arith::CmpIPredicate::ult,
                                    claim.getFirst(), claim.getLast());
          scf::ConditionOp::create(nested, loc, isLeft, claim.getResults());
        },
        [&](OpBuilder &nested, Location loc, ValueRange claim) {
          piece = scf::ForOp::create(nested, loc, claim[0], claim[1], one);
          scf::YieldOp::create(nested, loc);
        });
  }
  if (wait == Wait::Yes) {
    BarrierOp::create(b);
  } else if (wait == Wait::IfRun) {
    Value isRun = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, total,
                                        arith::ConstantIndexOp::create(b, 0));
    auto ifOp = scf::IfOp::create(b, isRun);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(ifOp.thenBlock());
    BarrierOp::create(b);
  }

  // The last dimension runs fastest.
  b.setInsertionPointToStart(piece.getBody());
  SmallVector<Value> indices(rank);
  Value rest = piece.getInductionVar();
  for (unsigned i = rank; i-- > 0;) {
    Value index = rest;
    if (i > 0) {
      index = arith::RemUIOp::create(b, rest, trips[i]);
      rest = arith::DivUIOp::create(b, rest, trips[i]);
    }
    if (!loop.isNormalized()) {
      index = arith::MulIOp::create(b, index, steps[i]);
      index = arith::AddIOp::create(b, index, lowers[i]);
    }
    indices[i] = index;
  }
  loop.getTerminator()->erase();
  piece.getBody()->getTerminator()->erase();
  Block *body = piece.getBody();
  body->getOperations().splice(body->end(), loop.getBody()->getOperations());
  b.setInsertionPointToEnd(body);
  scf::YieldOp::create(b);
  for (auto [variable, index] : llvm::zip(loop.getInductionVars(), indices))
    variable.replaceAllUsesWith(index);
  loop.erase();
}

} // namespace

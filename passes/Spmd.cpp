// SPDX-License-Identifier: Apache-2.0
//
// Divides the parallel loops of a function among the workers of the team that
// runs it.
#include "passes/Passes.h"

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
    if (loops.back()->hasAttr(LumenDialect::kNowaitAttr)) {
      loops.back().emitOpError("is the last of its function, so the workers "
                               "must wait for each other behind it");
      return signalPassFailure();
    }
    ImplicitLocOpBuilder b(function.getLoc(), function.getContext());
    b.setInsertionPointToStart(&function.getBody().front());
    Value id = WorkerIdOp::create(b), count = WorkerCountOp::create(b);
    bool met = false;
    for (scf::ForallOp loop : loops) {
      Wait wait = met ? Wait::IfRun : Wait::Yes;
      if (loop->hasAttr(LumenDialect::kNowaitAttr))
        wait = Wait::No;
      met = wait != Wait::No;
      divide(loop, id, count, wait);
    }
  }

private:
  /// When the workers wait for each other behind a loop. Where they have met
  /// and the next loop turns out to have no iterations, they need not meet
  /// again.
  enum class Wait { No, IfRun, Yes };

  LogicalResult verify(scf::ForallOp loop);
  void divide(scf::ForallOp loop, Value id, Value count, Wait wait);
};

LogicalResult SpmdPass::verify(scf::ForallOp loop) {
  if (!isa<func::FuncOp>(loop->getParentOp()))
    return loop.emitOpError("must stand at the top level of a function, where "
                            "every worker comes by once");
  if (loop.getNumResults())
    return loop.emitOpError("must have no results, got ")
           << loop.getNumResults();
  return success();
}

/// begin(w) = w * total / count: shares differ by at most one iteration, and
/// each is contiguous, so a worker reads one piece of the weights.
void SpmdPass::divide(scf::ForallOp loop, Value id, Value count, Wait wait) {
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
  auto begin = [&](Value worker) -> Value {
    Value product = arith::MulIOp::create(b, worker, total);
    return arith::DivUIOp::create(b, product, count);
  };
  Value one = arith::ConstantIndexOp::create(b, 1);
  Value next = arith::AddIOp::create(b, id, one);
  Value first = begin(id), last = begin(next);
  auto share = scf::ForOp::create(b, first, last, one);
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
  b.setInsertionPointToStart(share.getBody());
  SmallVector<Value> indices(rank);
  Value rest = share.getInductionVar();
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
  share.getBody()->getTerminator()->erase();
  Block *body = share.getBody();
  body->getOperations().splice(body->end(), loop.getBody()->getOperations());
  b.setInsertionPointToEnd(body);
  scf::YieldOp::create(b);
  for (auto [variable, index] : llvm::zip(loop.getInductionVars(), indices))
    variable.replaceAllUsesWith(index);
  loop.erase();
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
//
// Synthesizes the kernels that choose experts and sort tokens by them.
#include "passes/Passes.h"
#include "passes/check/KernelContract.h"
#include "passes/support/KernelBuffers.h"
#include "passes/tile/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

namespace mlir::lumen {
#define GEN_PASS_DEF_SYNTHESIZEROUTINGPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

class RoutingSynthesizer {
public:
  explicit RoutingSynthesizer(func::FuncOp kernel)
      : kernel(kernel), b(kernel.getLoc(), kernel.getContext()) {}

  LogicalResult run();

private:
  void emitRoute(RouteOp op);
  void emitGroup(GroupTokensOp op);
  void emitSort(GroupTokensOp op, Value source, Value tokens, Value next);
  /// The probabilities of a row of logits.
  Value emitGating(RouteOp op, Value logits);
  /// Sum of the lanes, divided into each of them.
  Value emitNormalized(Value x);
  Value toInteger(Value value) {
    return arith::IndexCastUIOp::create(b, b.getI32Type(), value);
  }

  func::FuncOp kernel;
  KernelBuilder b;
};

} // namespace

Value RoutingSynthesizer::emitNormalized(Value x) {
  return arith::DivFOp::create(b, x,
                               b.broadcast(emitTreeSum(b, x), getLanes(x)));
}

Value RoutingSynthesizer::emitGating(RouteOp op, Value logits) {
  if (op.getGating() != "softmax")
    return emitSigmoid(b, logits);
  Value most = b.broadcast(emitMaximum(b, logits), getLanes(logits));
  Value below = arith::SubFOp::create(b, logits, most);
  return emitNormalized(math::ExpOp::create(b, below));
}

void RoutingSynthesizer::emitRoute(RouteOp op) {
  Type f32 = b.getF32Type();
  auto logits = cast<RankedTensorType>(op.getLogits().getType());
  int64_t experts = logits.getDimSize(1);
  int64_t used =
      cast<RankedTensorType>(op.getExperts().getType()).getDimSize(1);
  Value source = getSourceBuffer(op.getLogits());
  Value probabilities = b.allocateScratch(experts, f32),
        choice = b.allocateScratch(experts, f32);
  Value chosen = b.allocateScratch(used, f32);
  Value numbers = b.laneNumbers(experts);
  Value none = b.integer(numbers.getType(), experts - 1);
  Value lowest = b.real(f32, -std::numeric_limits<double>::infinity());
  Value tokens = memref::DimOp::create(b, source, 0);
  b.parallel({tokens}, [&](ValueRange indices) {
    Value token = indices[0];
    Value row = emitGating(op, b.load(experts, source, {token, b.index(0)}));
    b.store(row, probabilities, b.index(0));
    if (op.getBias()) {
      Value bias = b.load(experts, getSourceBuffer(op.getBias()), b.index(0));
      row = arith::AddFOp::create(b, row, bias);
    }
    b.store(row, choice, b.index(0));
    b.forEach(used, [&](Value slot) {
      Value left = b.load(experts, choice, b.index(0));
      Value most = vector::ReductionOp::create(
          b, vector::CombiningKind::MAXNUMF, left, arith::FastMathFlags::none);
      // The first that is as large; the last expert where no number is.
      Value isMost = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, left,
                                           b.broadcast(most, experts));
      Value candidates = arith::SelectOp::create(b, isMost, numbers, none);
      Value number = vector::ReductionOp::create(
          b, vector::CombiningKind::MINUI, candidates);
      for (Value buffer : getDestinations(op.getExperts()))
        b.store(number, buffer, {token, slot});
      Value at = b.toIndex(number);
      b.store(b.load(probabilities, at), chosen, slot);
      b.store(lowest, choice, at);
    });
    Value weights = b.load(used, chosen, b.index(0));
    if (op.getNormalized())
      weights = emitNormalized(weights);
    weights = arith::MulFOp::create(
        b, weights, b.splat(used, op.getScale().convertToDouble()));
    for (Value buffer : getDestinations(op.getWeights()))
      b.store(weights, buffer, {token, b.index(0)});
  });
}

/// A counting sort by one worker: there are few numbers, and each is read once.
void RoutingSynthesizer::emitGroup(GroupTokensOp op) {
  auto groups = cast<RankedTensorType>(op.getGroups().getType());
  int64_t experts = groups.getDimSize(0) - 1;
  Value source = getSourceBuffer(op.getExperts());
  // How many tokens an expert has, then where its next one goes.
  Value next = b.allocateScratch(experts, b.getI32Type());
  Value tokens = memref::DimOp::create(b, source, 0);
  // One iteration. A loop that is known to have just one would be folded away,
  // and every worker would sort.
  Value once = arith::MinUIOp::create(b, tokens, b.index(1));
  b.parallel({once}, [&](ValueRange) { emitSort(op, source, tokens, next); });
}

void RoutingSynthesizer::emitSort(GroupTokensOp op, Value source, Value tokens,
                                  Value next) {
  Type i32 = b.getI32Type();
  int64_t used =
              cast<RankedTensorType>(op.getExperts().getType()).getDimSize(1),
          experts = cast<MemRefType>(next.getType()).getDimSize(0);
  Value zero = b.integer(i32, 0), one = b.integer(i32, 1);
  auto forEachSlot = [&](function_ref<void(Value, Value, Value)> body) {
    b.forEach(tokens, [&](Value token) {
      b.forEach(used, [&](Value slot) {
        body(token, slot, b.toIndex(b.load(source, {token, slot})));
      });
    });
  };
  b.forEach(experts, [&](Value expert) { b.store(zero, next, expert); });
  forEachSlot([&](Value, Value, Value expert) {
    Value count = b.load(next, expert);
    b.store(arith::AddIOp::create(b, count, one), next, expert);
  });
  SmallVector<Value> tables = getDestinations(op.getGroups());
  auto storeGroup = [&](Value group, Value expert, Value first) {
    for (Value table : tables) {
      b.store(expert, table, {group, b.index(0)});
      b.store(first, table, {group, b.index(1)});
    }
  };
  Value total = toInteger(b.multiply(tokens, used));
  b.forEach(experts + 1, [&](Value group) { storeGroup(group, zero, total); });
  // Carried: the number of the group, and of its first token.
  auto addGroup = [&](Value expert, ValueRange carried) -> SmallVector<Value> {
    Value group = carried[0], first = carried[1];
    Value count = b.load(next, expert);
    b.store(first, next, expert);
    // The entry of an expert without tokens is written over by the next one,
    // and at last by the end's.
    storeGroup(group, toInteger(expert), first);
    Value isUsed =
        arith::CmpIOp::create(b, arith::CmpIPredicate::ne, count, zero);
    group = arith::AddIOp::create(b, group, b.toIndex(isUsed));
    return {group, arith::AddIOp::create(b, first, count)};
  };
  SmallVector<Value> start = {b.index(0), zero};
  auto end = b.accumulate(b.index(experts), start, addGroup);
  storeGroup(end.front(), zero, total);
  forEachSlot([&](Value token, Value slot, Value expert) {
    Value number = b.load(next, expert);
    b.store(arith::AddIOp::create(b, number, one), next, expert);
    for (Value place : getDestinations(op.getPlace()))
      b.store(number, place, {token, slot});
    Value at = b.toIndex(number);
    Value line = b.divide(at, used), column = b.remainder(at, used);
    for (Value buffer : getDestinations(op.getSource()))
      b.store(toInteger(token), buffer, {line, column});
  });
}

LogicalResult RoutingSynthesizer::run() {
  auto isOfKind = [](Operation *op) {
    return getKernelKind(op) == KernelKind::Routing;
  };
  if (failed(verifyKernel(kernel, isOfKind)))
    return failure();
  Block &body = kernel.getBody().front();
  SmallVector<Operation *> ops;
  for (Operation &op : body)
    if (isOfKind(&op))
      ops.push_back(&op);
  if (ops.size() != 1)
    return kernel.emitError("a routing kernel holds one lumen.route or "
                            "lumen.group_tokens, got ")
           << ops.size();
  if (failed(verifyBufferOperands(cast<KernelOpInterface>(ops.front()))))
    return failure();
  b.setInsertionPoint(body.getTerminator());
  if (auto route = dyn_cast<RouteOp>(ops.front()))
    emitRoute(route);
  else
    emitGroup(cast<GroupTokensOp>(ops.front()));
  eraseTensorOps(kernel);
  return success();
}

namespace {

class SynthesizeRoutingPass
    : public mlir::lumen::impl::SynthesizeRoutingPassBase<
          SynthesizeRoutingPass> {
public:
  void runOnOperation() override {
    for (func::FuncOp kernel : getKernels(getOperation(), KernelKind::Routing))
      if (failed(RoutingSynthesizer(kernel).run()))
        return signalPassFailure();
  }
};

} // namespace

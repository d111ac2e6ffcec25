// SPDX-License-Identifier: Apache-2.0
//
// Synthesizes the kernels that choose experts and sort tokens by them.
#include "passes/check/KernelContract.h"
#include "passes/Passes.h"
#include "passes/support/RowUtils.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>
#include <numeric>

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
  /// The probabilities of a row of logits.
  Value emitGating(RouteOp op, Value logits);
  /// Sum of the lanes, divided into each of them.
  Value emitNormalized(Value x);
  Value index(int64_t value) {
    return arith::ConstantIndexOp::create(b, value);
  }
  /// `body(i)` for i = 0, …, count - 1.
  void emitLoop(Value count, function_ref<void(Value)> body) {
    auto loop = scf::ForOp::create(b, index(0), count, index(1));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    body(loop.getInductionVar());
  }
  Value toIndex(Value value) {
    return arith::IndexCastUIOp::create(b, b.getIndexType(), value);
  }
  Value toInteger(Value value) {
    return arith::IndexCastUIOp::create(b, b.getI32Type(), value);
  }

  func::FuncOp kernel;
  ImplicitLocOpBuilder b;
};

} // namespace

Value RoutingSynthesizer::emitNormalized(Value x) {
  int64_t lanes = cast<VectorType>(x.getType()).getNumElements();
  return arith::DivFOp::create(b, x, broadcast(b, emitTreeSum(b, x), lanes));
}

Value RoutingSynthesizer::emitGating(RouteOp op, Value logits) {
  int64_t lanes = cast<VectorType>(logits.getType()).getNumElements();
  if (op.getGating() == "softmax") {
    Value most = vector::ReductionOp::create(
        b, vector::CombiningKind::MAXNUMF, logits, arith::FastMathFlags::nnan);
    Value below = arith::SubFOp::create(b, logits, broadcast(b, most, lanes));
    return emitNormalized(math::ExpOp::create(b, below));
  }
  Value one = splat(b, lanes, 1.0);
  Value exponential = math::ExpOp::create(b, arith::NegFOp::create(b, logits));
  return arith::DivFOp::create(b, one,
                               arith::AddFOp::create(b, exponential, one));
}

void RoutingSynthesizer::emitRoute(RouteOp op) {
  Type f32 = b.getF32Type(), i32 = b.getI32Type();
  auto logits = cast<RankedTensorType>(op.getLogits().getType());
  int64_t experts = logits.getDimSize(1);
  int64_t used =
      cast<RankedTensorType>(op.getExperts().getType()).getDimSize(1);
  Value source = getSourceBuffer(op.getLogits());
  Value probabilities = allocateScratch(b, experts, f32),
        choice = allocateScratch(b, experts, f32);
  Value chosen = allocateScratch(b, used, f32);
  auto type = VectorType::get({experts}, f32);
  auto numberType = VectorType::get({experts}, i32);
  SmallVector<int32_t> lanes(experts);
  std::iota(lanes.begin(), lanes.end(), 0);
  Value numbers = arith::ConstantOp::create(
      b, DenseElementsAttr::get(numberType, ArrayRef(lanes)));
  Value none = arith::ConstantOp::create(
      b, DenseElementsAttr::get(numberType,
                                b.getI32IntegerAttr(int32_t(experts - 1))));
  Value lowest = arith::ConstantOp::create(
      b, b.getF32FloatAttr(-std::numeric_limits<float>::infinity()));

  auto forall = scf::ForallOp::create(
      b,
      ArrayRef<OpFoldResult>{memref::DimOp::create(b, source, 0).getResult()},
      ValueRange{}, /*mapping=*/std::nullopt);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(forall.getBody());
  Value token = forall.getInductionVar(0);
  Value row =
      vector::LoadOp::create(b, type, source, ValueRange{token, index(0)});
  row = emitGating(op, row);
  vector::StoreOp::create(b, row, probabilities, index(0));
  if (op.getBias()) {
    Value bias = vector::LoadOp::create(b, type, getSourceBuffer(op.getBias()),
                                        index(0));
    row = arith::AddFOp::create(b, row, bias);
  }
  vector::StoreOp::create(b, row, choice, index(0));
  emitLoop(index(used), [&](Value slot) {
    Value left = vector::LoadOp::create(b, type, choice, index(0));
    Value most = vector::ReductionOp::create(b, vector::CombiningKind::MAXNUMF,
                                             left, arith::FastMathFlags::none);
    // The first that is as large; the last expert where no number is.
    Value isMost = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, left,
                                         broadcast(b, most, experts));
    Value candidates = arith::SelectOp::create(b, isMost, numbers, none);
    Value number = vector::ReductionOp::create(b, vector::CombiningKind::MINUI,
                                               candidates);
    for (Value buffer : getDestinations(op.getExperts()))
      memref::StoreOp::create(b, number, buffer, ValueRange{token, slot});
    Value at = toIndex(number);
    memref::StoreOp::create(b, memref::LoadOp::create(b, probabilities, at),
                            chosen, slot);
    memref::StoreOp::create(b, lowest, choice, at);
  });
  auto usedType = VectorType::get({used}, f32);
  Value weights = vector::LoadOp::create(b, usedType, chosen, index(0));
  if (op.getNormalized())
    weights = emitNormalized(weights);
  weights = arith::MulFOp::create(
      b, weights, splat(b, used, op.getScale().convertToDouble()));
  for (Value buffer : getDestinations(op.getWeights()))
    vector::StoreOp::create(b, weights, buffer, ValueRange{token, index(0)});
}

/// A counting sort by one worker: there are few numbers, and each is read once.
void RoutingSynthesizer::emitGroup(GroupTokensOp op) {
  Type i32 = b.getI32Type();
  auto slotsType = cast<RankedTensorType>(op.getExperts().getType());
  auto groupsType = cast<RankedTensorType>(op.getGroups().getType());
  int64_t used = slotsType.getDimSize(1),
          experts = groupsType.getDimSize(0) - 1;
  Value source = getSourceBuffer(op.getExperts());
  // How many tokens an expert has, then where its next one goes.
  Value next = allocateScratch(b, experts, i32);
  Value tokens = memref::DimOp::create(b, source, 0);
  // One iteration. A loop that is known to have just one would be folded away,
  // and every worker would sort.
  Value once = arith::MinUIOp::create(b, tokens, index(1));
  auto forall = scf::ForallOp::create(b, ArrayRef<OpFoldResult>{once},
                                      ValueRange{}, /*mapping=*/std::nullopt);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(forall.getBody());
  Value zero = arith::ConstantIntOp::create(b, i32, 0);
  Value one = arith::ConstantIntOp::create(b, i32, 1);
  auto forEachSlot = [&](function_ref<void(Value, Value, Value)> body) {
    emitLoop(tokens, [&](Value token) {
      emitLoop(index(used), [&](Value slot) {
        Value expert =
            memref::LoadOp::create(b, source, ValueRange{token, slot});
        body(token, slot, toIndex(expert));
      });
    });
  };
  emitLoop(index(experts), [&](Value expert) {
    memref::StoreOp::create(b, zero, next, expert);
  });
  forEachSlot([&](Value, Value, Value expert) {
    Value count = memref::LoadOp::create(b, next, expert);
    count = arith::AddIOp::create(b, count, one);
    memref::StoreOp::create(b, count, next, expert);
  });
  SmallVector<Value> tables = getDestinations(op.getGroups());
  auto storeGroup = [&](Value group, Value expert, Value first) {
    for (Value table : tables) {
      memref::StoreOp::create(b, expert, table, ValueRange{group, index(0)});
      memref::StoreOp::create(b, first, table, ValueRange{group, index(1)});
    }
  };
  Value total = toInteger(arith::MulIOp::create(b, tokens, index(used)));
  emitLoop(index(experts + 1),
           [&](Value group) { storeGroup(group, zero, total); });
  // Carried: the number of the group, and of its first token.
  auto loop = scf::ForOp::create(b, index(0), index(experts), index(1),
                                 ValueRange{index(0), zero});
  {
    OpBuilder::InsertionGuard inLoop(b);
    b.setInsertionPointToStart(loop.getBody());
    Value expert = loop.getInductionVar();
    Value group = loop.getRegionIterArg(0), first = loop.getRegionIterArg(1);
    Value count = memref::LoadOp::create(b, next, expert);
    memref::StoreOp::create(b, first, next, expert);
    // The entry of an expert without tokens is written over by the next one,
    // and at last by the end's.
    storeGroup(group, toInteger(expert), first);
    Value isUsed =
        arith::CmpIOp::create(b, arith::CmpIPredicate::ne, count, zero);
    group = arith::AddIOp::create(
        b, group, arith::IndexCastUIOp::create(b, b.getIndexType(), isUsed));
    scf::YieldOp::create(
        b, ValueRange{group, arith::AddIOp::create(b, first, count)});
  }
  storeGroup(loop.getResult(0), zero, total);
  forEachSlot([&](Value token, Value slot, Value expert) {
    Value number = memref::LoadOp::create(b, next, expert);
    memref::StoreOp::create(b, arith::AddIOp::create(b, number, one), next,
                            expert);
    for (Value place : getDestinations(op.getPlace()))
      memref::StoreOp::create(b, number, place, ValueRange{token, slot});
    Value at = toIndex(number);
    Value line = divideByConstant(b, at, used);
    Value column = arith::RemUIOp::create(b, at, index(used));
    for (Value buffer : getDestinations(op.getSource()))
      memref::StoreOp::create(b, toInteger(token), buffer,
                              ValueRange{line, column});
  });
}

LogicalResult RoutingSynthesizer::run() {
  auto isOfKind = [](Operation *op) { return isa<RouteOp, GroupTokensOp>(op); };
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
  b.setInsertionPoint(body.getTerminator());
  if (auto route = dyn_cast<RouteOp>(ops.front())) {
    if (failed(verifyIsBuffer(route, "logits", route.getLogits())) ||
        (route.getBias() &&
         failed(verifyIsBuffer(route, "bias", route.getBias()))))
      return failure();
    emitRoute(route);
  } else {
    auto group = cast<GroupTokensOp>(ops.front());
    if (failed(verifyIsBuffer(group, "experts", group.getExperts())))
      return failure();
    emitGroup(group);
  }
  eraseTensorOps(kernel);
  return success();
}

namespace {

class SynthesizeRoutingPass
    : public mlir::lumen::impl::SynthesizeRoutingPassBase<
          SynthesizeRoutingPass> {
public:
  void runOnOperation() override {
    for (func::FuncOp kernel : getKernels(getOperation(), "routing"))
      if (failed(RoutingSynthesizer(kernel).run()))
        return signalPassFailure();
  }
};

} // namespace

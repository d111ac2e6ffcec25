// SPDX-License-Identifier: Apache-2.0
//
// Puts barriers between accesses to memory that threads of a warp could
// otherwise make in another order than a single thread would.
#include "passes/Passes.h"
#include "passes/support/Warps.h"
#include "passes/target/gpu/LaneLayout.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_ORDERLANESPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// An op that reads or writes memory, lane by lane or all lanes alike.
struct Access {
  Operation *op;
  Value root;
  bool writes;
};

/// The buffer that an op reads or writes; null where it does neither.
Value getBuffer(Operation *op) {
  if (auto load = dyn_cast<vector::LoadOp>(op))
    return load.getBase();
  if (auto store = dyn_cast<vector::StoreOp>(op))
    return store.getBase();
  if (auto load = dyn_cast<memref::LoadOp>(op))
    return load.getMemRef();
  if (auto store = dyn_cast<memref::StoreOp>(op))
    return store.getMemRef();
  if (auto gather = dyn_cast<vector::GatherOp>(op))
    return gather.getBase();
  if (auto scatter = dyn_cast<vector::ScatterOp>(op))
    return scatter.getBase();
  return nullptr;
}

bool isStore(Operation *op) {
  return isa<vector::StoreOp, vector::ScatterOp, memref::StoreOp>(op);
}

std::optional<Access> getAccess(Operation *op) {
  Value buffer = getBuffer(op);
  if (!buffer)
    return std::nullopt;
  while (auto view = buffer.getDefiningOp<ViewLikeOpInterface>())
    buffer = view.getViewSource();
  return Access{op, buffer, isStore(op)};
}

OperandRange getIndices(Operation *op) {
  return llvm::TypeSwitch<Operation *, OperandRange>(op)
      .Case<vector::LoadOp, vector::StoreOp, memref::LoadOp, memref::StoreOp>(
          [](auto each) { return each.getIndices(); })
      .Case<vector::GatherOp, vector::ScatterOp>(
          [](auto each) { return each.getOffsets(); });
}

Type getAccessed(Operation *op) {
  if (auto store = dyn_cast<vector::StoreOp>(op))
    return store.getVectorType();
  if (auto load = dyn_cast<vector::LoadOp>(op))
    return load.getVectorType();
  if (auto scatter = dyn_cast<vector::ScatterOp>(op))
    return scatter.getVectorType();
  if (auto gather = dyn_cast<vector::GatherOp>(op))
    return gather.getVectorType();
  return cast<MemRefType>(getBuffer(op).getType()).getElementType();
}

/// What was accessed since the last barrier.
using Accesses = SmallVector<Access>;

class Orderer {
public:
  explicit Orderer(LaneLayouts layouts) : layouts(std::move(layouts)) {}

  /// Returns what was accessed behind the last barrier, given what was before.
  Accesses order(Block &block, Accesses before);

private:
  Accesses orderRegions(Operation &op, Accesses before);
  bool isOwn(Operation *op) const;
  bool meet(const Access &before, const Access &now) const;

  LaneLayouts layouts;
};

/// Whether no two lanes access the same elements.
bool Orderer::isOwn(Operation *op) const {
  Value vector;
  if (auto store = dyn_cast<vector::StoreOp>(op))
    vector = store.getValueToStore();
  else if (auto load = dyn_cast<vector::LoadOp>(op))
    vector = load.getResult();
  if (!vector)
    return false;
  // (A constant's lanes are those of numbers that begin with the first.)
  int64_t period = layouts.contains(vector)
                       ? layouts.lookup(vector).getPeriod()
                       : cast<VectorType>(vector.getType()).getNumElements();
  return period >= kWarp;
}

/// Whether one lane may depend on what another one does.
bool Orderer::meet(const Access &before, const Access &now) const {
  if (before.root != now.root || (!before.writes && !now.writes))
    return false;
  if (before.writes && now.writes)
    return getAccessed(before.op) != getAccessed(now.op);
  // Each lane accesses what it did before: the order is its own.
  bool alike = getBuffer(before.op) == getBuffer(now.op) &&
               getAccessed(before.op) == getAccessed(now.op) &&
               getIndices(before.op) == getIndices(now.op);
  return !alike || !isOwn(before.op) || !isOwn(now.op);
}

/// All accesses inside of an op.
Accesses collect(Operation &op) {
  Accesses result;
  op.walk([&](Operation *inner) {
    if (auto access = getAccess(inner))
      result.push_back(*access);
  });
  return result;
}

/// The accesses of `more`, too, each once.
void unite(Accesses &all, const Accesses &more) {
  for (const Access &access : more)
    if (llvm::none_of(all,
                      [&](const Access &each) { return each.op == access.op; }))
      all.push_back(access);
}

Accesses Orderer::orderRegions(Operation &op, Accesses before) {
  bool isLoop = isa<LoopLikeOpInterface>(op);
  if (isLoop)
    // Those of the turn before.
    unite(before, collect(op));
  Accesses after =
      isa<scf::IfOp>(op) && op.getRegion(1).empty() ? before : Accesses();
  for (Region &region : op.getRegions())
    for (Block &block : region)
      unite(after, order(block, before));
  if (isLoop)
    unite(after, before);
  return after;
}

Accesses Orderer::order(Block &block, Accesses before) {
  for (Operation &op : llvm::make_early_inc_range(block)) {
    if (op.getNumRegions()) {
      before = orderRegions(op, std::move(before));
      continue;
    }
    if (isa<WarpBarrierOp, BarrierOp, BlockBarrierOp, ArriveOp>(op)) {
      before.clear();
      continue;
    }
    std::optional<Access> access = getAccess(&op);
    if (!access)
      continue;
    bool meets = llvm::any_of(
        before, [&](const Access &other) { return meet(other, *access); });
    if (meets) {
      OpBuilder b(&op);
      WarpBarrierOp::create(b, op.getLoc());
      before.clear();
    }
    unite(before, {*access});
  }
  return before;
}

struct OrderLanesPass final : lumen::impl::OrderLanesPassBase<OrderLanesPass> {
  using OrderLanesPassBase::OrderLanesPassBase;

  void runOnOperation() override {
    func::FuncOp function = getOperation();
    auto kind = function->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr);
    if (function.isExternal() || !hasWarps(function) || !kind ||
        areWorkers(kind))
      return;
    FailureOr<LaneLayouts> layouts = LaneLayouts::find(function);
    if (failed(layouts))
      return signalPassFailure();
    Orderer(std::move(*layouts)).order(function.getBody().front(), {});
  }
};

} // namespace

// SPDX-License-Identifier: Apache-2.0
//
// Makes a team a team of threads: every function that asks for the worker gets
// a pointer to it,
//
//   struct lumen_worker { uint64_t id; uint64_t count; void *team; };
//
// and waiting is a call of the runtime.
#include "passes/CallOrder.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_LOWERTEAMPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

constexpr StringLiteral kBarrier = LumenDialect::kBarrierFunction;

struct LowerTeamPass final : lumen::impl::LowerTeamPassBase<LowerTeamPass> {
  using LowerTeamPassBase::LowerTeamPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    FailureOr<SmallVector<func::FuncOp>> order = sortCalleesFirst(module);
    if (failed(order))
      return signalPassFailure();
    DenseSet<Operation *> withWorker;
    for (func::FuncOp function : *order)
      if (lower(function, withWorker))
        withWorker.insert(function);
  }

private:
  bool lower(func::FuncOp function, const DenseSet<Operation *> &withWorker);
  Value loadField(Operation *op, Value worker, int32_t number);
  FlatSymbolRefAttr getBarrier();
};

/// Word `number` of the worker. It never changes while the team runs.
Value LowerTeamPass::loadField(Operation *op, Value worker, int32_t number) {
  ImplicitLocOpBuilder b(op->getLoc(), op);
  Type i64 = b.getI64Type();
  Value address = worker;
  if (number)
    address = LLVM::GEPOp::create(b, worker.getType(), i64, worker,
                                  ArrayRef<LLVM::GEPArg>{number});
  Value word = LLVM::LoadOp::create(b, i64, address, /*alignment=*/8,
                                    /*isVolatile=*/false,
                                    /*isNonTemporal=*/false,
                                    /*isInvariant=*/true);
  return arith::IndexCastOp::create(b, b.getIndexType(), word);
}

FlatSymbolRefAttr LowerTeamPass::getBarrier() {
  ModuleOp module = getOperation();
  if (!module.lookupSymbol(kBarrier)) {
    auto b =
        ImplicitLocOpBuilder::atBlockEnd(module.getLoc(), module.getBody());
    auto type = LLVM::LLVMFunctionType::get(
        LLVM::LLVMVoidType::get(&getContext()),
        {LLVM::LLVMPointerType::get(&getContext())});
    auto barrier = LLVM::LLVMFuncOp::create(b, kBarrier, type);
    barrier.setNoUnwind(true);
  }
  return FlatSymbolRefAttr::get(&getContext(), kBarrier);
}

/// Returns true where the function takes the worker.
bool LowerTeamPass::lower(func::FuncOp function,
                          const DenseSet<Operation *> &withWorker) {
  SmallVector<Operation *> users;
  function.walk([&](Operation *op) {
    auto call = dyn_cast<func::CallOp>(op);
    bool passesOn =
        call &&
        withWorker.contains(SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
            call, call.getCalleeAttr()));
    if (passesOn || isa<WorkerIdOp, WorkerCountOp, BarrierOp>(op))
      users.push_back(op);
  });
  if (users.empty())
    return false;

  OpBuilder attrs(&getContext());
  unsigned number = function.getNumArguments();
  LogicalResult inserted = function.insertArgument(
      number, LLVM::LLVMPointerType::get(&getContext()),
      attrs.getDictionaryAttr(
          attrs.getNamedAttr(LumenDialect::kWorkerAttr, attrs.getUnitAttr())),
      function.getLoc());
  assert(succeeded(inserted) && "a function can take any argument");
  (void)inserted;
  Value worker = function.getArgument(number);
  for (Operation *op : users) {
    if (isa<func::CallOp>(op)) {
      op->insertOperands(op->getNumOperands(), worker);
      continue;
    }
    if (isa<BarrierOp>(op)) {
      ImplicitLocOpBuilder b(op->getLoc(), op);
      LLVM::CallOp::create(b, TypeRange{}, getBarrier(), worker);
    } else {
      int32_t field = isa<WorkerIdOp>(op) ? 0 : 1;
      op->getResult(0).replaceAllUsesWith(loadField(op, worker, field));
    }
    op->erase();
  }
  return true;
}

} // namespace

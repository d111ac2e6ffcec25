// SPDX-License-Identifier: Apache-2.0
//
// Makes a team a team of threads: every function that asks for the worker gets
// a pointer to it,
//
//   struct lumen_worker { uint64_t id; uint64_t count; void *team; … };
//
// and claiming iterations and waiting are calls of the runtime.
#include "passes/Passes.h"
#include "passes/support/CallOrder.h"
#include "passes/support/Warps.h"
#include "passes/target/common/Architecture.h"
#include "passes/target/gpu/TeamOfWarps.h"

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
  void lowerClaim(ClaimOp op, Value worker);
  ValueRange callRuntime(Operation *op, StringRef name, Type result,
                         ValueRange operands);
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

/// A call of a function of the runtime, in front of `op`.
ValueRange LowerTeamPass::callRuntime(Operation *op, StringRef name,
                                      Type result, ValueRange operands) {
  ModuleOp module = getOperation();
  if (!module.lookupSymbol(name)) {
    auto b =
        ImplicitLocOpBuilder::atBlockEnd(module.getLoc(), module.getBody());
    auto type = LLVM::LLVMFunctionType::get(
        result, llvm::to_vector(operands.getTypes()));
    auto function = LLVM::LLVMFuncOp::create(b, name, type);
    function.setNoUnwind(true);
    auto traits = Architecture::of(TargetAttr::lookup(module)).getClaimTraits();
    if (name == LumenDialect::kClaimFunction && !traits.empty())
      function.setPassthroughAttr(b.getStrArrayAttr(traits));
  }
  ImplicitLocOpBuilder b(op->getLoc(), op);
  TypeRange results = isa<LLVM::LLVMVoidType>(result) ? TypeRange{} : result;
  return LLVM::CallOp::create(
             b, results, FlatSymbolRefAttr::get(&getContext(), name), operands)
      .getResults();
}

/// The worker's iterations are a struct of two words, which targets return in
/// registers.
void LowerTeamPass::lowerClaim(ClaimOp op, Value worker) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Type i64 = b.getI64Type();
  Value total = arith::IndexCastOp::create(b, i64, op.getTotal());
  Value piece =
      callRuntime(op, LumenDialect::kClaimFunction,
                  LLVM::LLVMStructType::getLiteral(&getContext(), {i64, i64}),
                  {worker, total})
          .front();
  for (auto [i, result] : llvm::enumerate(op.getResults())) {
    Value word = LLVM::ExtractValueOp::create(b, piece, int64_t(i));
    result.replaceAllUsesWith(
        arith::IndexCastOp::create(b, b.getIndexType(), word));
  }
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
    if (passesOn || isa<WorkerIdOp, WorkerCountOp, ClaimOp, BarrierOp>(op) ||
        isa<BlockWorkerIdOp, BlockWorkerCountOp, BlockScratchOp, ArriveOp>(op))
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
      callRuntime(op,
                  hasWarps(op) ? LumenDialect::kGridBarrierFunction
                               : LumenDialect::kBarrierFunction,
                  LLVM::LLVMVoidType::get(&getContext()), worker);
    } else if (auto claim = dyn_cast<ClaimOp>(op)) {
      lowerClaim(claim, worker);
    } else if (hasWarps(op)) {
      op->getResult(0).replaceAllUsesWith(emitTeamOfWarps(op, worker));
    } else {
      int32_t field = isa<WorkerIdOp>(op) ? 0 : 1;
      op->getResult(0).replaceAllUsesWith(loadField(op, worker, field));
    }
    op->erase();
  }
  return true;
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
//
// Makes calls of an emulator of a GPU's instructions.
#include "passes/Passes.h"
#include "passes/support/Warps.h"
#include "passes/target/gpu/Gpu.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_EMULATEGPUPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

struct EmulateGpuPass final : lumen::impl::EmulateGpuPassBase<EmulateGpuPass> {
  using EmulateGpuPassBase::EmulateGpuPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (!hasWarps(module) ||
        TargetAttr::lookup(module).getArchitecture() == llvm::Triple::nvptx64)
      return;
    SmallVector<LLVM::CallIntrinsicOp> calls;
    module.walk([&](LLVM::CallIntrinsicOp op) {
      if (op.getIntrin().starts_with(gpu::kIntrinsics))
        calls.push_back(op);
    });
    for (LLVM::CallIntrinsicOp op : calls)
      call(op);
  }

private:
  void call(LLVM::CallIntrinsicOp op);
};

/// llvm.nvvm.shfl.sync.idx.i32 is lumen_gpu_shfl_sync_idx_i32. Several results
/// go where the last argument points to.
void EmulateGpuPass::call(LLVM::CallIntrinsicOp op) {
  ModuleOp module = getOperation();
  ImplicitLocOpBuilder b(op.getLoc(), op);
  SmallVector<Value> arguments(op.getArgs());
  Type result = op.getNumResults() ? op.getResult(0).getType()
                                   : LLVM::LLVMVoidType::get(&getContext());
  Type several = isa<LLVM::LLVMStructType>(result) ? result : Type();
  if (several) {
    // In the entry, so that a loop takes no more memory with every turn.
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(
        &op->getParentOfType<LLVM::LLVMFuncOp>().getBody().front());
    arguments.push_back(LLVM::AllocaOp::create(
        b, LLVM::LLVMPointerType::get(&getContext()), several,
        LLVM::ConstantOp::create(b, b.getI32IntegerAttr(1)).getResult()));
    result = LLVM::LLVMVoidType::get(&getContext());
  }
  std::string name =
      "lumen_gpu_" + op.getIntrin().drop_front(gpu::kIntrinsics.size()).str();
  llvm::replace(name, '.', '_');
  if (!module.lookupSymbol(name)) {
    auto b =
        ImplicitLocOpBuilder::atBlockEnd(module.getLoc(), module.getBody());
    auto function = LLVM::LLVMFuncOp::create(
        b, name,
        LLVM::LLVMFunctionType::get(
            result, llvm::to_vector(ValueRange(arguments).getTypes())));
    function.setNoUnwind(true);
  }
  auto call = LLVM::CallOp::create(
      b, several ? TypeRange() : TypeRange(op.getResultTypes()),
      FlatSymbolRefAttr::get(&getContext(), name), arguments);
  if (several)
    op->getResult(0).replaceAllUsesWith(
        LLVM::LoadOp::create(b, several, arguments.back()));
  else
    op->replaceAllUsesWith(call->getResults());
  op->erase();
}

} // namespace

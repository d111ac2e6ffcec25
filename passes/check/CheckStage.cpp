// SPDX-License-Identifier: Apache-2.0
//
// The contracts of the stages behind the fused one.
#include "passes/Passes.h"
#include "passes/support/KernelBuffers.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_CHECKSTAGEPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

bool isKernel(func::FuncOp function) {
  return function->hasAttr(LumenDialect::kKernelAttr);
}

/// Every worker runs the top level of a kernel: only what the loops over its
/// share hold may write buffers that others see.
LogicalResult checkTopLevel(func::FuncOp kernel) {
  for (Operation &op : kernel.getBody().front()) {
    if (isa<scf::ForallOp>(op))
      continue;
    WalkResult walk = op.walk([&](MemoryEffectOpInterface inner) -> WalkResult {
      SmallVector<MemoryEffects::EffectInstance> effects;
      inner.getEffects(effects);
      for (const MemoryEffects::EffectInstance &effect : effects) {
        Value buffer = effect.getValue();
        if (!isa<MemoryEffects::Write>(effect.getEffect()) || !buffer)
          continue;
        while (auto view = buffer.getDefiningOp<ViewLikeOpInterface>())
          buffer = view.getViewSource();
        if (!buffer.getDefiningOp<memref::AllocaOp>())
          return inner->emitOpError("writes a shared buffer outside of the "
                                    "parallel loops of its kernel");
      }
      return WalkResult::advance();
    });
    if (walk.wasInterrupted())
      return failure();
  }
  return success();
}

/// Layers and steps: calls, buffers, index arithmetic.
LogicalResult checkCaller(func::FuncOp caller) {
  for (Operation &op : caller.getBody().front())
    if (!isa<func::CallOp, func::ReturnOp, memref::AllocOp, memref::DimOp,
             memref::ViewOp, BlockScratchOp>(op) &&
        !isa<arith::ArithDialect>(op.getDialect()))
      return op.emitOpError("is not allowed outside of a kernel");
  return success();
}

/// The ops that a stage has got rid of.
LogicalResult checkLeft(Operation *op, StringRef stage) {
  bool isLumen = isa_and_nonnull<LumenDialect>(op->getDialect());
  bool isAllowed =
      !isLumen || isa<FormatOp, DecodedOp, StoredOp, Dot4Op, Dot2Op, MmaOp,
                      LookupOp, WorkerIdOp, WorkerCountOp, ClaimOp, BarrierOp,
                      ArriveOp, BlockScratchOp>(op);
  if (stage == "vector")
    isAllowed &= !isa_and_nonnull<linalg::LinalgDialect,
                                  bufferization::BufferizationDialect>(
                     op->getDialect()) &&
                 !isa<memref::AllocOp, memref::DeallocOp>(op);
  if (!isAllowed)
    return op->emitOpError() << "is not allowed in the " << stage << " stage";
  if (stage == "vector" && worksOnTensors(op))
    return op->emitOpError() << "works on tensors, which the " << stage
                             << " stage has replaced by buffers and vectors";
  return success();
}

/// Tensors are register tiles of products and the buffers that tiles are slices
/// of; linalg computes on tiles.
LogicalResult checkTile(Operation *op) {
  auto isTile = [](Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return tensor && tensor.hasStaticShape();
  };
  auto function = op->getParentOfType<func::FuncOp>();
  bool isOfTensors = function && isKernelOf(function, KernelKind::Tensor);
  if (isa<linalg::LinalgOp>(op)) {
    if (!op->getParentOfType<scf::ForallOp>())
      return op->emitOpError(
          "computes outside of the parallel loops of its kernel");
    if (isOfTensors && !worksOnTensors(op))
      return success();
    for (Type type : op->getOperandTypes())
      if (isa<ShapedType>(type) && !isTile(type))
        return op->emitOpError("in the loops stage works on register tiles, "
                               "which are tensors of known sizes, got ")
               << type;
  }
  if (!worksOnTensors(op))
    return success();
  if (!function || !isKernelOf(function, KernelKind::Product))
    return op->emitOpError("works on tensors, which only product kernels have "
                           "in the loops stage");
  for (Type type : op->getResultTypes())
    if (isa<TensorType>(type) && !isTile(type) &&
        !isa<bufferization::ToTensorOp>(op))
      return op->emitOpError(
                 "makes a tensor of open size in the loops stage, "
                 "where only buffers seen as tensors have one, got ")
             << type;
  return success();
}

LogicalResult checkBuffers(ModuleOp module, StringRef stage) {
  for (auto function : module.getOps<func::FuncOp>()) {
    if (hasTensor(function.getArgumentTypes()) ||
        hasTensor(function.getResultTypes()))
      return function.emitOpError()
             << "has tensors in its signature, which the " << stage
             << " stage has replaced by buffers";
    if (function.isExternal())
      continue;
    if (failed(isKernel(function) ? checkTopLevel(function)
                                  : checkCaller(function)))
      return failure();
  }
  WalkResult walk =
      module.walk<WalkOrder::PreOrder>([&](Operation *op) -> WalkResult {
        if (failed(checkLeft(op, stage)) ||
            (stage == "loops" && failed(checkTile(op))))
          return WalkResult::interrupt();
        // Descriptions are no code.
        return isa<FormatOp>(op) ? WalkResult::skip() : WalkResult::advance();
      });
  return failure(walk.wasInterrupted());
}

LogicalResult checkLLVM(ModuleOp module) {
  WalkResult walk =
      module.walk<WalkOrder::PreOrder>([&](Operation *op) -> WalkResult {
        if (op == module || isa<LLVM::LLVMDialect>(op->getDialect()))
          return WalkResult::advance();
        return op->emitOpError("is not allowed in the llvm stage");
      });
  if (walk.wasInterrupted())
    return failure();
  for (auto function : module.getOps<LLVM::LLVMFuncOp>())
    if (!function.isExternal() &&
        function.getLinkage() == LLVM::Linkage::External &&
        !function->hasAttr(LumenDialect::kLinkedAttr) &&
        !function.getSymName().starts_with(LumenDialect::kEntryPrefix))
      return function.emitOpError()
             << "is visible outside of the module but is no entry ("
             << LumenDialect::kEntryPrefix << "*)";
  return success();
}

struct CheckStagePass final : lumen::impl::CheckStagePassBase<CheckStagePass> {
  using CheckStagePassBase::CheckStagePassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    LogicalResult result = failure();
    if (stage == "loops" || stage == "vector")
      result = checkBuffers(module, stage);
    else if (stage == "llvm")
      result = checkLLVM(module);
    else
      module.emitError() << "unknown stage '" << stage
                         << "', expected loops, vector or llvm";
    if (failed(result))
      signalPassFailure();
    markAllAnalysesPreserved();
  }
};

} // namespace

// SPDX-License-Identifier: Apache-2.0
//
// Gives every thread of a warp its lane of each vector.
#include "passes/Passes.h"
#include "passes/support/Warps.h"
#include "passes/target/gpu/LaneDistributor.h"
#include "passes/target/gpu/TeamOfWarps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_DISTRIBUTELANESPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Where a kernel has enough to do that is independent, every thread is a
/// worker of its own.
void makeLanesWorkers(func::FuncOp function) {
  SmallVector<Operation *> ops;
  function.walk([&](Operation *op) {
    if (isa<WorkerIdOp, WorkerCountOp>(op))
      ops.push_back(op);
  });
  for (Operation *op : ops) {
    KernelBuilder b(op->getLoc(), op->getContext());
    b.setInsertionPointAfter(op);
    Value all = b.multiply(op->getResult(0), kWarp), first = all;
    if (isa<WorkerIdOp>(op))
      all = arith::AddIOp::create(b, all, b.toIndex(LaneOp::create(b)));
    op->getResult(0).replaceAllUsesExcept(all, first.getDefiningOp());
  }
}

struct DistributeLanesPass final
    : lumen::impl::DistributeLanesPassBase<DistributeLanesPass> {
  using DistributeLanesPassBase::DistributeLanesPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (!hasWarps(module))
      return;
    // The processor of a warp waits for memory by running others.
    module.walk([](memref::PrefetchOp op) { op.erase(); });
    int64_t scratch = 0;
    for (auto function : module.getOps<func::FuncOp>()) {
      if (function.isExternal() ||
          !(function->hasAttr(LumenDialect::kKernelAttr) ||
            function->hasAttr(LumenDialect::kLoopAttr)))
        continue;
      auto kind =
          function->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr);
      if (kind && areWorkers(kind)) {
        makeLanesWorkers(function);
        continue;
      }
      FailureOr<LaneLayouts> layouts = LaneLayouts::find(function);
      if (failed(layouts))
        return signalPassFailure();
      LaneDistributor distributor(function, std::move(*layouts));
      if (failed(distributor.run()))
        return signalPassFailure();
      scratch = std::max(scratch, distributor.getScratchBytes());
    }
    auto b =
        ImplicitLocOpBuilder::atBlockBegin(module.getLoc(), module.getBody());
    auto addSize = [&](StringRef name, int64_t bytes) {
      LLVM::GlobalOp::create(b, b.getI64Type(), /*isConstant=*/true,
                             LLVM::Linkage::External, name,
                             b.getI64IntegerAttr(bytes));
    };
    addSize(LumenDialect::kScratchSizeGlobal, scratch);
    addSize(kTeamSizeGlobal, kBlocksOffset);
    if (!module.lookupSymbol(LumenDialect::kBlockSizeGlobal))
      addSize(LumenDialect::kBlockSizeGlobal, 0);
  }
};

} // namespace

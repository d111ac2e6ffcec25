// SPDX-License-Identifier: Apache-2.0
//
// Leaves one side of a module whose host launches kernels: the kernels, or what
// calls them.
#include "passes/Passes.h"
#include "passes/support/Warps.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_KEEPSIDEPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

bool isOfDevice(func::FuncOp function) {
  return function->hasAttr(LumenDialect::kKernelAttr) ||
         function->hasAttr(LumenDialect::kLoopAttr);
}

struct KeepSidePass final : lumen::impl::KeepSidePassBase<KeepSidePass> {
  using KeepSidePassBase::KeepSidePassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (side != "device" && side != "host") {
      module.emitError("side is device or host, not '") << side << "'";
      return signalPassFailure();
    }
    bool keepsDevice = side == "device";
    SmallVector<func::FuncOp> others;
    DenseSet<StringAttr> names;
    for (auto function : module.getOps<func::FuncOp>())
      if (isOfDevice(function) != keepsDevice) {
        others.push_back(function);
        names.insert(function.getSymNameAttr());
      }
    // A call across would need the launch that was to take its place.
    for (auto function : module.getOps<func::FuncOp>()) {
      if (isOfDevice(function) != keepsDevice)
        continue;
      WalkResult walk = function.walk([&](func::CallOp call) -> WalkResult {
        if (names.contains(call.getCalleeAttr().getRootReference()))
          return call.emitOpError("calls the other side");
        return WalkResult::advance();
      });
      if (walk.wasInterrupted())
        return signalPassFailure();
    }
    for (func::FuncOp function : others)
      function.erase();
    for (auto global :
         llvm::make_early_inc_range(module.getOps<memref::GlobalOp>()))
      if (global.isPrivate() &&
          SymbolTable::symbolKnownUseEmpty(global, module))
        global.erase();
  }
};

} // namespace

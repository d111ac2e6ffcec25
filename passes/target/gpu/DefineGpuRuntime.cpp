// SPDX-License-Identifier: Apache-2.0
//
// What a module for NVIDIA's GPUs has beside its kernels: entries that a host
// can launch, and the functions of the runtime.
#include "passes/Passes.h"
#include "passes/support/Warps.h"
#include "passes/target/gpu/Gpu.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Parser/Parser.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_DEFINEGPURUNTIMEPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Of a block: 65,536 registers of a processor are 128 for each.
constexpr StringLiteral kThreads = "512";

/// The team is { i32 arrived, i32 phase }, zeros before the first launch. A
/// block waits for its own threads; then one of them adds the block to those
/// that arrived. The last block begins the next phase, for which the others
/// wait. (LLVM leaves the order out of what it makes of an atomic addition, so
/// fences give it.)
constexpr StringLiteral kBarrier = R"(
  llvm.func internal @lumen_grid_barrier(%team: !llvm.ptr) attributes {
      passthrough = ["noinline", "nounwind", "convergent"]} {
    %zero = llvm.mlir.constant(0 : i32) : i32
    %one = llvm.mlir.constant(1 : i32) : i32
    llvm.call_intrinsic "llvm.nvvm.barrier.cta.sync.aligned.all"(%zero) : (i32) -> ()
    %thread = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.tid.x"() : () -> i32
    %isFirst = llvm.icmp "eq" %thread, %zero : i32
    llvm.cond_br %isFirst, ^arrive, ^end
  ^arrive:
    %phase = llvm.getelementptr %team[1] : (!llvm.ptr) -> !llvm.ptr, i32
    %before = llvm.load %phase atomic syncscope("device") acquire {alignment = 4 : i64} : !llvm.ptr -> i32
    %blocks = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.nctaid.x"() : () -> i32
    llvm.fence syncscope("device") acq_rel
    %others = llvm.atomicrmw add %team, %one syncscope("device") monotonic {alignment = 4 : i64} : !llvm.ptr, i32
    llvm.fence syncscope("device") acq_rel
    %arrived = llvm.add %others, %one : i32
    %isLast = llvm.icmp "eq" %arrived, %blocks : i32
    llvm.cond_br %isLast, ^open, ^wait
  ^open:
    llvm.store %zero, %team atomic syncscope("device") monotonic {alignment = 4 : i64} : i32, !llvm.ptr
    %next = llvm.add %before, %one : i32
    llvm.store %next, %phase atomic syncscope("device") release {alignment = 4 : i64} : i32, !llvm.ptr
    llvm.br ^end
  ^wait:
    %now = llvm.load %phase atomic syncscope("device") acquire {alignment = 4 : i64} : !llvm.ptr -> i32
    %isSame = llvm.icmp "eq" %now, %before : i32
    llvm.cond_br %isSame, ^wait, ^end
  ^end:
    llvm.call_intrinsic "llvm.nvvm.barrier.cta.sync.aligned.all"(%zero) : (i32) -> ()
    llvm.return
  })";

struct DefineGpuRuntimePass final
    : lumen::impl::DefineGpuRuntimePassBase<DefineGpuRuntimePass> {
  using DefineGpuRuntimePassBase::DefineGpuRuntimePassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (!hasWarps(module) ||
        TargetAttr::lookup(module).getArchitecture() != llvm::Triple::nvptx64)
      return;
    for (auto function : module.getOps<LLVM::LLVMFuncOp>())
      if (function.getSymName().starts_with(LumenDialect::kEntryPrefix))
        makeLaunchable(function);
    if (failed(define(LumenDialect::kGridBarrierFunction, kBarrier.str())))
      signalPassFailure();
  }

private:
  void makeLaunchable(LLVM::LLVMFuncOp function);
  /// Where something calls it.
  LogicalResult define(StringRef name, const std::string &text) {
    ModuleOp module = getOperation();
    auto declared = module.lookupSymbol<LLVM::LLVMFuncOp>(name);
    if (!declared)
      return success();
    declared.erase();
    return parseSourceString(text, module.getBody(),
                             ParserConfig(&getContext()));
  }
};

/// A block has at most so many threads, so that each finds its registers.
void DefineGpuRuntimePass::makeLaunchable(LLVM::LLVMFuncOp function) {
  Builder b(&getContext());
  function.setCConv(LLVM::CConv::PTX_Kernel);
  SmallVector<Attribute> traits;
  if (ArrayAttr known = function.getPassthroughAttr())
    llvm::append_range(traits, known);
  traits.push_back(b.getStrArrayAttr({"nvvm.maxntid", kThreads}));
  // It need not share a processor with another block.
  traits.push_back(b.getStrArrayAttr({"nvvm.minctasm", "1"}));
  function.setPassthroughAttr(b.getArrayAttr(traits));
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
//
// Lets workers fetch the weights of the next product before they wait for each
// other.
#include "passes/Passes.h"
#include "passes/target/gpu/LaneLayout.h"

#include "passes/support/KernelBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_FETCHAHEADPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Weights of the next product that are fetched: the largest.
constexpr unsigned kWeights = 2;

/// Weights are arguments: plain bytes, and many.
bool isWeight(Value operand) {
  constexpr int64_t kLeastBytes = 4096;
  auto type = dyn_cast<MemRefType>(operand.getType());
  return isa<BlockArgument>(operand) && type && type.getRank() == 1 &&
         type.hasStaticShape() && type.getElementType().isInteger(8) &&
         type.getDimSize(0) >= kLeastBytes;
}

struct FetchAheadPass final : lumen::impl::FetchAheadPassBase<FetchAheadPass> {
  using FetchAheadPassBase::FetchAheadPassBase;

  void runOnOperation() override;

private:
  StringRef getKind(func::CallOp call);
  func::FuncOp getCallee(func::CallOp call) {
    return SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
        call, call.getCalleeAttr());
  }
  void findNext(Block &block);
  LogicalResult extend(func::FuncOp kernel);
  void pass(func::CallOp call);

  /// The product that comes behind a call, when all workers have met.
  DenseMap<Operation *, func::CallOp> next;
};

StringRef FetchAheadPass::getKind(func::CallOp call) {
  func::FuncOp callee = getCallee(call);
  auto kind = callee
                  ? callee->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr)
                  : StringAttr();
  return kind ? kind.getValue() : StringRef();
}

/// The line at an address. (LLVM knows the instruction of newer GPUs alone.)
void fetch(KernelBuilder &b, Value address) {
  ModuleOp module = address.getParentRegion()->getParentOfType<ModuleOp>();
  if (TargetAttr::lookup(module).getArchitecture() == llvm::Triple::nvptx64) {
    LLVM::InlineAsmOp::create(
        b, TypeRange(), ValueRange(address), "prefetch.global.L2 [$0];", "l",
        /*has_side_effects=*/true, /*is_align_stack=*/false,
        LLVM::tailcallkind::TailCallKind::None, LLVM::AsmDialectAttr(),
        ArrayAttr());
    return;
  }
  address = LLVM::IntToPtrOp::create(
      b, LLVM::LLVMPointerType::get(b.getContext()), address);
  LLVM::CallIntrinsicOp::create(b, b.getStringAttr("llvm.nvvm.prefetch.L2"),
                                ValueRange(address));
}

void FetchAheadPass::findNext(Block &block) {
  func::CallOp before;
  for (auto call : block.getOps<func::CallOp>()) {
    if (call->hasAttr(LumenDialect::kInBlocksAttr))
      continue;
    StringRef kind = getKind(call);
    if (before && kind == stringifyKernelKind(KernelKind::Product))
      next[before] = call;
    // Kernels that end in a barrier of their own.
    bool waits = kind == stringifyKernelKind(KernelKind::Product) ||
                 kind == stringifyKernelKind(KernelKind::Attention);
    before = waits ? call : func::CallOp();
  }
}

/// Every thread fetches a line in front of the last barrier.
LogicalResult FetchAheadPass::extend(func::FuncOp kernel) {
  BarrierOp barrier;
  for (auto op : kernel.getBody().front().getOps<BarrierOp>())
    barrier = op;
  KernelBuilder b(kernel.getLoc(), kernel.getContext());
  auto type = MemRefType::get({ShapedType::kDynamic}, b.getI8Type());
  SmallVector<Value> weights;
  for (unsigned i = 0; i < kWeights; ++i) {
    unsigned number = kernel.getNumArguments();
    if (failed(kernel.insertArgument(number, type, b.getDictionaryAttr({}),
                                     kernel.getLoc())))
      return failure();
    weights.push_back(kernel.getArgument(number));
  }
  if (!barrier)
    return success();
  b.setInsertionPoint(barrier);
  int64_t line = TargetAttr::lookup(kernel).getCacheLine();
  Value thread = b.multiply(WorkerIdOp::create(b), kWarp);
  thread = arith::AddIOp::create(b, thread, b.toIndex(LaneOp::create(b)));
  Value offset = b.multiply(thread, line);
  for (Value weight : weights) {
    Value inside = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, offset,
                                         memref::DimOp::create(b, weight, 0));
    b.branch(inside, [&] {
      Value address = memref::ExtractAlignedPointerAsIndexOp::create(b, weight);
      address = arith::AddIOp::create(b, address, offset);
      fetch(b, arith::IndexCastOp::create(b, b.getI64Type(), address));
    });
  }
  return success();
}

/// Nothing where no product comes next.
void FetchAheadPass::pass(func::CallOp call) {
  KernelBuilder b(call.getLoc(), call.getContext());
  b.setInsertionPoint(call);
  auto type = MemRefType::get({ShapedType::kDynamic}, b.getI8Type());
  SmallVector<Value> weights;
  if (func::CallOp product = next.lookup(call))
    for (Value operand : product.getOperands())
      if (isWeight(operand))
        weights.push_back(operand);
  llvm::stable_sort(weights, [](Value a, Value b) {
    return cast<MemRefType>(a.getType()).getDimSize(0) >
           cast<MemRefType>(b.getType()).getDimSize(0);
  });
  for (unsigned i = 0; i < kWeights; ++i) {
    Value weight;
    if (i < weights.size()) {
      weight = memref::CastOp::create(b, type, weights[i]);
    } else {
      Value bytes = BlockScratchOp::create(
          b, MemRefType::get({0}, b.getI8Type()), uint64_t(0));
      weight = memref::CastOp::create(b, type, bytes);
    }
    call->insertOperands(call.getNumOperands(), weight);
  }
}

void FetchAheadPass::runOnOperation() {
  ModuleOp module = getOperation();
  TargetAttr target = TargetAttr::lookup(module);
  if (!target || target.getWorkers() == 1)
    return;
  next.clear();
  for (auto function : module.getOps<func::FuncOp>())
    if (!function.isExternal() && function.getBody().hasOneBlock() &&
        !function->hasAttr(LumenDialect::kKernelAttr))
      findNext(function.getBody().front());
  DenseSet<Operation *> kernels;
  SmallVector<func::FuncOp> extended;
  for (auto &[call, product] : next)
    if (kernels.insert(getCallee(cast<func::CallOp>(call))).second)
      extended.push_back(getCallee(cast<func::CallOp>(call)));
  module.walk([&](func::CallOp call) {
    if (kernels.contains(getCallee(call)))
      pass(call);
  });
  for (func::FuncOp kernel : extended)
    if (failed(extend(kernel)))
      return signalPassFailure();
}

} // namespace

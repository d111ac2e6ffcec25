// SPDX-License-Identifier: Apache-2.0
//
// Lets every block of workers compute small rows itself, so that blocks need
// not wait for each other.
#include "dialect/layout/FormatLayout.h"
#include "passes/Passes.h"
#include "passes/support/CallOrder.h"
#include "passes/support/KernelBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_REPEATROWSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Elements of the largest buffer that a block computes alone. Its 512 threads
/// take as long for them as blocks wait for each other.
constexpr int64_t kMostElements = 16384;

/// What a function does with its arguments.
struct Use {
  BitVector read, written;
  /// Nothing else that other workers could see.
  bool isAll = true;
};

/// Rows of columns: memref<?xN>; null for others.
MemRefType getRows(Value buffer) {
  auto type = dyn_cast<MemRefType>(buffer.getType());
  bool isRows = type && type.getRank() == 2 && type.isDynamicDim(0) &&
                !type.isDynamicDim(1) && type.getElementType().isIntOrFloat();
  return isRows ? type : MemRefType();
}

int64_t getRowBytes(MemRefType rows) {
  return rows.getDimSize(1) * rows.getElementTypeBitWidth() / 8;
}

/// A call that is repeated, and what its kernel writes.
struct Repeated {
  func::CallOp call;
  /// Buffers of the function's own.
  SmallVector<memref::AllocOp> own;
  /// Up to so many.
  int64_t rows;
};

struct RepeatRowsPass final : lumen::impl::RepeatRowsPassBase<RepeatRowsPass> {
  using RepeatRowsPassBase::RepeatRowsPassBase;

  void runOnOperation() override;

private:
  void findUse(func::FuncOp function);
  func::FuncOp getCallee(func::CallOp call) {
    return SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
        call, call.getCalleeAttr());
  }
  std::optional<Repeated> match(func::CallOp call,
                                const DenseSet<Value> &touched);
  bool isWrittenOnce(memref::AllocOp alloc);
  void repeat(func::FuncOp function);
  void repeat(const Repeated &each);

  DenseMap<Operation *, Use> uses;
  /// Bytes of a block's memory.
  int64_t bytes = 0;
};

Value getRoot(Value buffer) {
  while (auto view = buffer.getDefiningOp<ViewLikeOpInterface>())
    buffer = view.getViewSource();
  return buffer;
}

void RepeatRowsPass::findUse(func::FuncOp function) {
  Use &use = uses[function];
  use.read.resize(function.getNumArguments());
  use.written.resize(function.getNumArguments());
  auto mark = [&](BitVector &set, Value buffer) {
    Value root = getRoot(buffer);
    auto argument = dyn_cast<BlockArgument>(root);
    if (argument && argument.getOwner() == &function.getBody().front())
      set.set(argument.getArgNumber());
    else if (!root.getDefiningOp<memref::AllocaOp>())
      use.isAll = false;
  };
  function.walk([&](Operation *op) {
    if (isa<ViewLikeOpInterface, memref::DimOp, memref::PrefetchOp,
            memref::AllocaOp, func::FuncOp>(op))
      return;
    if (auto load = dyn_cast<vector::LoadOp>(op))
      return mark(use.read, load.getBase());
    if (auto load = dyn_cast<memref::LoadOp>(op))
      return mark(use.read, load.getMemRef());
    if (auto store = dyn_cast<vector::StoreOp>(op))
      return mark(use.written, store.getBase());
    if (auto store = dyn_cast<memref::StoreOp>(op))
      return mark(use.written, store.getMemRef());
    if (auto call = dyn_cast<func::CallOp>(op)) {
      auto callee = uses.find(getCallee(call));
      for (auto [i, operand] : llvm::enumerate(call.getOperands())) {
        if (!isa<MemRefType>(operand.getType()))
          continue;
        bool isKnown = callee != uses.end();
        if (!isKnown || callee->second.read[i])
          mark(use.read, operand);
        if (!isKnown || callee->second.written[i])
          mark(use.written, operand);
      }
      return;
    }
    // Whatever else there is.
    for (Value operand : op->getOperands())
      if (isa<MemRefType>(operand.getType())) {
        mark(use.read, operand);
        mark(use.written, operand);
      }
    if (llvm::any_of(op->getResultTypes(), llvm::IsaPred<BaseMemRefType>))
      use.isAll = false;
  });
}

/// Whether calls alone use a buffer, of which one writes it.
bool RepeatRowsPass::isWrittenOnce(memref::AllocOp alloc) {
  unsigned writers = 0;
  for (OpOperand &use : alloc->getUses()) {
    if (isa<memref::DimOp>(use.getOwner()))
      continue;
    auto call = dyn_cast<func::CallOp>(use.getOwner());
    auto callee = call ? uses.find(getCallee(call)) : uses.end();
    if (callee == uses.end())
      return false;
    writers += callee->second.written[use.getOperandNumber()];
  }
  return writers == 1;
}

/// `touched`: buffers of others that calls before may still use.
std::optional<Repeated> RepeatRowsPass::match(func::CallOp call,
                                              const DenseSet<Value> &touched) {
  func::FuncOp kernel = getCallee(call);
  auto kind = kernel
                  ? kernel->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr)
                  : StringAttr();
  if (!kind || kind != stringifyKernelKind(KernelKind::Rows))
    return std::nullopt;
  const Use &use = uses[kernel];
  BitVector both = use.read;
  both &= use.written;
  if (!use.isAll || both.any())
    return std::nullopt;
  Repeated result{call, {}, kMostElements};
  bool hasRows = false;
  for (auto [i, operand] : llvm::enumerate(call.getOperands())) {
    if (MemRefType rows = getRows(operand))
      result.rows =
          std::min(result.rows,
                   kMostElements / std::max<int64_t>(rows.getDimSize(1), 1));
    if (!use.written[i])
      continue;
    auto alloc = operand.getDefiningOp<memref::AllocOp>();
    if (alloc && isWrittenOnce(alloc) && getRows(operand)) {
      result.own.push_back(alloc);
      hasRows = true;
    } else if (touched.contains(getRoot(operand))) {
      return std::nullopt;
    } else {
      hasRows |= !!getRows(operand);
    }
  }
  if (!hasRows || result.rows < 1)
    return std::nullopt;
  return result;
}

void RepeatRowsPass::repeat(const Repeated &each) {
  func::CallOp call = each.call;
  KernelBuilder b(call.getLoc(), call.getContext());
  b.setInsertionPoint(call);
  // As many rows as the buffers that are written have.
  const Use &use = uses[getCallee(call)];
  Value few;
  SmallVector<Value> counts;
  for (auto [i, operand] : llvm::enumerate(call.getOperands())) {
    if (!use.written[i] || !getRows(operand))
      continue;
    Value count = memref::DimOp::create(b, operand, 0);
    if (auto alloc = operand.getDefiningOp<memref::AllocOp>())
      count = alloc.getDynamicSizes().front();
    if (llvm::is_contained(counts, count))
      continue;
    counts.push_back(count);
    Value isFew = arith::CmpIOp::create(b, arith::CmpIPredicate::ule, count,
                                        b.index(each.rows));
    few = few ? arith::AndIOp::create(b, few, isFew).getResult() : isFew;
  }
  for (memref::AllocOp alloc : each.own) {
    int64_t size =
        llvm::alignTo(each.rows * getRowBytes(alloc.getType()), kAlignment);
    Value memory = BlockScratchOp::create(
        b, MemRefType::get({size}, b.getI8Type()), uint64_t(bytes));
    bytes += size;
    Value view = memref::ViewOp::create(b, alloc.getType(), memory, b.index(0),
                                        alloc.getDynamicSizes());
    Value own = arith::SelectOp::create(b, few, view, alloc);
    alloc->getResult(0).replaceUsesWithIf(
        own, [](OpOperand &use) { return isa<func::CallOp>(use.getOwner()); });
  }
  call->setAttr(LumenDialect::kInBlocksAttr, b.getUnitAttr());
  call->insertOperands(call.getNumOperands(), few);
}

void RepeatRowsPass::repeat(func::FuncOp function) {
  if (!function.getBody().hasOneBlock() ||
      function->hasAttr(LumenDialect::kKernelAttr))
    return;
  SmallVector<Repeated> repeated, open;
  DenseSet<Value> touched;
  for (auto call : function.getBody().front().getOps<func::CallOp>()) {
    if (auto each = match(call, touched)) {
      open.push_back(*each);
      for (Value operand : call.getOperands())
        if (isa<MemRefType>(operand.getType()))
          touched.insert(getRoot(operand));
      continue;
    }
    // All workers wait for each other behind this one.
    llvm::append_range(repeated, open);
    open.clear();
    touched.clear();
  }
  for (const Repeated &each : repeated)
    repeat(each);
}

void RepeatRowsPass::runOnOperation() {
  ModuleOp module = getOperation();
  TargetAttr target = TargetAttr::lookup(module);
  if (!target || target.getWorkers() == 1)
    return;
  FailureOr<SmallVector<func::FuncOp>> order = sortCalleesFirst(module);
  if (failed(order))
    return signalPassFailure();
  uses.clear();
  bytes = 0;
  for (func::FuncOp function : *order)
    findUse(function);
  for (func::FuncOp function : *order)
    repeat(function);

  // Kernels of rows are told; where they are not repeated, too.
  DenseSet<Operation *> told;
  module.walk([&](func::CallOp call) {
    if (call->hasAttr(LumenDialect::kInBlocksAttr))
      told.insert(getCallee(call));
  });
  module.walk([&](func::CallOp call) {
    if (!told.contains(getCallee(call)) ||
        call->hasAttr(LumenDialect::kInBlocksAttr))
      return;
    KernelBuilder b(call.getLoc(), call.getContext());
    b.setInsertionPoint(call);
    call->insertOperands(call.getNumOperands(),
                         b.integer(b.getI1Type(), false));
  });
  Builder b(&getContext());
  for (Operation *op : told) {
    auto kernel = cast<func::FuncOp>(op);
    if (failed(kernel.insertArgument(
            kernel.getNumArguments(), b.getI1Type(),
            b.getDictionaryAttr(
                b.getNamedAttr(LumenDialect::kIsInBlockAttr, b.getUnitAttr())),
            kernel.getLoc())))
      return signalPassFailure();
  }
  auto end =
      ImplicitLocOpBuilder::atBlockBegin(module.getLoc(), module.getBody());
  LLVM::GlobalOp::create(
      end, end.getI64Type(), /*isConstant=*/true, LLVM::Linkage::External,
      LumenDialect::kBlockSizeGlobal, end.getI64IntegerAttr(bytes));
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
//
// Gives every kernel a module of its own, which is compiled and kept by itself.
#include "passes/Passes.h"
#include "passes/support/CallOrder.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_SPLITKERNELSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Whether each module that refers to the symbol may have its own copy.
bool canCopy(Operation *symbol) {
  if (auto global = dyn_cast<memref::GlobalOp>(symbol))
    return global.getConstant() && !global.isExternal();
  if (auto global = dyn_cast<LLVM::GlobalOp>(symbol))
    return global.getConstant() &&
           global.getLinkage() != LLVM::Linkage::External;
  if (auto function = dyn_cast<LLVM::LLVMFuncOp>(symbol))
    return function.isExternal();
  if (auto function = dyn_cast<func::FuncOp>(symbol))
    return function.isExternal();
  return isa<FormatOp>(symbol);
}

bool isUnit(func::FuncOp function) {
  return !function.isExternal() &&
         (function->hasAttr(LumenDialect::kKernelAttr) ||
          function->hasAttr(LumenDialect::kLoopAttr));
}

struct SplitKernelsPass final
    : lumen::impl::SplitKernelsPassBase<SplitKernelsPass> {
  using SplitKernelsPassBase::SplitKernelsPassBase;

  void runOnOperation() override;

private:
  bool findNeeds(Operation *op, SetVector<Operation *> &needs);
  LogicalResult split(func::FuncOp kernel, const SetVector<Operation *> &needs);
};

/// What `op` refers to, directly or not. False where part of it must not be
/// copied.
bool SplitKernelsPass::findNeeds(Operation *op, SetVector<Operation *> &needs) {
  std::optional<SymbolTable::UseRange> uses = SymbolTable::getSymbolUses(op);
  if (!uses)
    return false;
  for (SymbolTable::SymbolUse use : *uses) {
    Operation *symbol = SymbolTable::lookupNearestSymbolFrom(
        getOperation(), use.getSymbolRef());
    if (!symbol || symbol->getParentOp() != getOperation() || !canCopy(symbol))
      return false;
    if (needs.insert(symbol) && !findNeeds(symbol, needs))
      return false;
  }
  return true;
}

LogicalResult SplitKernelsPass::split(func::FuncOp kernel,
                                      const SetVector<Operation *> &needs) {
  ModuleOp module = getOperation();
  StringAttr name = kernel.getSymNameAttr();
  auto unit = ModuleOp::create(module.getLoc(), name.getValue());
  for (NamedAttribute attr : module->getDiscardableAttrs())
    // Buffers have their places by now: kernels for any number are the same.
    if (attr.getName() != LumenDialect::kMaxTokensAttr)
      unit->setDiscardableAttr(attr.getName(), attr.getValue());
  auto b = OpBuilder::atBlockEnd(unit.getBody());
  for (Operation *symbol : needs)
    b.clone(*symbol);

  if (!kernel.isPublic()) {
    std::string linked = (LumenDialect::kLinkedPrefix + name.getValue()).str();
    if (module.lookupSymbol(linked))
      return kernel.emitError("needs the name '")
             << linked << "', which the module has already";
    StringAttr newName = StringAttr::get(&getContext(), linked);
    if (failed(SymbolTable::replaceAllSymbolUses(kernel, newName, module)))
      return kernel.emitError("is used in a way that nobody understands");
    kernel.setSymNameAttr(newName);
    OpBuilder declare(kernel);
    declare.cloneWithoutRegions(kernel);
    kernel->setAttr(LumenDialect::kLinkedAttr, b.getUnitAttr());
  }
  kernel->moveBefore(unit.getBody(), unit.getBody()->end());
  module.push_back(unit);
  return success();
}

void SplitKernelsPass::runOnOperation() {
  ModuleOp module = getOperation();
  DenseSet<StringAttr> called, usedOtherwise;
  if (std::optional<SymbolTable::UseRange> uses =
          SymbolTable::getSymbolUses(&module.getBodyRegion()))
    for (SymbolTable::SymbolUse use : *uses)
      (isa<func::CallOp>(use.getUser()) ? called : usedOtherwise)
          .insert(use.getSymbolRef().getRootReference());

  // Loops before the kernels that call them, which then only declare them.
  FailureOr<SmallVector<func::FuncOp>> order = sortCalleesFirst(module);
  if (failed(order))
    return signalPassFailure();
  for (func::FuncOp kernel : *order) {
    if (!isUnit(kernel))
      continue;
    StringAttr name = kernel.getSymNameAttr();
    SetVector<Operation *> needs;
    bool isAlone = !usedOtherwise.contains(name) &&
                   !(kernel.isPublic() && called.contains(name)) &&
                   findNeeds(kernel, needs);
    if (isAlone && failed(split(kernel, needs)))
      return signalPassFailure();
  }
  // Constants that only kernels read.
  for (auto global :
       llvm::make_early_inc_range(module.getOps<memref::GlobalOp>()))
    if (global.isPrivate() && SymbolTable::symbolKnownUseEmpty(global, module))
      global.erase();
}

} // namespace

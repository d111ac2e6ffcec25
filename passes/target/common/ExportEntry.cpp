// SPDX-License-Identifier: Apache-2.0
//
// Gives public functions their native entries and hides everything else.
#include "passes/Passes.h"
#include "passes/target/common/Architecture.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_EXPORTENTRYPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

constexpr StringLiteral kPassthrough = "passthrough";

struct ExportEntryPass final
    : lumen::impl::ExportEntryPassBase<ExportEntryPass> {
  using ExportEntryPassBase::ExportEntryPassBase;

  void runOnOperation() override;

private:
  LogicalResult addEntry(func::FuncOp function);
  FailureOr<Value> loadSlot(ImplicitLocOpBuilder &b, func::FuncOp function,
                            unsigned argument, Value slots, unsigned number);
  void hide(func::FuncOp function);
  ArrayAttr getTraits(bool isKernel);
};

/// The value of slot `number`, a 64-bit word, as argument `argument`.
FailureOr<Value> ExportEntryPass::loadSlot(ImplicitLocOpBuilder &b,
                                           func::FuncOp function,
                                           unsigned argument, Value slots,
                                           unsigned number) {
  Type type = function.getArgumentTypes()[argument];
  Value address = slots;
  if (number)
    address = LLVM::GEPOp::create(b, slots.getType(), b.getI64Type(), slots,
                                  ArrayRef<LLVM::GEPArg>{int32_t(number)});
  auto load = [&](Type loaded) -> Value {
    return LLVM::LoadOp::create(b, loaded, address, /*alignment=*/8);
  };
  if (isa<LLVM::LLVMPointerType>(type))
    return load(type);
  Value word = load(b.getI64Type());
  if (type.isIndex())
    return Value(arith::IndexCastOp::create(b, type, word));
  if (!type.isIntOrFloat() || type.getIntOrFloatBitWidth() > 64)
    return function.emitError("argument ")
           << argument << " does not fit a slot: " << type;
  Type integer = b.getIntegerType(type.getIntOrFloatBitWidth());
  Value bits = word;
  if (integer != word.getType())
    bits = arith::TruncIOp::create(b, integer, word);
  if (type == integer)
    return bits;
  return Value(arith::BitcastOp::create(b, type, bits));
}

LogicalResult ExportEntryPass::addEntry(func::FuncOp function) {
  ImplicitLocOpBuilder b(function.getLoc(), function);
  std::string name = (LumenDialect::kEntryPrefix + function.getSymName()).str();
  if (getOperation().lookupSymbol(name))
    return function.emitError("cannot be exported: the module has a symbol '")
           << name << "' already";
  Type pointer = LLVM::LLVMPointerType::get(&getContext());
  auto entry =
      func::FuncOp::create(b, name, b.getFunctionType({pointer, pointer}, {}));
  entry->setAttr(kPassthrough, getTraits(/*isKernel=*/false));
  for (unsigned i : {0, 1})
    for (StringRef attr : {LLVM::LLVMDialect::getNoAliasAttrName(),
                           LLVM::LLVMDialect::getNoUndefAttrName()})
      entry.setArgAttr(i, attr, b.getUnitAttr());

  b.setInsertionPointToStart(entry.addEntryBlock());
  SmallVector<Value> operands;
  unsigned slots = 0;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    if (function.getArgAttr(i, LumenDialect::kWorkerAttr)) {
      operands.push_back(entry.getArgument(1));
      continue;
    }
    FailureOr<Value> value =
        loadSlot(b, function, i, entry.getArgument(0), slots++);
    if (failed(value))
      return failure();
    operands.push_back(*value);
  }
  func::CallOp::create(b, function, operands);
  func::ReturnOp::create(b);
  return success();
}

/// Attributes of LLVM functions. Kernels stay functions of their own, so that
/// profiles name them.
ArrayAttr ExportEntryPass::getTraits(bool isKernel) {
  Builder b(&getContext());
  SmallVector<Attribute> traits = {b.getStringAttr("nounwind")};
  if (isKernel)
    traits.push_back(b.getStringAttr("noinline"));
  if (TargetAttr target = TargetAttr::lookup(getOperation()))
    llvm::append_range(traits,
                       Architecture::of(target).getFunctionTraits(target));
  return b.getArrayAttr(traits);
}

void ExportEntryPass::hide(func::FuncOp function) {
  function.setPrivate();
  if (!function->hasAttr(LumenDialect::kLinkedAttr))
    function->setAttr(
        "llvm.linkage",
        LLVM::LinkageAttr::get(&getContext(), LLVM::Linkage::Internal));
  function->setAttr(kPassthrough,
                    getTraits(function->hasAttr(LumenDialect::kKernelAttr) ||
                              function->hasAttr(LumenDialect::kLoopAttr)));
}

void ExportEntryPass::runOnOperation() {
  ModuleOp module = getOperation();
  for (auto function : llvm::to_vector(module.getOps<func::FuncOp>())) {
    if (function.isExternal())
      continue;
    if (function.isPublic() && failed(addEntry(function)))
      return signalPassFailure();
    hide(function);
  }
  // Their bytes are decoded by now, and nothing of LLVM knows of formats.
  for (auto format : llvm::make_early_inc_range(module.getOps<FormatOp>()))
    format.erase();
}

} // namespace

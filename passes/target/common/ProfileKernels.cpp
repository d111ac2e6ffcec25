// SPDX-License-Identifier: Apache-2.0
//
// Counts the calls of every kernel and the time that they take.
#include "dialect/layout/FormatLayout.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_PROFILEKERNELSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

constexpr StringLiteral kClock = LumenDialect::kClockFunction;
constexpr StringLiteral kProfile = LumenDialect::kProfileGlobal;

struct ProfileKernelsPass final
    : lumen::impl::ProfileKernelsPassBase<ProfileKernelsPass> {
  using ProfileKernelsPassBase::ProfileKernelsPassBase;

  void runOnOperation() override;

private:
  LogicalResult declare(int64_t kernels);
  void measure(func::CallOp call, int64_t kernel);
};

/// The runtime's clock, and a row of two words per kernel, zeros at first.
LogicalResult ProfileKernelsPass::declare(int64_t kernels) {
  ModuleOp module = getOperation();
  for (StringRef name : {kClock, kProfile})
    if (module.lookupSymbol(name))
      return module.emitError("cannot be profiled: it has a symbol '")
             << name << "' already";
  auto b = ImplicitLocOpBuilder::atBlockEnd(module.getLoc(), module.getBody());
  auto clock = LLVM::LLVMFuncOp::create(
      b, kClock, LLVM::LLVMFunctionType::get(b.getI64Type(), {}));
  clock.setNoUnwind(true);
  auto type = LLVM::LLVMArrayType::get(b.getI64Type(), 2 * kernels);
  auto rows = LLVM::GlobalOp::create(b, type, /*isConstant=*/false,
                                     LLVM::Linkage::External, kProfile,
                                     /*value=*/Attribute(), kAlignment);
  b.setInsertionPointToStart(&rows.getInitializerRegion().emplaceBlock());
  LLVM::ReturnOp::create(b, LLVM::ZeroOp::create(b, type).getResult());
  return success();
}

/// A kernel ends where its workers have met, so what worker 0 sees is the time
/// of all of them.
void ProfileKernelsPass::measure(func::CallOp call, int64_t kernel) {
  ImplicitLocOpBuilder b(call.getLoc(), call);
  Type i64 = b.getI64Type(),
       pointer = LLVM::LLVMPointerType::get(&getContext());
  auto now = [&]() -> Value {
    return LLVM::CallOp::create(b, TypeRange{i64}, kClock, ValueRange{})
        .getResult();
  };
  Value begin = now();
  b.setInsertionPointAfter(call);
  Value taken = arith::SubIOp::create(b, now(), begin);
  Value first =
      arith::CmpIOp::create(b, arith::CmpIPredicate::eq, WorkerIdOp::create(b),
                            arith::ConstantIndexOp::create(b, 0));
  auto guard = scf::IfOp::create(b, first, /*withElseRegion=*/false);
  b.setInsertionPointToStart(guard.thenBlock());
  Value rows = LLVM::AddressOfOp::create(b, pointer, kProfile);
  auto add = [&](int64_t word, Value amount) {
    Value place = LLVM::GEPOp::create(b, pointer, i64, rows,
                                      ArrayRef<LLVM::GEPArg>{int32_t(word)});
    Value sum = LLVM::LoadOp::create(b, i64, place);
    LLVM::StoreOp::create(b, arith::AddIOp::create(b, sum, amount), place);
  };
  add(2 * kernel, arith::ConstantIntOp::create(b, i64, 1));
  add(2 * kernel + 1, taken);
}

void ProfileKernelsPass::runOnOperation() {
  ModuleOp module = getOperation();
  DenseMap<Operation *, int64_t> numbers;
  for (auto function : module.getOps<func::FuncOp>())
    if (function->hasAttr(LumenDialect::kKernelAttr))
      numbers.try_emplace(function, numbers.size());
  if (failed(declare(numbers.size())))
    return signalPassFailure();
  SymbolTable symbols(module);
  module.walk([&](func::CallOp call) {
    auto found = numbers.find(symbols.lookup(call.getCallee()));
    if (found != numbers.end())
      measure(call, found->second);
  });
}

} // namespace

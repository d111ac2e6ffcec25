// SPDX-License-Identifier: Apache-2.0
//
// Makes functions that call kernels write down the calls, for a host that
// launches kernels one after the other:
//
//   struct lumen_launches { uint64_t used; uint64_t words[]; };
//   // In words: the number of a kernel, how many words follow, and these:
//   // arguments, and constants that a shader reads.
#include "dialect/layout/FormatLayout.h"
#include "passes/Passes.h"
#include "passes/support/CallOrder.h"
#include "passes/support/Warps.h"
#include "passes/target/common/ArgumentAlignment.h"
#include "passes/target/gpu/LaunchWords.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_RECORDLAUNCHESPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

struct RecordLaunchesPass final
    : lumen::impl::RecordLaunchesPassBase<RecordLaunchesPass> {
  using RecordLaunchesPassBase::RecordLaunchesPassBase;

  void runOnOperation() override;

private:
  LogicalResult record(func::FuncOp function);
  FailureOr<int64_t> record(func::CallOp call, func::FuncOp kernel, Value list);
  FailureOr<SmallVector<Value>> getWords(func::CallOp call);
  void keepAlignments(ArrayRef<func::FuncOp> order);

  /// The numbers of kernels, which follow from the order in which they stand.
  DenseMap<Operation *, int64_t> numbers;
  /// The words that a call of a function adds to the list.
  DenseMap<Operation *, int64_t> words;
};

/// The arguments as words of 64 bits: numbers, addresses, and behind these the
/// sizes that the types leave open.
FailureOr<SmallVector<Value>> RecordLaunchesPass::getWords(func::CallOp call) {
  ImplicitLocOpBuilder b(call.getLoc(), call);
  Type i64 = b.getI64Type();
  SmallVector<Value> result;
  auto add = [&](Value index) {
    result.push_back(arith::IndexCastOp::create(b, i64, index));
  };
  for (Value operand : call.getOperands()) {
    Type type = operand.getType();
    if (auto buffer = dyn_cast<MemRefType>(type)) {
      if (!buffer.getLayout().isIdentity() || buffer.getMemorySpace())
        return call.emitOpError("cannot be recorded: it passes ") << type;
      add(memref::ExtractAlignedPointerAsIndexOp::create(b, operand));
      for (int64_t dim = 0; dim < buffer.getRank(); ++dim)
        if (buffer.isDynamicDim(dim))
          add(memref::DimOp::create(b, operand, dim));
    } else if (type.isIndex()) {
      add(operand);
    } else if (type.isIntOrFloat() && type.getIntOrFloatBitWidth() <= 64) {
      Type integer = b.getIntegerType(type.getIntOrFloatBitWidth());
      if (type != integer)
        operand = arith::BitcastOp::create(b, integer, operand);
      if (integer != i64)
        operand = arith::ExtUIOp::create(b, i64, operand);
      result.push_back(operand);
    } else {
      return call.emitOpError("cannot be recorded: it passes ") << type;
    }
  }
  return result;
}

/// In place of a call of a kernel; returns how many words it takes.
FailureOr<int64_t> RecordLaunchesPass::record(func::CallOp call,
                                              func::FuncOp kernel, Value list) {
  FailureOr<SmallVector<Value>> arguments = getWords(call);
  FailureOr<SmallVector<memref::GlobalOp>> constants =
      SmallVector<memref::GlobalOp>();
  if (hasShaders(kernel))
    constants = findConstants(kernel);
  if (failed(arguments) || failed(constants))
    return failure();
  ImplicitLocOpBuilder b(call.getLoc(), call);
  Type i64 = b.getI64Type(), pointer = list.getType();
  auto word = [&](int64_t value) -> Value {
    return arith::ConstantIntOp::create(b, i64, value);
  };
  int64_t count = int64_t(arguments->size());
  for (memref::GlobalOp constant : *constants)
    count += lumen::getWords(constant);
  SmallVector<Value> first = {word(numbers.lookup(kernel)), word(count)};
  count += int64_t(first.size());
  llvm::append_range(first, *arguments);

  Value used = LLVM::LoadOp::create(b, i64, list, kWordBytes);
  Value begin =
      LLVM::GEPOp::create(b, pointer, i64, list, ArrayRef<LLVM::GEPArg>{used});
  // (The first word of the list says how many are used.)
  int32_t next = 1;
  auto place = [&]() -> Value {
    return LLVM::GEPOp::create(b, pointer, i64, begin,
                               ArrayRef<LLVM::GEPArg>{next});
  };
  for (Value each : first) {
    LLVM::StoreOp::create(b, each, place(), kWordBytes);
    ++next;
  }
  for (memref::GlobalOp constant : *constants) {
    Value bytes = memref::GetGlobalOp::create(b, constant.getType(),
                                              constant.getSymName());
    bytes = memref::ExtractAlignedPointerAsIndexOp::create(b, bytes);
    bytes = arith::IndexCastOp::create(b, i64, bytes);
    bytes = LLVM::IntToPtrOp::create(b, pointer, bytes);
    LLVM::MemcpyOp::create(b, place(), bytes, word(getBytes(constant)),
                           /*isVolatile=*/false);
    next += int32_t(lumen::getWords(constant));
  }
  LLVM::StoreOp::create(b, arith::AddIOp::create(b, used, word(count)), list,
                        kWordBytes);
  call.erase();
  return count;
}

LogicalResult RecordLaunchesPass::record(func::FuncOp function) {
  if (!function.getBody().hasOneBlock())
    return function.emitError("is no straight line, so nobody knows how many "
                              "launches there are");
  SmallVector<func::CallOp> calls;
  function.walk([&](func::CallOp call) { calls.push_back(call); });
  Type pointer = LLVM::LLVMPointerType::get(&getContext());
  Builder b(&getContext());
  auto isList = b.getDictionaryAttr(
      b.getNamedAttr(LumenDialect::kWorkerAttr, b.getUnitAttr()));
  unsigned last = function.getNumArguments();
  if (failed(function.insertArgument(last, pointer, isList, function.getLoc())))
    return failure();
  Value list = function.getArgument(last);
  int64_t total = 0;
  for (func::CallOp call : calls) {
    auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
        call, call.getCalleeAttr());
    if (!callee || callee.isExternal() || call.getNumResults())
      return call.emitOpError("calls what is not there to be launched");
    if (!isa<func::FuncOp>(call->getParentOp()))
      return call.emitOpError("stands inside of a loop or branch, so nobody "
                              "knows how many launches there are");
    if (numbers.contains(callee)) {
      FailureOr<int64_t> count = record(call, callee, list);
      if (failed(count))
        return failure();
      total += *count;
    } else {
      call->insertOperands(call->getNumOperands(), list);
      total += words.lookup(callee);
    }
  }
  words[function] = total;
  return success();
}

/// What is known of the buffers of kernels, which follows from their callers.
void RecordLaunchesPass::keepAlignments(ArrayRef<func::FuncOp> order) {
  Builder b(&getContext());
  for (auto &[function, alignments] : findAlignments(order))
    for (auto [i, alignment] : llvm::enumerate(alignments)) {
      auto kernel = cast<func::FuncOp>(function);
      if (numbers.contains(kernel) && alignment > 1 &&
          isa<MemRefType>(kernel.getArgument(i).getType()))
        kernel.setArgAttr(i, LLVM::LLVMDialect::getAlignAttrName(),
                          b.getI64IntegerAttr(std::min(alignment, kAlignment)));
    }
}

void RecordLaunchesPass::runOnOperation() {
  ModuleOp module = getOperation();
  if (!hasWarps(module))
    return;
  FailureOr<SmallVector<func::FuncOp>> order = sortCalleesFirst(module);
  if (failed(order))
    return signalPassFailure();
  numbers.clear();
  words.clear();
  std::string names;
  for (auto function : module.getOps<func::FuncOp>()) {
    if (function.isExternal() || !function->hasAttr(LumenDialect::kKernelAttr))
      continue;
    numbers.try_emplace(function, int64_t(numbers.size()));
    names += function.getSymName().str() + '\n';
  }
  if (!hasShaders(module))
    keepAlignments(*order);
  // Whoever launches them finds them.
  for (auto &[kernel, number] : numbers)
    cast<func::FuncOp>(kernel).setPublic();
  int64_t most = 0;
  for (func::FuncOp function : *order) {
    // (Kernels call loops themselves.)
    if (numbers.contains(function) ||
        function->hasAttr(LumenDialect::kLoopAttr))
      continue;
    if (failed(record(function)))
      return signalPassFailure();
    most = std::max(most, words.lookup(function));
  }
  auto atStart =
      ImplicitLocOpBuilder::atBlockBegin(module.getLoc(), module.getBody());
  LLVM::GlobalOp::create(atStart, atStart.getI64Type(), /*isConstant=*/true,
                         LLVM::Linkage::External,
                         LumenDialect::kLaunchWordsGlobal,
                         atStart.getI64IntegerAttr(most + 1));
  names.push_back('\0');
  LLVM::GlobalOp::create(
      atStart,
      LLVM::LLVMArrayType::get(atStart.getI8Type(), unsigned(names.size())),
      /*isConstant=*/true, LLVM::Linkage::External, kLaunchNamesGlobal,
      atStart.getStringAttr(names));
}

} // namespace

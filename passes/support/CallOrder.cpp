// SPDX-License-Identifier: Apache-2.0
#include "passes/support/CallOrder.h"

#include "llvm/ADT/SetVector.h"

using namespace mlir;

static LogicalResult visit(func::FuncOp function,
                           SymbolTableCollection &symbols,
                           SetVector<func::FuncOp> &path,
                           SetVector<func::FuncOp> &done) {
  if (function.isExternal() || done.contains(function))
    return success();
  if (!path.insert(function))
    return function.emitError("is recursive");
  WalkResult walk = function.walk([&](func::CallOp call) {
    auto callee = symbols.lookupNearestSymbolFrom<func::FuncOp>(
        call, call.getCalleeAttr());
    return WalkResult(callee ? visit(callee, symbols, path, done) : success());
  });
  if (walk.wasInterrupted())
    return failure();
  path.pop_back();
  done.insert(function);
  return success();
}

FailureOr<SmallVector<func::FuncOp>> lumen::sortCalleesFirst(ModuleOp module) {
  SymbolTableCollection symbols;
  SetVector<func::FuncOp> path, done;
  for (auto function : module.getOps<func::FuncOp>())
    if (failed(visit(function, symbols, path, done)))
      return failure();
  return SmallVector<func::FuncOp>(done.getArrayRef());
}

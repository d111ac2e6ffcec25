// SPDX-License-Identifier: Apache-2.0
#include "passes/target/gpu/LaunchWords.h"

#include "dialect/LumenDialect.h"

using namespace mlir;
using namespace mlir::lumen;

static bool canHandOn(memref::GlobalOp global) {
  return global && global.getConstant() && !global.isExternal() &&
         !global.isUninitialized() &&
         global.getType().getElementType().isIntOrFloat();
}

static void sortByName(SmallVector<memref::GlobalOp> &constants) {
  llvm::sort(constants, [](memref::GlobalOp a, memref::GlobalOp b) {
    return a.getSymName() < b.getSymName();
  });
}

bool mlir::lumen::hasShaders(Operation *op) {
  return TargetAttr::lookup(op).getArchitecture() == llvm::Triple::spirv64;
}

FailureOr<SmallVector<memref::GlobalOp>>
mlir::lumen::findConstants(func::FuncOp kernel) {
  SmallVector<memref::GlobalOp> constants;
  WalkResult walk = kernel.walk([&](memref::GetGlobalOp use) -> WalkResult {
    auto constant = SymbolTable::lookupNearestSymbolFrom<memref::GlobalOp>(
        use, use.getNameAttr());
    if (!canHandOn(constant))
      return use.emitOpError("is no constant that a launch could hand on");
    if (!llvm::is_contained(constants, constant))
      constants.push_back(constant);
    return WalkResult::advance();
  });
  if (walk.wasInterrupted())
    return failure();
  sortByName(constants);
  return constants;
}

FailureOr<SmallVector<memref::GlobalOp>>
mlir::lumen::findConstants(ModuleOp module) {
  SmallVector<memref::GlobalOp> constants(module.getOps<memref::GlobalOp>());
  for (memref::GlobalOp constant : constants)
    if (!canHandOn(constant))
      return constant.emitOpError("is no constant that a launch could hand on");
  sortByName(constants);
  return constants;
}

int64_t mlir::lumen::getBytes(memref::GlobalOp constant) {
  MemRefType type = constant.getType();
  int64_t bits = type.getElementType().getIntOrFloatBitWidth();
  return int64_t(llvm::divideCeil(bits, 8)) * type.getNumElements();
}

int64_t mlir::lumen::getWords(memref::GlobalOp constant) {
  return int64_t(llvm::divideCeil(getBytes(constant), kWordBytes));
}

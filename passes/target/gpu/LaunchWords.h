// SPDX-License-Identifier: Apache-2.0
//
// What a launch of a kernel consists of, for whoever writes the words down and
// for the kernel that reads them: the arguments, and the kernel's constants.
#ifndef LUMEN_PASSES_TARGET_GPU_LAUNCHWORDS_H
#define LUMEN_PASSES_TARGET_GPU_LAUNCHWORDS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

namespace mlir::lumen {

/// Bytes of a word.
constexpr int64_t kWordBytes = 8;

/// Name of the constant with the names of kernels in the order of their
/// numbers: each ends in a line break, and all of them in a zero.
inline constexpr llvm::StringLiteral kLaunchNamesGlobal = "lumen_launch_names";

/// Whether the kernels of the module around `op` are shaders. A launch hands on
/// their constants, for which they have no memory. (Other code has its own.)
bool hasShaders(Operation *op);

/// The constants that a kernel refers to, in the order in which they stand
/// behind the arguments, each from a word on. Fails where one is no constant.
FailureOr<SmallVector<memref::GlobalOp>> findConstants(func::FuncOp kernel);

/// The same of the module of a single kernel, which may refer to fewer of them
/// by now.
FailureOr<SmallVector<memref::GlobalOp>> findConstants(ModuleOp module);

/// Bytes of a constant, and the words that it takes.
int64_t getBytes(memref::GlobalOp constant);
int64_t getWords(memref::GlobalOp constant);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_GPU_LAUNCHWORDS_H

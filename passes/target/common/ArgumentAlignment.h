// SPDX-License-Identifier: Apache-2.0
//
// Where buffers that functions are given begin.
#ifndef LUMEN_PASSES_TARGET_COMMON_ARGUMENTALIGNMENT_H
#define LUMEN_PASSES_TARGET_COMMON_ARGUMENTALIGNMENT_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::lumen {

/// For each function, what the addresses of its arguments are multiples of; 1
/// where nothing is known. It follows from what callers give private functions,
/// and from `llvm.align` of arguments.
DenseMap<Operation *, SmallVector<int64_t>>
findAlignments(ArrayRef<func::FuncOp> calleesFirst);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_COMMON_ARGUMENTALIGNMENT_H

// SPDX-License-Identifier: Apache-2.0
//
// What the synthesis of kernels relies on beyond what the verifiers of the ops
// say. The passes before it keep these promises; IR that somebody wrote may
// not.
#ifndef LUMEN_PASSES_CHECK_KERNELCONTRACT_H
#define LUMEN_PASSES_CHECK_KERNELCONTRACT_H

#include "dialect/LumenDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::lumen {

/// The widest vector that a kernel may ask for. LLVM takes wider ones apart
/// for minutes.
inline constexpr int64_t kMostLanes = 4096;

/// The kernels of a module whose `lumen.kernel` is `kind`.
SmallVector<func::FuncOp> getKernels(ModuleOp module, KernelKind kind);

/// `kernel` has a body of one block, which ends in a func.return of nothing.
LogicalResult verifyKernelBody(func::FuncOp kernel);

/// The same, and tensors are at the top level only: in the ops that `isOfKind`
/// accepts, and between these and buffers, which are plain (without a layout
/// or a memory space). The rows of tensors have known numbers of columns.
LogicalResult verifyKernel(func::FuncOp kernel,
                           function_ref<bool(Operation *)> isOfKind);

/// What `op` reads other places of lies in buffers of the kernel.
LogicalResult verifyBufferOperands(KernelOpInterface op);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_CHECK_KERNELCONTRACT_H

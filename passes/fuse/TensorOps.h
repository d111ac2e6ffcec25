// SPDX-License-Identifier: Apache-2.0
//
// Ops of MLIR's own dialects on tensors, which become kernels of kind "tensor".
#ifndef LUMEN_PASSES_FUSE_TENSOROPS_H
#define LUMEN_PASSES_FUSE_TENSOROPS_H

#include "dialect/LumenDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::lumen {

/// Whether `op` computes tensors or numbers with fractions, as an op of linalg,
/// tensor, arith, math or scf. What computes indices is none, nor are constants
/// and sizes: these stay with the calls of kernels.
bool isTensorOp(Operation *op);

/// Whether one stands in `function`, at any depth.
bool hasTensorOps(func::FuncOp function);

/// The kind of the kernel that computes `op`, if any.
std::optional<KernelKind> getKindOfKernel(Operation *op);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_FUSE_TENSOROPS_H

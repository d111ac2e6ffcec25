// SPDX-License-Identifier: Apache-2.0
//
// The steps in which a kernel of tensors becomes loops over buffers.
#ifndef LUMEN_PASSES_TILE_TENSOR_TENSORKERNEL_H
#define LUMEN_PASSES_TILE_TENSOR_TENSORKERNEL_H

#include "dialect/LumenDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::lumen {

/// Most bytes of the stack that a buffer of a tile takes.
inline constexpr int64_t kMostTileBytes = 32 * 1024;

/// Keeps what a call may choose inside of bounds: offsets point into their
/// tensors, loops have steps, and no integer is divided by zero.
void boundNumbers(func::FuncOp kernel);

/// Every op of linalg at the top level becomes a `scf.forall` over tiles, with
/// those fused into it that only it needs.
LogicalResult tileTensors(func::FuncOp kernel);

/// Gives tensors buffers. Only loops over tiles write what the team shares.
LogicalResult bufferizeTensors(func::FuncOp kernel);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_TENSOR_TENSORKERNEL_H

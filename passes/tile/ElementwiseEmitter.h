// SPDX-License-Identifier: Apache-2.0
//
// The functions of element-wise ops: the same in rows kernels, on vectors of
// columns, and behind products, on what is to become vectors of lanes.
#ifndef LUMEN_PASSES_TILE_ELEMENTWISEEMITTER_H
#define LUMEN_PASSES_TILE_ELEMENTWISEEMITTER_H

#include "dialect/LumenDialect.h"
#include "passes/support/KernelBuilder.h"

namespace mlir::lumen {

/// What the element-wise `op` makes of `operands`: f32, or vectors of it.
Value emitElementwise(KernelBuilder &b, Operation *op,
                      ArrayRef<Value> operands);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ELEMENTWISEEMITTER_H

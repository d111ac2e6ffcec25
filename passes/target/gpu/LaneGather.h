// SPDX-License-Identifier: Apache-2.0
//
// Moves elements of vectors between the threads of a warp.
#ifndef LUMEN_PASSES_TARGET_GPU_LANEGATHER_H
#define LUMEN_PASSES_TARGET_GPU_LANEGATHER_H

#include "passes/support/KernelBuilder.h"
#include "passes/target/gpu/LaneLayout.h"

namespace mlir::lumen {

/// Element `number` of what a lane has of a vector.
Value getOwnElement(KernelBuilder &b, Value own, int64_t number);

/// What a lane has of a vector that is laid out like this: `elements`.
Value joinElements(KernelBuilder &b, LaneLayout layout,
                   ArrayRef<Value> elements);

/// The number, in the whole vector, of element `own` of what the lane has: i32.
Value getElementNumber(KernelBuilder &b, Value lane, LaneLayout layout,
                       int64_t own);

/// Element `number` (i32, another one in each lane, from `first` to `last`) of
/// a vector of which a lane has `own`. Any value where `number` is not in
/// range.
Value gatherElement(KernelBuilder &b, Value own, LaneLayout layout,
                    Value number, int64_t first, int64_t last);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_GPU_LANEGATHER_H

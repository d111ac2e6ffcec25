// SPDX-License-Identifier: Apache-2.0
//
// The sizes of the tensors that a kernel gives, said where it is called.
#ifndef LUMEN_PASSES_FUSE_TENSORSIZES_H
#define LUMEN_PASSES_FUSE_TENSORSIZES_H

#include "mlir/IR/Builders.h"
#include "llvm/ADT/DenseSet.h"

namespace mlir::lumen {

/// Appends to `sizes` those that the types of `values` leave open, in order,
/// computed at the place of `builder` from what ops outside of `inside` give.
/// Says which op gives a tensor of unknown size and fails where there is one.
LogicalResult getOpenSizes(ValueRange values,
                           const llvm::DenseSet<Operation *> &inside,
                           OpBuilder &builder, SmallVectorImpl<Value> &sizes);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_FUSE_TENSORSIZES_H

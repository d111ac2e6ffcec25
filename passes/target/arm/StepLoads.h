// SPDX-License-Identifier: Apache-2.0
//
// The activations of steps of a product, several of which fill a register.
#ifndef LUMEN_PASSES_TARGET_ARM_STEPLOADS_H
#define LUMEN_PASSES_TARGET_ARM_STEPLOADS_H

#include "passes/support/KernelBuilder.h"

namespace mlir::lumen::arm {

/// `x`, the four activations of a step, in every word of a register. Where they
/// are loaded, the register is filled from there, with those of the steps
/// beside it: instructions take any of its words for all lanes, and LLVM merges
/// loads of the same place.
Value spreadStep(KernelBuilder &b, Value x);

} // namespace mlir::lumen::arm

#endif // LUMEN_PASSES_TARGET_ARM_STEPLOADS_H

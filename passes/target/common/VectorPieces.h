// SPDX-License-Identifier: Apache-2.0
//
// Wide vectors as pieces of the size of a target's instructions.
#ifndef LUMEN_PASSES_TARGET_COMMON_VECTORPIECES_H
#define LUMEN_PASSES_TARGET_COMMON_VECTORPIECES_H

#include "passes/support/KernelBuilder.h"

namespace mlir::lumen {

Value callIntrinsic(KernelBuilder &b, StringRef name, Type type,
                    ValueRange operands);

/// What fits one 32-bit word, in every word of `type`.
Value spread(KernelBuilder &b, Value x, VectorType type);

/// Applies `part` to consecutive pieces of `size` elements of the result.
Value splitVector(KernelBuilder &b, VectorType type, int64_t size,
                  function_ref<Value(int64_t first)> part);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_COMMON_VECTORPIECES_H

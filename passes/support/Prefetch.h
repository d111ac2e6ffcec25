// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_PASSES_SUPPORT_PREFETCH_H
#define LUMEN_PASSES_SUPPORT_PREFETCH_H

#include "passes/support/KernelBuilder.h"

namespace mlir::lumen {

/// Starts to fetch the cache lines of `elements` elements of `buffer` from
/// `indices` on, in the order of memory: also past the end of a dimension.
void emitPrefetch(KernelBuilder &b, Value buffer, ValueRange indices,
                  int64_t elements, bool isWrite = false);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_SUPPORT_PREFETCH_H

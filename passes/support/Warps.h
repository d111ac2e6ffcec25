// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_PASSES_SUPPORT_WARPS_H
#define LUMEN_PASSES_SUPPORT_WARPS_H

#include "dialect/LumenDialect.h"

namespace mlir::lumen {

/// Whether the workers of the module around `op` are warps.
inline bool hasWarps(Operation *op) {
  TargetAttr target = TargetAttr::lookup(op);
  return target && target.hasWarps();
}

/// Whether every thread of a warp is a worker of its own in kernels of `kind`:
/// they have much to do that is independent.
inline bool areWorkers(StringAttr kind) {
  std::optional<KernelKind> known = symbolizeKernelKind(kind.getValue());
  return known == KernelKind::Pack || known == KernelKind::Tensor;
}

} // namespace mlir::lumen

#endif // LUMEN_PASSES_SUPPORT_WARPS_H

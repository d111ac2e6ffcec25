// SPDX-License-Identifier: Apache-2.0
//
// Which ops of a function become one kernel.
#ifndef LUMEN_PASSES_FUSE_KERNELCLUSTERS_H
#define LUMEN_PASSES_FUSE_KERNELCLUSTERS_H

#include "dialect/LumenDialect.h"

#include <optional>

namespace mlir::lumen {

/// Ops of one block that stay together, in program order. Without a kind it is
/// a single op that belongs into no kernel.
struct KernelCluster {
  std::optional<KernelKind> kind;
  SmallVector<Operation *> ops;
};

/// Divides all ops of `block` but its terminator into clusters, and returns
/// those in an order in which each only reads what earlier ones compute. The
/// order is that of the program as far as possible.
SmallVector<KernelCluster> formKernelClusters(Block &block);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_FUSE_KERNELCLUSTERS_H

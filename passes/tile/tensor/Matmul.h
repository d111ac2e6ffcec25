// SPDX-License-Identifier: Apache-2.0
//
// Products of two matrices of floats, with any dimensions before these.
#ifndef LUMEN_PASSES_TILE_TENSOR_MATMUL_H
#define LUMEN_PASSES_TILE_TENSOR_MATMUL_H

#include "dialect/LumenDialect.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace mlir::lumen {

/// Which loops of a product are the rows and columns of its result, the terms
/// of its sums, and the matrices of a batch.
struct MatmulLoops {
  unsigned m, n, k;
  SmallVector<unsigned> batch;
};

/// The loops of `op` where it is a product, `out + lhs * rhs`, that is large
/// enough to be worth packing its factors.
std::optional<MatmulLoops> findMatmul(linalg::LinalgOp op);

/// Writes a product of buffers, in front of `op`. The team packs the right
/// factor; then every worker packs rows of the left one and multiplies them
/// with columns of the right one that stay in its cache. A sum has one order,
/// whatever the team.
void emitMatmul(linalg::LinalgOp op, const MatmulLoops &loops,
                TargetAttr target);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_TENSOR_MATMUL_H

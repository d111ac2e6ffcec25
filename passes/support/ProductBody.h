// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_PASSES_SUPPORT_PRODUCTBODY_H
#define LUMEN_PASSES_SUPPORT_PRODUCTBODY_H

#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace mlir::lumen {

/// Whether the body of an op is `out + lhs * rhs` of floats, whose factors may
/// be widened. (The helpers of linalg look through any op of one operand.)
bool isProductBody(linalg::LinalgOp op);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_SUPPORT_PRODUCTBODY_H

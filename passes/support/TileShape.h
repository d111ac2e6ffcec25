// SPDX-License-Identifier: Apache-2.0
//
// How large the register tiles of products are.
#ifndef LUMEN_PASSES_SUPPORT_TILESHAPE_H
#define LUMEN_PASSES_SUPPORT_TILESHAPE_H

#include "dialect/LumenDialect.h"

namespace mlir::lumen {

/// Rows of the register tile of a weight of this type, whose format is looked
/// up from `from`.
///
/// A target's tile holds two vectors of rows where its registers allow it, so
/// that activations spread over the lanes serve twice. A format with several
/// groups in a span converts and scales more sums beside what it unpacks: one
/// vector of rows and more tokens, which share an unpacked code, are the better
/// use of as many sums.
int64_t getTileRows(TargetAttr target, RankedTensorType weight,
                    Operation *from);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_SUPPORT_TILESHAPE_H

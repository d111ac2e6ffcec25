// SPDX-License-Identifier: Apache-2.0
//
// What the synthesis of kernels asks about the instructions of a target.
#ifndef LUMEN_PASSES_SUPPORT_DOT4_H
#define LUMEN_PASSES_SUPPORT_DOT4_H

#include "dialect/LumenDialect.h"

namespace mlir::lumen {

/// True where 8-bit codes had better be signed: pairs of products of unsigned
/// ones do not fit the 16 bits that the target adds them up in. Null stands for
/// a target with an instruction for lumen.dot4.
bool prefersSignedCodes(TargetAttr target);

/// True where one instruction adds a pair of 16-bit products to a sum, and the
/// registers hold the sums of two groups of codes for all tokens of a tile.
bool addsPairs(TargetAttr target);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_SUPPORT_DOT4_H

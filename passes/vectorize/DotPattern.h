// SPDX-License-Identifier: Apache-2.0
//
// Recognizes the dot products in the bodies of linalg.generic.
#ifndef LUMEN_PASSES_VECTORIZE_DOTPATTERN_H
#define LUMEN_PASSES_VECTORIZE_DOTPATTERN_H

#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace mlir::lumen {

/// acc += code * signed code over four 8-bit or two 16-bit codes: the operands
/// of that form. Those of 16 bits are 32 bits wide, and may meet other values
/// of the lanes, truncated to 16 bits. Or over two bf16, whose sums are f32.
bool matchDot(linalg::GenericOp generic, Value &code, Value &activation);

/// Bits that hold every value of `code`, an unsigned i8 computed in the body of
/// a generic.
int64_t getCodeBits(Value code);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_VECTORIZE_DOTPATTERN_H

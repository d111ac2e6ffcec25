// SPDX-License-Identifier: Apache-2.0
//
// Decodes blocks of a quantization format at a place in a kernel: loads the
// storage fields and inlines the region of the `lumen.format`.
#ifndef LUMEN_PASSES_TILE_FORMATINLINER_H
#define LUMEN_PASSES_TILE_FORMATINLINER_H

#include "dialect/LumenDialect.h"
#include "passes/support/KernelBuilder.h"

namespace mlir::lumen {

/// The values that `lumen.decoded` names, at the place where a block was
/// inlined.
struct DecodedBlock {
  /// vector<block x i8>, unsigned codes.
  Value codes;
  /// What the packed weight keeps, in the order of `getStoredFactors`.
  SmallVector<Value, 4> stored;
  /// The factors: a scalar float per block, a vector with one entry per group,
  /// or both.
  SmallVector<Value, 2> scale;
  SmallVector<Value, 2> min;
};

/// Decodes block number `block` of the row whose first byte is `bytes[row]`;
/// `bytes` is a 1-D memref of i8 without any alignment. Reads exactly the bytes
/// of the row's header and of the block. Tables become globals of the module.
DecodedBlock inlineFormat(KernelBuilder &b, FormatOp format, Value bytes,
                          Value row, Value block);

/// v(code) for a vector of codes, as a vector of i32 of the same length.
Value emitCodeValues(KernelBuilder &b, FormatOp format, Value codes);

/// The product of `factors` for group `group` as f32 (super * sub). `factors`
/// is the `scale` or the (not empty) `min` of a block.
Value emitGroupFactor(KernelBuilder &b, ArrayRef<Value> factors, int64_t group);

/// The weights of the block, scale * v(code) - min in float32 with every
/// operation rounded, as consecutive vectors of `format.getSumGroup()`
/// elements.
SmallVector<Value> emitDequantizedBlock(KernelBuilder &b, FormatOp format,
                                        const DecodedBlock &block);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_FORMATINLINER_H

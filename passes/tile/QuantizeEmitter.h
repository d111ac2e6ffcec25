// SPDX-License-Identifier: Apache-2.0
//
// Quantization of float values to 8-bit codes, where rows of activations or the
// vectors of a KV cache are computed.
#ifndef LUMEN_PASSES_TILE_QUANTIZEEMITTER_H
#define LUMEN_PASSES_TILE_QUANTIZEEMITTER_H

#include "dialect/LumenDialect.h"
#include "passes/support/KernelBuilder.h"

namespace mlir::lumen {

/// One group of `lumen.quantize`.
struct QuantizedGroup {
  Value codes; // vector<group x i8>
  Value scale; // f32
  Value sums;  // vector of i32, a lane per sum group
};

/// Quantizes the lanes of `x` with one scale; see `lumen.quantize`.
QuantizedGroup emitQuantizedGroup(KernelBuilder &b, Value x, int64_t sumGroup);

/// The scale of a group, and what its values are multiplied with.
struct GroupScale {
  Value scale, inverse; // f32
};

/// Of a group whose largest magnitude is `most`.
GroupScale emitGroupScale(KernelBuilder &b, Value most);

/// The integers whose lower bytes are the codes of `x`, a part of a group.
Value emitCodes(KernelBuilder &b, Value x, Value inverse);

/// Stores the scale of the group of row `row` that begins at `column`, where
/// `op` has a destination for it.
void emitStoreScale(KernelBuilder &b, QuantizeOp op, Value row, Value column,
                    Value scale);
/// The same with the codes, offsets and sums of whole sum groups.
void emitStoreCodes(KernelBuilder &b, QuantizeOp op, Value row, Value column,
                    Value integers);

/// Quantizes the columns `column`, … of row `row`, which are `values` (whole
/// groups), and stores codes, scales, offsets and sums where `op` has
/// destinations.
void emitQuantizeStore(KernelBuilder &b, QuantizeOp op, Value row, Value column,
                       Value values);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_QUANTIZEEMITTER_H

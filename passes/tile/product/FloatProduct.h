// SPDX-License-Identifier: Apache-2.0
//
// Products with float activations: the weights' values meet them in registers.
#ifndef LUMEN_PASSES_TILE_PRODUCT_FLOATPRODUCT_H
#define LUMEN_PASSES_TILE_PRODUCT_FLOATPRODUCT_H

#include "passes/tile/product/ProductOperands.h"

namespace mlir::lumen {

/// One span of a quantized weight, added to `acc`.
Value emitFloatSpan(TileBuilder &b, const ProductOperands &operands,
                    const PackedWeight &weight, const TokenTile &tokens,
                    const SpanPosition &at, Value acc);

/// Tile `tile` of a weight of floats, in all columns. Activations are f32, or
/// bf16 as the weight.
Value emitFloatTile(TileBuilder &b, const ProductOperands &operands,
                    const PackedWeight &weight, const TokenTile &tokens,
                    Value tile);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_FLOATPRODUCT_H

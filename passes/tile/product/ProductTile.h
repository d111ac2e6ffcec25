// SPDX-License-Identifier: Apache-2.0
//
// The product of one register tile, as linalg on packed tensors: what meets in
// the registers of a few tokens and the rows of a tile.
#ifndef LUMEN_PASSES_TILE_PRODUCT_PRODUCTTILE_H
#define LUMEN_PASSES_TILE_PRODUCT_PRODUCTTILE_H

#include "passes/tile/product/IntegerProduct.h"

namespace mlir::lumen {

/// tokens x rows results of one tile, in registers: with the rows of tile
/// `tile` of `weight`, one of the operands.
Value emitProductTile(TileBuilder &b, const ProductOperands &operands,
                      const PackedWeight &weight, IntegerForm form,
                      const TokenTile &tokens, Value tile,
                      const Segments &segments);

/// The sums of segment `number` alone.
Value emitProductSegment(TileBuilder &b, const ProductOperands &operands,
                         const PackedWeight &weight, IntegerForm form,
                         const TokenTile &tokens, Value tile,
                         const Segments &segments, Value number);

/// The sums of two register tiles.
Value addTiles(TileBuilder &b, Value lhs, Value rhs);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_PRODUCTTILE_H

// SPDX-License-Identifier: Apache-2.0
//
// The activations of many tokens as an instruction for small matrices takes
// them. All workers need all of them, so they arrange them together, once.
#ifndef LUMEN_PASSES_TILE_PRODUCT_ARRANGEDACTIVATIONS_H
#define LUMEN_PASSES_TILE_PRODUCT_ARRANGEDACTIVATIONS_H

#include "passes/tile/product/MatrixTile.h"
#include "passes/tile/product/ProductOperands.h"

namespace mlir::lumen {

class ArrangedActivations {
public:
  /// Memory of the team; `hasSums`: for the sums of the activations, too.
  ArrangedActivations(TileBuilder &b, const ProductOperands &operands,
                      const MatrixTile &tile, bool hasSums);

  /// A parallel loop that arranges the first `parts` token parts.
  void emit(TileBuilder &b, Value parts) const;

  // Buffers of one dimension. Codes are [token part][chunk][m][k], scales and
  // sums [token part][.][m][n], spread over the lanes of the instruction's
  // sums.
  Value codes, scales;
  /// Null where they are not wanted.
  Value sums;

private:
  /// The numbers of a token part in the rows of `from`, spread over lanes.
  void spread(TileBuilder &b, Value from, Value into, Value part) const;

  const ProductOperands &operands;
  MatrixTile tile;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_ARRANGEDACTIVATIONS_H

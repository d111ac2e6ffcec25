// SPDX-License-Identifier: Apache-2.0
//
// The activations of many tokens as an instruction for small matrices takes
// them. All workers need all of them, so they arrange them together, once. An
// instruction for single tokens takes them as they lie.
#ifndef LUMEN_PASSES_TILE_PRODUCT_ARRANGEDACTIVATIONS_H
#define LUMEN_PASSES_TILE_PRODUCT_ARRANGEDACTIVATIONS_H

#include "passes/tile/product/MatrixTile.h"
#include "passes/tile/product/ProductOperands.h"

namespace mlir::lumen {

class ArrangedActivations {
public:
  /// Memory of the team; `hasSums` and `hasSumCodes`: for the sums of the
  /// activations, too, in these forms.
  ArrangedActivations(TileBuilder &b, const ProductOperands &operands,
                      const MatrixTile &tile, bool hasSums, bool hasSumCodes);

  /// A parallel loop that arranges the first `blocks` blocks of m tokens.
  /// Nothing where all lie as they should.
  void emit(TileBuilder &b, Value blocks) const;

  // Buffers of one dimension. Codes are [m tokens][chunk][m][k]. Scales and
  // sums are [token part][.][height][n], spread over the lanes of a vector of
  // sums; [token][.] where one number serves them all.
  Value codes, scales;
  /// Null where they are not wanted.
  Value sums;
  /// The same sums as two codes each, a high one times 2^kSumBits and a low
  /// one: [token part][chunk][high, low][m][k]. Null where they are not wanted.
  Value sumCodes;
  static constexpr int64_t kSumBits = 7;

private:
  /// The codes of a block of m tokens, from the rows of `from`.
  void emitCodes(TileBuilder &b, Value from, Value block) const;
  void splitSums(TileBuilder &b, Value from, Value block) const;
  /// The numbers of a token part in the rows of `from`, spread over lanes.
  void spread(TileBuilder &b, Value from, Value into, Value part) const;

  const ProductOperands &operands;
  MatrixTile tile;
  /// Which of them are not the activations' own buffers: codes and scales; the
  /// sums, which are f32 here.
  bool ownsCodes = false, ownsSums = false;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_ARRANGEDACTIVATIONS_H

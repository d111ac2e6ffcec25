// SPDX-License-Identifier: Apache-2.0
//
// The tiles of a product kernel that a target computes by instructions for
// small matrices: those of many tokens.
#ifndef LUMEN_PASSES_TILE_PRODUCT_MATRIXTILES_H
#define LUMEN_PASSES_TILE_PRODUCT_MATRIXTILES_H

#include "passes/tile/product/MatrixProduct.h"

namespace mlir::lumen {

class MatrixTiles {
public:
  /// Room for the weights of which that is possible, and the loop that arranges
  /// the activations; `mostBytes` for a weight. Nothing where there is none.
  static std::unique_ptr<MatrixTiles> create(TileBuilder &b,
                                             const ProductOperands &operands,
                                             TargetAttr target,
                                             int64_t mostBytes);

  const MatrixTile &getTile() const { return tile; }
  /// The first tokens of all that are computed this way, an index: a multiple
  /// of those of a tile.
  Value getTokens() const { return tokens; }
  /// Whether all of these weights are computed this way.
  bool hold(ArrayRef<unsigned> numbers) const {
    return llvm::all_of(numbers, [&](unsigned i) { return !!weights[i]; });
  }
  /// Expands the rows of tile `number` of weight `weight`.
  void emitWeight(unsigned weight, Value number) const {
    weights[weight]->emit(b, number);
  }
  /// The product with those rows of a tile of tokens that begins with `token`:
  /// a register tile.
  Value emitTile(unsigned weight, Value token) const;

private:
  MatrixTiles(TileBuilder &b, const ProductOperands &operands, MatrixTile tile);

  TileBuilder &b;
  const ProductOperands &operands;
  MatrixTile tile;
  Value tokens;
  /// Null where that is not possible.
  SmallVector<std::unique_ptr<ExpandedWeight>> weights;
  std::unique_ptr<ArrangedActivations> activations;
  /// By weight: room for the results of a tile.
  SmallVector<Value> results;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_MATRIXTILES_H

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
  /// The token rows from `first` to `end` that are computed this way, whole
  /// tiles of the smallest size: the first of them, and the one behind the
  /// last.
  std::pair<Value, Value> getTokens(Value first, Value end) const;
  /// Whether all of these weights are computed this way.
  bool hold(ArrayRef<unsigned> numbers) const {
    return llvm::all_of(numbers, [&](unsigned i) { return !!weights[i]; });
  }
  /// Expands the rows of weight `weight` from the first one of its tile `first`
  /// on.
  void emitWeight(unsigned weight, Value first) const {
    weights[weight]->emit(b, first);
  }
  /// The product with those rows of at most as many tokens as a tile has,
  /// whole smallest tiles: a register tile.
  Value emitTile(unsigned weight, const TokenTile &tokens) const;

private:
  MatrixTiles(TileBuilder &b, const ProductOperands &operands, MatrixTile tile);
  /// Whether it does not pay for so many tokens.
  Value areFew(Value tokens) const;

  TileBuilder &b;
  const ProductOperands &operands;
  MatrixTile tile;
  /// Null where that is not possible.
  SmallVector<std::unique_ptr<ExpandedWeight>> weights;
  std::unique_ptr<ArrangedActivations> activations;
  /// By weight: room for the results of a tile.
  SmallVector<Value> results;
  /// Room for the sums of an instruction; null where a vector holds them.
  Value sums;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_MATRIXTILES_H

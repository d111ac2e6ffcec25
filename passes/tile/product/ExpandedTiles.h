// SPDX-License-Identifier: Apache-2.0
//
// Tiles by instructions for small matrices whose operands are vectors: weights
// are expanded once for a block of tokens.
#ifndef LUMEN_PASSES_TILE_PRODUCT_EXPANDEDTILES_H
#define LUMEN_PASSES_TILE_PRODUCT_EXPANDEDTILES_H

#include "passes/tile/product/MatrixProduct.h"
#include "passes/tile/product/MatrixTiles.h"

namespace mlir::lumen {

class ExpandedTiles final : public MatrixTiles {
public:
  /// Room for the weights of which that is possible, and the loop that arranges
  /// the activations; `mostBytes` for a weight. Nothing where there is none.
  static std::unique_ptr<ExpandedTiles> create(TileBuilder &b,
                                               const ProductOperands &operands,
                                               TargetAttr target,
                                               int64_t mostBytes);

  int64_t getRows() const override { return tile.rows; }
  int64_t getTokens() const override { return tile.tokens; }
  int64_t getLeastTokens() const override { return tile.getLeastTokens(); }
  bool unpacksOnce() const override { return true; }
  std::pair<Value, Value> getTokens(Value first, Value end) const override;
  bool hold(ArrayRef<unsigned> numbers) const override {
    return llvm::all_of(numbers, [&](unsigned i) { return !!weights[i]; });
  }
  void emitWeight(unsigned weight, Value first) override {
    weights[weight]->emit(b, first);
  }
  Value emitTile(unsigned weight, const TokenTile &tokens,
                 const Segments &segments) override;

private:
  ExpandedTiles(TileBuilder &b, const ProductOperands &operands,
                MatrixTile tile);
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

#endif // LUMEN_PASSES_TILE_PRODUCT_EXPANDEDTILES_H

// SPDX-License-Identifier: Apache-2.0
//
// Tiles by a warp's instruction for small matrices.
#ifndef LUMEN_PASSES_TILE_PRODUCT_FRAGMENTTILES_H
#define LUMEN_PASSES_TILE_PRODUCT_FRAGMENTTILES_H

#include "passes/tile/product/FragmentProduct.h"
#include "passes/tile/product/MatrixTiles.h"

namespace mlir::lumen {

class FragmentTiles final : public MatrixTiles {
public:
  static std::unique_ptr<FragmentTiles> create(TileBuilder &b,
                                               const ProductOperands &operands,
                                               ArrayRef<ProductSink> sinks,
                                               TargetAttr target);

  int64_t getRows() const override { return rows; }
  int64_t getTokens() const override { return tokens; }
  int64_t getLeastTokens() const override { return mma.getTokens(); }
  bool unpacksOnce() const override { return false; }
  std::pair<Value, Value> getTokens(Value first, Value end) const override;
  bool hold(ArrayRef<unsigned> numbers) const override {
    return llvm::all_of(numbers,
                        [&](unsigned i) { return !!weights[i].weight; });
  }
  void emitWeight(unsigned weight, Value first) override {
    weights[weight].tile = first;
  }
  Value emitTile(unsigned weight, const TokenTile &tokens,
                 const Segments &segments) override;

private:
  FragmentTiles(TileBuilder &b, const ProductOperands &operands, DotAttr mma,
                int64_t rows, int64_t tokens)
      : b(b), operands(operands), mma(mma), rows(rows), tokens(tokens) {}

  void allocateRooms(ArrayRef<ProductSink> sinks);

  struct Weight {
    /// Null where that is not possible.
    std::unique_ptr<FragmentWeight> weight;
    /// At hand.
    Value tile;
    /// For the results of a tile, which other lanes store: [token][row].
    /// Weights that do not meet in one result share it.
    Value room;
  };

  TileBuilder &b;
  const ProductOperands &operands;
  DotAttr mma;
  int64_t rows, tokens;
  std::unique_ptr<FragmentActivations> activations;
  SmallVector<Weight> weights;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_FRAGMENTTILES_H

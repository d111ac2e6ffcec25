// SPDX-License-Identifier: Apache-2.0
//
// The tiles of a product kernel that a target computes by instructions for
// small matrices: those of many tokens.
#ifndef LUMEN_PASSES_TILE_PRODUCT_MATRIXTILES_H
#define LUMEN_PASSES_TILE_PRODUCT_MATRIXTILES_H

#include "passes/tile/product/ProductEpilogue.h"
#include "passes/tile/product/ProductOperands.h"

namespace mlir::lumen {

class MatrixTiles {
public:
  virtual ~MatrixTiles() = default;

  /// What those of the products behind `sinks` need in front of the loops;
  /// `mostBytes` of room for a weight. Null where there is none.
  static std::unique_ptr<MatrixTiles>
  create(TileBuilder &b, const ProductOperands &operands,
         ArrayRef<ProductSink> sinks, TargetAttr target, int64_t mostBytes);

  /// Of a register tile.
  virtual int64_t getRows() const = 0;
  virtual int64_t getTokens() const = 0;
  /// Tokens of the smallest tiles.
  virtual int64_t getLeastTokens() const = 0;
  /// Whether a weight is unpacked once for a block of tokens, and not for each
  /// tile.
  virtual bool unpacksOnce() const = 0;
  /// The token rows from `first` to `end` that are computed this way, whole
  /// tiles of the smallest size: the first of them, and the one behind the
  /// last.
  virtual std::pair<Value, Value> getTokens(Value first, Value end) const = 0;
  /// Whether all of these weights are computed this way.
  virtual bool hold(ArrayRef<unsigned> numbers) const = 0;
  /// What tiles of weight `weight` need that have the rows from the first one
  /// of its tile `first` on.
  virtual void emitWeight(unsigned weight, Value first) = 0;
  /// The product with those rows of at most as many tokens as a tile has,
  /// whole smallest tiles: a register tile, or a slice of a buffer.
  virtual Value emitTile(unsigned weight, const TokenTile &tokens,
                         const Segments &segments) = 0;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_MATRIXTILES_H

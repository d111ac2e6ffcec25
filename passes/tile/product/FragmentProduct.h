// SPDX-License-Identifier: Apache-2.0
//
// A register tile of a product by a warp's instruction for small matrices.
// Floats meet in the order in which they do in other tiles, so that a token has
// the same result in all.
#ifndef LUMEN_PASSES_TILE_PRODUCT_FRAGMENTPRODUCT_H
#define LUMEN_PASSES_TILE_PRODUCT_FRAGMENTPRODUCT_H

#include "passes/tile/product/FragmentWeight.h"

namespace mlir::lumen {

/// The activations of a product as the lanes of a warp take them.
class FragmentActivations {
public:
  FragmentActivations(TileBuilder &b, const ProductOperands &operands);

  /// The codes of columns number `chunk` of a span, as many as the instruction
  /// takes, of its tokens from `token` on: a vector [n][k].
  Value loadCodes(const FragmentTile &tile, Value token, Value span,
                  int64_t chunk) const;
  /// Number `column` of the scales or sums of these tokens, as matrices of f32.
  Value loadScales(const FragmentTile &tile, Value token, Value column) const;
  Value loadSums(const FragmentTile &tile, Value token, Value column) const;

private:
  /// A buffer of rows, by its type of elements, and how many a row has.
  struct Rows {
    Value flat;
    int64_t columns;
  };
  Rows view(unsigned activation) const;
  Rows viewCodes(unsigned bytes) const;
  Value load(const FragmentTile &tile, Rows rows, Value token,
             Value column) const;

  TileBuilder &b;
  const ProductOperands &operands;
  /// Codes in pairs of words and in words.
  Rows pairs, words, scales, sums;
};

class FragmentProduct {
public:
  /// For a tile of `tokens` tokens, at most as many as `weight` is for.
  FragmentProduct(TileBuilder &b, const ProductOperands &operands,
                  const FragmentActivations &activations,
                  const FragmentWeight &weight, const TokenTile &tokens);

  /// Stores the results of tile `number` of the weight in `room`, [token][row].
  void emit(Value number, Value room, const Segments &segments);

private:
  /// Of a tile, [token part][row part].
  using Matrices = SmallVector<Value>;
  /// `update(number, value)` gives the next value of each matrix.
  using Update = function_ref<Value(int64_t, Value)>;

  int64_t getNumber(int64_t part, int64_t row) const {
    return part * tile.getRowParts() + row;
  }
  VectorType getType(Type element) const {
    return VectorType::get(tile.getSize(), element);
  }
  Matrices repeat(Value matrix) const {
    return Matrices(tile.getTokenParts() * tile.getRowParts(), matrix);
  }
  Matrices zeros(Type element) const {
    return repeat(b.zero(getType(element)));
  }
  Value placeTokens(int64_t part) const {
    return b.add(tokens.first, part * tile.shape.getTokens());
  }
  /// What `body(i, matrices)` makes of `initial` in `count` rounds.
  Matrices carry(int64_t count, Matrices initial,
                 function_ref<Matrices(Value, Matrices)> body);

  /// The blocks of tile `number` from `first` to `end`.
  Matrices emitBlocks(Value number, Value first, Value end);
  /// Stores results, added to those that are there where `adds` says so (null
  /// for never).
  void store(const Matrices &results, Value room, Value adds);
  /// The spans behind one scale of the activations, added to `acc`.
  Matrices emitGroup(const SpanPosition &at, Matrices acc);
  /// Those spans without integer minima, in f32, where they are several.
  Matrices emitSpans(const SpanPosition &at);
  /// One span added to `partial`, which is empty for 0. `finish` gets each
  /// matrix (token part, row part).
  void emitSpan(const SpanPosition &at, Matrices partial,
                function_ref<void(int64_t, int64_t, Value)> finish);
  /// The integer sums of a span, added to `sums`.
  Matrices addProducts(const SpanPosition &at, Matrices sums);
  /// `partial` without integer minima.
  Matrices subtractMinima(const SpanPosition &at, Matrices partial);
  /// Each of `sums` times the float of the block of `factor`.
  void scaleByBlock(const SpanPosition &at, OperandRange factor,
                    Matrices &sums);

  TileBuilder &b;
  const ProductOperands &operands;
  const FragmentActivations &activations;
  const FragmentWeight &weight;
  FragmentTile tile;
  TokenTile tokens;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_FRAGMENTPRODUCT_H

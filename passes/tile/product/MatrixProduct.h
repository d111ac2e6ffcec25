// SPDX-License-Identifier: Apache-2.0
//
// A register tile of a product by instructions for small matrices, from
// arranged activations and an expanded weight. Floats meet in the order in
// which they do in other tiles, so that a token has the same result in all.
#ifndef LUMEN_PASSES_TILE_PRODUCT_MATRIXPRODUCT_H
#define LUMEN_PASSES_TILE_PRODUCT_MATRIXPRODUCT_H

#include "passes/tile/product/ArrangedActivations.h"
#include "passes/tile/product/ExpandedWeight.h"

#include <map>

namespace mlir::lumen {

class MatrixProduct {
public:
  /// `room`: for the sums of an instruction, where no vector holds them.
  MatrixProduct(TileBuilder &b, const ProductOperands &operands,
                const ArrangedActivations &activations,
                const ExpandedWeight &weight, const MatrixTile &tile,
                Value room)
      : b(b), operands(operands), activations(activations), weight(weight),
        tile(tile), room(room) {}

  /// Stores the results of a tile of tokens, which begins with `token`, a
  /// multiple of m, in `into`, a buffer [token][row].
  void emit(Value token, Value into);

private:
  /// The vectors of those row parts of a tile that are computed at once,
  /// [token part][row part].
  using Matrices = SmallVector<Value>;
  /// Where a span is. `block` is null where blocks have no factors.
  struct Position {
    Value block, span;
  };

  /// The row parts from `firstRowPart` on.
  void emitRowParts(Value into);
  Matrices repeat(Value matrix) const;
  /// Zeros in f32.
  Matrices zeros() const;
  /// `sum` in all lanes, in i32.
  Matrices start(int64_t sum) const;
  /// What `body(i, matrices)` makes of `initial` in `count` rounds.
  Matrices carry(int64_t count, Matrices initial,
                 function_ref<Matrices(Value, ValueRange)> body);
  int64_t getNumber(int64_t tokenPart, int64_t rowPart) const {
    return tokenPart * tile.getRowPartsAtOnce() + rowPart;
  }

  /// The spans behind one scale of the activations, added to `acc`.
  Matrices emitGroup(const Position &at, Matrices acc);
  /// Those spans without integer minima, in f32, where they are several.
  Matrices emitSpans(const Position &at);
  /// One span added to `partial`, in f32, or in i32 where integers are
  /// multiplied.
  /// `finish` gets the matrices (token part, row part) one by one. An empty
  /// `partial` counts as 0.
  using Finish = function_ref<void(int64_t, int64_t, Value)>;
  void emitSpan(const Position &at, Matrices partial, Finish finish);
  /// The integer sums, added to `first`, of group `group` of the 2^groupBits
  /// groups of each of `spans`.
  Matrices emitSums(ArrayRef<Value> spans, int64_t group, unsigned groupBits,
                    int64_t first);
  /// Adds those of a span to `sums`.
  void addProducts(Value span, int64_t group, unsigned groupBits,
                   Matrices &sums);
  /// Where codes of the rows at hand begin that are number `number` of those of
  /// `columns` columns.
  Value placeRows(Value number, int64_t columns);
  /// The codes that an instruction takes: chunk `chunk` behind `first`, of a
  /// row part and of a block of m tokens.
  Value loadRowCodes(Value first, int64_t chunk, int64_t part);
  Value loadTokenCodes(Value first, int64_t chunk, int64_t block);
  /// Where an instruction takes a single token: the codes of `token` for it and
  /// the ones behind it, as many as those of a row part.
  Value loadSteps(Value first, int64_t chunk, int64_t token);

  /// The minima of a span where they are floats.
  class FloatMinima {
  public:
    FloatMinima(MatrixProduct &product, Value span)
        : product(product), span(span) {}
    /// `value`, a matrix of the tile, without them.
    Value subtractFrom(Value value, int64_t part, int64_t row);

  private:
    MatrixProduct &product;
    Value span;
    // By sum of the activations, and by that and token part.
    std::map<int64_t, SmallVector<Value>> minima;
    std::map<std::pair<int64_t, int64_t>, Value> sums;
  };
  /// The sums of the activations times integer minima behind one scale of the
  /// activations: in f32, where they are exact, or in i32 by the instruction.
  Matrices addMinima(const Position &at);
  Matrices addMinimumCodes(const Position &at);
  Matrices emitIntegerMinima(const Position &at, Matrices partial);

  /// The factors of the row parts, number `number` of `from`.
  SmallVector<Value> loadAllRows(Value from, Value number);
  /// The numbers of token part `tokenPart` in column `column` of `columns`.
  Value loadTokens(Value from, Value column, int64_t columns,
                   int64_t tokenPart);
  int64_t getSpans() const { return weight.source.getColumns() / kSpan; }

  TileBuilder &b;
  const ProductOperands &operands;
  const ArrangedActivations &activations;
  const ExpandedWeight &weight;
  MatrixTile tile;
  Value room;
  Value firstBlock;   // of m tokens
  Value firstPart;    // of tokens
  Value firstRowPart; // null for the first
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_MATRIXPRODUCT_H

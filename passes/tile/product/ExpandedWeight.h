// SPDX-License-Identifier: Apache-2.0
//
// Some rows of a weight as an instruction for small matrices takes them: codes
// as signed bytes, factors in f32 spread over the lanes of its sums. Unpacking
// is done once for a block of tokens instead of once for every register tile.
#ifndef LUMEN_PASSES_TILE_PRODUCT_EXPANDEDWEIGHT_H
#define LUMEN_PASSES_TILE_PRODUCT_EXPANDEDWEIGHT_H

#include "passes/tile/product/MatrixTile.h"
#include "passes/tile/product/ProductOperands.h"

namespace mlir::lumen {

/// What turns the integer sums of a weight into its product.
struct MatrixFactors {
  MatrixFactors(const ProductOperands &operands, const PackedWeight &weight);

  /// One scale serves all integer sums behind a scale of the activations.
  bool hasIntegerSums;
  /// The scales of groups are integers, and so are sums scaled by them, up to a
  /// scale of the activations.
  bool hasIntegerScales;
  /// The same for minima.
  bool hasIntegerMinima;
  bool hasMin;

  /// Whether all that stands behind one scale of the activations is an integer,
  /// which then meets the float of the block.
  bool isInteger() const { return hasIntegerSums || hasIntegerScales; }
};

class ExpandedWeight {
public:
  /// Whether tile's instruction computes the products of `weight` exactly, in
  /// at most `mostBytes` of room.
  static bool isPossible(const ProductOperands &operands,
                         const PackedWeight &weight, const MatrixTile &tile,
                         int64_t mostBytes);

  /// Room for the rows of a tile of `source`, which are one or several of its
  /// own tiles.
  ExpandedWeight(TileBuilder &b, const ProductOperands &operands,
                 const PackedWeight &source, const MatrixTile &tile);

  /// Fills the room with the rows from the first one of tile `first` of the
  /// source on.
  void emit(TileBuilder &b, Value first) const;

  // What the room holds, as buffers of one dimension; null where there is none.
  // Codes are [span][chunk][row part][n][k], factors [.][row part][m][n].
  Value codes;
  /// Of [span][group], in i32 where these are integers, and of [span][sum of
  /// the activations].
  Value scales, minima;
  /// Of [block].
  Value blockScales, blockMinima;

  const PackedWeight &source;
  MatrixFactors factors;

private:
  using Body = function_ref<Value(KernelBuilder &, const FactorOperands &,
                                  FactorDims, ValueRange)>;

  void emitCodes(TileBuilder &b, const SpanPosition &at,
                 int64_t firstRow) const;
  /// The factors of the groups of a span, or those of a block (`ofBlock`), into
  /// number `number` of `into`, by way of `rows`.
  void emitFactors(TileBuilder &b, const SpanPosition &at, int64_t firstRow,
                   bool ofBlock, Value number, Value rows, Value into,
                   Body body) const;

  MatrixTile tile;
  /// Factors before they are spread: of a block [row of `source`], of a span
  /// [bits of the group…][row].
  Value blockRows, scaleRows, minRows;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_EXPANDEDWEIGHT_H

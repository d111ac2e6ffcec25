// SPDX-License-Identifier: Apache-2.0
//
// Some rows of a weight as an instruction for small matrices takes them: codes
// as signed bytes, factors spread over the lanes of its sums. Unpacking is done
// once for a block of tokens instead of once for every register tile. So is
// what several codes or groups have in common: where the integers of scales
// times codes fit a byte, they are multiplied, and small minima are codes too.
#ifndef LUMEN_PASSES_TILE_PRODUCT_EXPANDEDWEIGHT_H
#define LUMEN_PASSES_TILE_PRODUCT_EXPANDEDWEIGHT_H

#include "passes/tile/product/MatrixTile.h"
#include "passes/tile/product/ProductOperands.h"

namespace mlir::lumen {

/// What turns the integer sums of a weight into its product.
struct MatrixFactors {
  MatrixFactors(const ProductOperands &operands, const PackedWeight &weight,
                const MatrixTile &tile);

  /// What the integers of scales are multiplied into codes with, 1 or -1, whose
  /// products fit a signed byte; 0 where they stay apart.
  int64_t codeSign;
  /// One scale serves all integer sums behind a scale of the activations.
  bool hasIntegerSums;
  /// The scales of groups are integers, and so are sums scaled by them, up to a
  /// scale of the activations.
  bool hasIntegerScales;
  /// These meet in i32; otherwise in f32, where they are exact.
  bool multipliesIntegers;
  /// The same for minima.
  bool hasIntegerMinima;
  /// These are codes of their own, which meet the activations' sums.
  bool hasMinimumCodes;
  bool hasMin;
  /// The first sums of a span meet their scale as the floats that they began
  /// as: see ProductOperands::emitExcess.
  bool hasExcess;

  /// Whether all that stands behind one scale of the activations is an integer,
  /// which then meets the float of the block.
  bool isInteger() const { return hasIntegerSums || hasIntegerScales; }
  /// How many sets of sums of a register tile have to be in registers at once:
  /// those of products alone where a span of `weight` takes few instructions
  /// behind these, at most one for each of the sums.
  int64_t countSets(const ProductOperands &operands,
                    const PackedWeight &weight) const;
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
  // Codes are [span][chunk][row part][k / step][n][step], factors
  // [.][row part][height][n].
  Value codes;
  /// Of [span][group], in i32 where these are integers, and of [span][sum of
  /// the activations].
  Value scales, minima;
  /// Of [span]: what the scales of its first group make too much.
  Value excess;
  /// Codes of minima, [chunk of sums of the activations][row part][n][k].
  Value minimumCodes;
  /// Of [block].
  Value blockScales, blockMinima;

  const PackedWeight &source;
  MatrixFactors factors;

private:
  using Body = function_ref<Value(KernelBuilder &, const FactorOperands &,
                                  FactorDims, ValueRange)>;

  void emitCodes(TileBuilder &b, const SpanPosition &at,
                 int64_t firstRow) const;
  /// What the codes of each group of a span, four a row, are multiplied by.
  SmallVector<Value> loadCodeScales(TileBuilder &b) const;
  /// The minima of a span, which is number `number` of its block, from
  /// `minRows` to `minimumRows`.
  void keepMinima(TileBuilder &b, Value number) const;
  /// The minima of the block that begins at `firstSpan`, from `minimumRows`.
  void emitMinimumCodes(TileBuilder &b, Value firstSpan,
                        int64_t firstRow) const;
  /// The factors of the groups of a span, or those of a block (`ofBlock`), in
  /// `rows`.
  void emitRows(TileBuilder &b, const SpanPosition &at, bool ofBlock,
                Value rows, Body body) const;
  /// Those in `rows` into number `number` of `into`.
  void spreadRows(TileBuilder &b, Value rows, int64_t firstRow, Value number,
                  Value into) const;
  /// What the first of the scales in `scaleRows`, those of a span, make too
  /// much.
  void spreadExcess(TileBuilder &b, int64_t firstRow, Value span) const;
  /// The factors of n rows in the lanes from number `first` of `into` on.
  void storeRows(TileBuilder &b, Value factors, Value into, Value first) const;

  MatrixTile tile;
  /// Factors before they are spread: of a block [row of `source`], of a span
  /// [bits of the group…][row].
  Value blockRows, scaleRows, minRows;
  /// Minima of a block as codes, [sum of the activations][row].
  Value minimumRows;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_EXPANDEDWEIGHT_H

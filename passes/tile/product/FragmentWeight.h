// SPDX-License-Identifier: Apache-2.0
//
// A packed weight as an instruction for small matrices takes it from the lanes
// of a warp. Its codes are unpacked where they are loaded, so they need no
// memory in between. Its factors are computed once for each row, by the lane of
// that row.
#ifndef LUMEN_PASSES_TILE_PRODUCT_FRAGMENTWEIGHT_H
#define LUMEN_PASSES_TILE_PRODUCT_FRAGMENTWEIGHT_H

#include "passes/tile/product/FragmentTile.h"
#include "passes/tile/product/ProductOperands.h"

#include <map>

namespace mlir::lumen {

class FragmentWeight {
public:
  /// Whether `mma` multiplies the codes of `weight` exactly.
  static bool isPossible(const ProductOperands &operands,
                         const PackedWeight &weight, DotAttr mma);

  /// For tiles of `tokens` tokens, in front of the loops.
  FragmentWeight(TileBuilder &b, const ProductOperands &operands,
                 const PackedWeight &source, DotAttr mma, int64_t tokens);

  /// The codes of columns number `chunk` of a span, as many as the instruction
  /// takes, as signed bytes: for each row part a vector [m][k].
  SmallVector<Value> emitCodes(const SpanPosition &at, int64_t chunk) const;

  // Factors of all rows, by lane.
  /// By group of the span: integers in i32 where the sums behind a scale of the
  /// activations are integers.
  SmallVector<Value> emitScales(const SpanPosition &at) const;
  /// In f32, by sum of the activations of the span.
  SmallVector<Value> emitMinima(const SpanPosition &at) const;
  /// What all columns of a block share of `factor`.
  Value emitOfBlock(const SpanPosition &at, OperandRange factor) const;
  /// Such factors as matrices, for each row part.
  SmallVector<Value> spread(Value factors) const;

  const PackedWeight &source;
  FragmentTile tile;
  /// One scale serves all integer sums behind a scale of the activations.
  bool hasIntegerSums;
  /// Scales are integers, and so are sums scaled by them, up to a scale of the
  /// activations.
  bool hasIntegerScales;
  /// The same for minima.
  bool hasIntegerMinima;

private:
  using Body = function_ref<Value(KernelBuilder &, const FactorOperands &,
                                  FactorDims, ValueRange)>;
  /// What `body` makes of factors, by lane: of the 2^bits groups of a span, or
  /// of the block.
  SmallVector<Value> emitRows(const SpanPosition &at, unsigned bits,
                              bool ofBlock, Type element, Body body) const;
  /// Words of the loads of a code plane that lanes want: by plane and place of
  /// the load for each quarter.
  using Loads = std::map<std::pair<unsigned, SmallVector<int64_t>>, Value>;
  /// Four codes, step `step` of the lane in `chunk`, of all rows: words
  /// [group][quarter][row of the group].
  Value emitStep(Value unit, int64_t chunk, int64_t step, Loads &loads) const;
  /// The values of codes in words, as signed bytes.
  Value emitValues(Value words) const;

  TileBuilder &b;
  const ProductOperands &operands;
  SmallVector<PackedComponent> planes;
  /// The stream of codes, as what a lane loads at once.
  Value units;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_FRAGMENTWEIGHT_H

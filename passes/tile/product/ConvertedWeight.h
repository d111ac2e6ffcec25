// SPDX-License-Identifier: Apache-2.0
//
// A tile of rows of a weight as f32, for products of many tokens with
// activations in f32: it is converted, or unpacked, once instead of once for
// every register tile. The values are those that other tiles compute.
#ifndef LUMEN_PASSES_TILE_PRODUCT_CONVERTEDWEIGHT_H
#define LUMEN_PASSES_TILE_PRODUCT_CONVERTEDWEIGHT_H

#include "passes/tile/product/PreparedWeight.h"

namespace mlir::lumen {

class ConvertedWeight final : public PreparedWeight {
public:
  /// Whether there is anything to convert, and all values lie in whole steps.
  static bool isPossible(const PackedWeight &weight);

  /// Room for a tile of `source`.
  ConvertedWeight(TileBuilder &b, const PackedWeight &source);

  void emit(TileBuilder &b, Value number) const override;

private:
  void emitFloats(TileBuilder &b, Value tile) const;
  void emitPairs(TileBuilder &b, Value tile) const;
  void emitSpan(TileBuilder &b, const SpanPosition &at) const;
  /// What `body` gives for the groups of a span, in `rows`.
  void emitRows(TileBuilder &b, const SpanPosition &at, Value rows,
                function_ref<Value(KernelBuilder &, const FactorOperands &,
                                   FactorDims, ValueRange)>
                    body) const;
  /// The values of a column.
  void store(TileBuilder &b, Value values, Value column) const;

  /// Factors of the groups of a span, [bits of the group…][row]; null where
  /// there are none.
  Value scales, minima;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_CONVERTEDWEIGHT_H

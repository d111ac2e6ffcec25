// SPDX-License-Identifier: Apache-2.0
//
// Some rows of a weight with the integers of its scales multiplied into its
// codes. Where the products fit a byte, one scale is left for a whole block,
// and sums of products need not be converted and scaled group by group. That
// is work for every code, so it pays with many tokens only.
#ifndef LUMEN_PASSES_TILE_PRODUCT_SCALEDWEIGHT_H
#define LUMEN_PASSES_TILE_PRODUCT_SCALEDWEIGHT_H

#include "passes/tile/product/PreparedWeight.h"

namespace mlir::lumen {

class ScaledWeight final : public PreparedWeight {
public:
  /// Whether the products of codes and integers of `weight` fit a byte.
  static bool isPossible(const PackedWeight &weight);

  /// Room for `rows` rows of `source`, which are several of its tiles: 8-bit
  /// codes of a format of its own, with a scale for every block.
  ScaledWeight(TileBuilder &b, const PackedWeight &source, int64_t rows);

  void emit(TileBuilder &b, Value number) const override;

private:
  void emitBlockScale(TileBuilder &b, const SpanPosition &at,
                      int64_t firstRow) const;
  void emitCodes(TileBuilder &b, const SpanPosition &at,
                 int64_t firstRow) const;

  /// Of the groups of a span: [bits of the group…][row].
  Value integers;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_SCALEDWEIGHT_H

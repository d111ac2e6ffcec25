// SPDX-License-Identifier: Apache-2.0
//
// Some rows of a weight as products of many tokens take them: prepared once, in
// memory of a worker's own.
#ifndef LUMEN_PASSES_TILE_PRODUCT_PREPAREDWEIGHT_H
#define LUMEN_PASSES_TILE_PRODUCT_PREPAREDWEIGHT_H

#include "passes/tile/product/PackedWeight.h"

namespace mlir::lumen {

class PreparedWeight {
public:
  virtual ~PreparedWeight() = default;

  /// Fills the room with the rows that begin at `number` times as many as it
  /// holds.
  virtual void emit(TileBuilder &b, Value number) const = 0;

  /// What the room holds: a weight of one tile.
  const PackedWeight &getPacked() const { return packed; }

protected:
  /// Room for a weight of elements `element`, with k columns in a step.
  PreparedWeight(TileBuilder &b, const PackedWeight &source, int64_t rows,
                 Type element, int64_t k);

  PackedWeight source, packed;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_PREPAREDWEIGHT_H

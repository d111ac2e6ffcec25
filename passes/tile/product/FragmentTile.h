// SPDX-License-Identifier: Apache-2.0
//
// The register tile that a warp computes by an instruction for small matrices
// with weights on the left. Where a matrix of m rows of a weight and n tokens
// is a vector, [m][n], each lane has what the instruction takes from it.
//
// Any order of rows does, if it is the same for their codes, scales and
// results. So row `row` of part `part` is one of those that follow each other
// in a load of a lane: lane l has rows of group l / 4, and of these codes
// number l % 4.
#ifndef LUMEN_PASSES_TILE_PRODUCT_FRAGMENTTILE_H
#define LUMEN_PASSES_TILE_PRODUCT_FRAGMENTTILE_H

#include "dialect/LumenDialect.h"
#include "dialect/layout/FormatLayout.h"

namespace mlir::lumen {

struct FragmentTile {
  /// With as many codes as one group has.
  DotAttr shape;
  int64_t rows, tokens;

  /// Lanes that have codes of a row, and groups of rows.
  static constexpr int64_t kQuarters = 4, kGroups = 8;

  int64_t getRowParts() const { return rows / shape.getRows(); }
  int64_t getTokenParts() const { return tokens / shape.getTokens(); }
  /// Elements of a matrix.
  int64_t getSize() const { return shape.getRows() * shape.getTokens(); }
  /// Rows of a group, which a lane loads at once.
  int64_t getTogether() const { return rows / kGroups; }
  /// Which row of the tile row `row` of part `part` is.
  int64_t getRow(int64_t part, int64_t row) const {
    int64_t ofPart = shape.getRows() / kGroups;
    return row % kGroups * getTogether() + part * ofPart + row / kGroups;
  }
  /// Steps of codes that a lane has of a row.
  int64_t getSteps() const { return shape.getK() / (kQuarters * kDotStep); }
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_FRAGMENTTILE_H

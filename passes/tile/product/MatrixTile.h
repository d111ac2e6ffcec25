// SPDX-License-Identifier: Apache-2.0
//
// The register tile that a target's instruction for small matrices computes.
// Its vectors are matrices: [tokens / m][rows / n] of them, each with the sums
// of m tokens and n rows, [m][n].
#ifndef LUMEN_PASSES_TILE_PRODUCT_MATRIXTILE_H
#define LUMEN_PASSES_TILE_PRODUCT_MATRIXTILE_H

#include "dialect/LumenDialect.h"
#include "dialect/layout/FormatLayout.h"

namespace mlir::lumen {

struct MatrixTile {
  DotAttr shape;
  int64_t rows, tokens;

  /// Of the target's `mma`, which it must have.
  explicit MatrixTile(TargetAttr target)
      : shape(target.getMma()), rows(target.getRows()),
        tokens(target.getMmaTokens()) {}

  /// Tokens and rows of an instruction, and how many codes of each it takes.
  int64_t getM() const { return shape.getM(); }
  int64_t getN() const { return shape.getN(); }
  int64_t getK() const { return shape.getK(); }
  /// Sums of an instruction.
  int64_t getLanes() const { return getM() * getN(); }
  /// Matrices of a tile, side by side.
  int64_t getTokenParts() const { return tokens / getM(); }
  int64_t getRowParts() const { return rows / getN(); }
  /// Instructions that a span takes one after the other.
  int64_t getChunks() const { return kSpan / getK(); }
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_MATRIXTILE_H

// SPDX-License-Identifier: Apache-2.0
//
// The register tile that a target's instruction for small matrices computes:
// its vectors are [tokens / height][rows / n], each with the sums of some
// tokens and n rows, [height][n]. The sums of an instruction are one vector, or
// several where tokens that it takes are more than a vector has.
#ifndef LUMEN_PASSES_TILE_PRODUCT_MATRIXTILE_H
#define LUMEN_PASSES_TILE_PRODUCT_MATRIXTILE_H

#include "dialect/LumenDialect.h"
#include "dialect/layout/FormatLayout.h"

#include "llvm/ADT/bit.h"

namespace mlir::lumen {

struct MatrixTile {
  DotAttr shape;
  int64_t rows, tokens;
  /// Whether other tiles add products of pairs of sums and scales up in
  /// integers.
  bool addsPairs;
  /// Whether an instruction multiplies and adds floats with one rounding.
  bool fma;

  /// Of the target's `mma`, which it must have.
  explicit MatrixTile(TargetAttr target)
      : shape(target.getMma()), rows(target.getRows()),
        tokens(target.getMmaTokens()), addsPairs(target.addsPairs()),
        fma(target.getFma()), lanes(target.getLanes()),
        sums(target.getVectorRegisters() / 2 * lanes) {}

  /// Takes fewer codes at a time, if the instruction can do so, where groups
  /// have `codes`.
  void fit(int64_t codes) {
    if (shape.getStepSize() < getK() && codes >= kFewestCodes && codes < getK())
      shape = shape.withK(codes);
  }

  /// Takes fewer tokens where registers do not hold `sets` sets of the sums of
  /// all, if there are several, beside the codes of rows and of a token part,
  /// or of all where these are single tokens.
  void holdSets(int64_t sets) {
    if (sets == 1 || getVectors() > 1)
      return;
    int64_t left = 2 * sums / lanes - getRowParts(),
            most = getM() == 1
                       ? left / (sets * getRowParts() + 1)
                       : (left - 1) / (sets * getRowParts()) * getHeight();
    tokens = std::clamp<int64_t>(most - most % getM(), getM(), tokens);
  }

  /// Tokens and rows of an instruction, and how many codes of each it takes.
  int64_t getM() const { return shape.getM(); }
  int64_t getN() const { return shape.getN(); }
  int64_t getK() const { return shape.getK(); }
  /// Tokens of the smallest tiles: an instruction for single tokens has no
  /// advantage in them.
  int64_t getLeastTokens() const { return getM() > 1 ? getM() : tokens; }
  /// Sums of a vector, and tokens of these.
  int64_t getLanes() const { return lanes; }
  int64_t getHeight() const { return lanes / getN(); }
  /// Vectors of the sums of an instruction.
  int64_t getVectors() const { return getM() / getHeight(); }
  /// Vectors of a tile, side by side.
  int64_t getTokenParts() const { return tokens / getHeight(); }
  int64_t getRowParts() const { return rows / getN(); }
  /// Row parts whose sums half of the registers hold for all tokens.
  int64_t getRowPartsAtOnce() const {
    uint64_t parts = std::max<int64_t>(1, sums / (tokens * getN()));
    return std::min<int64_t>(getRowParts(), llvm::bit_floor(parts));
  }
  /// Numbers of a factor of tokens in memory for a vector: spread over its
  /// lanes, unless one serves them all.
  int64_t getTokenLanes() const { return getHeight() > 1 ? lanes : 1; }
  /// Instructions that a span takes one after the other.
  int64_t getChunks() const { return kSpan / getK(); }

private:
  /// With fewer, an instruction does no more than some of dot products.
  static constexpr int64_t kFewestCodes = 16;

  int64_t lanes;
  int64_t sums; // of half of the registers
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_MATRIXTILE_H

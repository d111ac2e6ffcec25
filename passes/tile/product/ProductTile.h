// SPDX-License-Identifier: Apache-2.0
//
// The product of one register tile, as linalg on packed tensors: what meets in
// the registers of a few tokens and the rows of a tile. Everything follows from
// the components of the packed layout and the attributes of the format; no
// format is known by name.
#ifndef LUMEN_PASSES_TILE_PRODUCT_PRODUCTTILE_H
#define LUMEN_PASSES_TILE_PRODUCT_PRODUCTTILE_H

#include "passes/tile/product/PackedWeight.h"

namespace mlir::lumen {

class ProductTile {
public:
  /// `signedCodes`: what 8-bit codes meet the target's instructions as;
  /// `addsPairs`: whether it has one for pairs of 16-bit products.
  ProductTile(TileBuilder &b, QLinearOp product, bool signedCodes,
              bool addsPairs)
      : b(b), product(product), signedCodes(signedCodes), addsPairs(addsPairs) {
  }

  /// Views weights and activations, in front of the loops. Fails, with an error
  /// of the product, where they do not fit together.
  LogicalResult viewOperands();

  ArrayRef<PackedWeight> getWeights() const { return weights; }
  /// Whether the scales are integers times a float of the block, and sums of
  /// products with both so small that they are exact in f32.
  bool hasIntegerScales(const PackedWeight &weight);
  /// The rows of the activations.
  Value getTokens() const { return tokens; }
  /// memref<TxC> seen as memref<(T*S)x(C/S)>, for S slots.
  Value splitSlots(Value memref);
  /// tokens x rows results of one tile, in registers: `tokens` of them from
  /// `token` on, with the rows of tile `tile` of the weight.
  Value emitProduct(const PackedWeight &weight, int64_t tokens, Value token,
                    Value tile);

private:
  void viewActivations();
  Value emitGroup(const PackedWeight &weight, int64_t tokens, Value token,
                  SpanPosition at, Value acc);
  Value emitIntegerSums(const PackedWeight &weight, int64_t tokens, Value token,
                        const SpanPosition &at, Value initial = nullptr);
  Value emitSpan(const PackedWeight &weight, int64_t tokens, Value token,
                 const SpanPosition &at, Value partial);
  Value emitPairedSpan(const PackedWeight &weight, int64_t tokens, Value token,
                       const SpanPosition &at, Value sums);
  Value emitSpans(const PackedWeight &weight, int64_t tokens, Value token,
                  const SpanPosition &at);
  /// Whether the scales are integers times a float of the block, two of which
  /// meet the sums of a span, these fitting 16 bits.
  bool hasPairedScales(const PackedWeight &weight);
  /// Whether the sums behind one scale of the activations are integers: one
  /// scale serves them all.
  bool hasIntegerSums(const PackedWeight &weight);
  Value emitExactSpan(const PackedWeight &weight, int64_t tokens, Value token,
                      const SpanPosition &at, Value acc);
  Value emitFloatProduct(const PackedWeight &weight, int64_t tokens,
                         Value token, Value tile);
  /// Lets the op that makes `value` fetch what it reads of the weight ahead,
  /// where that helps. A single stream of whole bytes the hardware follows
  /// better by itself than several of different pace.
  void fetchAhead(Value value, const PackedWeight &weight, int64_t tokens);
  bool isSigned(const PackedWeight &weight) const {
    return signedCodes && weight.hasSignedBytes();
  }
  Value emitInitialSums(const PackedWeight &weight, int64_t tokens, Value token,
                        Value span);
  Value emitInitialBlockSums(const PackedWeight &weight, int64_t tokens,
                             Value token, Value span);
  /// What `emitBody` makes of its index and `initial` in `count` rounds.
  Value emitLoop(int64_t count, Value initial,
                 function_ref<Value(Value, Value)> emitBody);
  Value emitMinima(const PackedWeight &weight, int64_t tokens, Value token,
                   const SpanPosition &at, Value acc);
  Value emitIntegerMinima(const PackedWeight &weight, int64_t tokens,
                          Value token, const SpanPosition &at, Value acc);
  Value emitBlockFactor(
      const PackedWeight &weight, OperandRange factor, const SpanPosition &at,
      Value sums, Value acc,
      function_ref<Value(OpBuilder &, Location, Value, Value)> combine);
  /// Whether the minima are integers times a float of the block, and the sums
  /// of the activations pairs of 16 bits.
  bool hasIntegerMinima() const { return !!sumPairs; }
  /// memref<TxP> seen as [token][pair][2].
  Value viewPairs(Value memref);
  /// memref<TxKxE> seen as [token][span][bits…][rest] (`rest` omitted when 1).
  Value expandSpans(Value memref, unsigned bits, int64_t rest);

  TileBuilder &b;
  QLinearOp product;
  bool signedCodes, addsPairs;
  SmallVector<PackedWeight, 3> weights;
  Value tokens; // T
  // Activations as tensors: either `sums`, or `sumPairs` [token][pair][2].
  Value codes, scales, offsets, sums, sumPairs, x;
  /// As buffers: the same offsets, and room for those of a block and the tokens
  /// of a tile.
  Value flatOffsets, blockOffsets;
  unsigned sumBits = 0; // log2 of the activation sums per span
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_PRODUCTTILE_H

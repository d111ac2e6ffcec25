// SPDX-License-Identifier: Apache-2.0
//
// What meets in a product: its weights, packed, and its activations, as the
// tensors that register tiles are computed from. Everything follows from the
// components of the packed layout and the attributes of the format; no format
// is known by name.
#ifndef LUMEN_PASSES_TILE_PRODUCT_PRODUCTOPERANDS_H
#define LUMEN_PASSES_TILE_PRODUCT_PRODUCTOPERANDS_H

#include "passes/tile/product/PackedWeight.h"

namespace mlir::lumen {

/// The tokens of a register tile.
struct TokenTile {
  Value first;
  int64_t count;
};

/// Columns whose sums are computed on their own and then added up in their
/// order, so that several workers can share a tile. `count` of them have
/// `columns` each, the last one perhaps fewer.
struct Segments {
  int64_t count, columns;
};

/// The largest magnitude of the activations' codes.
inline constexpr int64_t kMostCode = 127;

class ProductOperands {
public:
  /// `target` may be null.
  ProductOperands(TileBuilder &b, QLinearOp product, TargetAttr target);

  /// Views weights and activations, in front of the loops. Fails, with an error
  /// of the product, where they do not fit together.
  LogicalResult view();

  /// memref<TxC> seen as memref<(T*S)x(C/S)>, for S slots.
  Value splitSlots(Value memref) const;

  /// Whether the scales are integers times a float of the block, and sums of
  /// products with both so small that they are exact: in f32, or in i32 where
  /// conversions are slow.
  bool hasIntegerScales(const PackedWeight &weight) const;
  /// Whether the scales are integers times a float of the block, two of which
  /// meet the sums of a span in a product of pairs: these fit 16 bits.
  bool hasPairedScales(const PackedWeight &weight) const;
  /// Whether the sums behind one scale of the activations are integers: one
  /// scale serves them all.
  bool hasIntegerSums(const PackedWeight &weight) const;
  /// Whether the sums of a weight's integer minima are exact in f32.
  bool hasExactMinima(const PackedWeight &weight) const;
  /// Whether the minima are integers times a float of the block, and the sums
  /// of the activations pairs of 16 bits.
  bool hasIntegerMinima() const { return !!sumPairs; }
  /// What the integer sums of a group begin with, where these become floats.
  /// The bits of a float (kFirstFloatSum), where it pays that sums become
  /// floats by a subtraction.
  int64_t getFirstSum() const;
  /// The integer sum of a group, or a vector of these, in f32.
  Value emitSumAsFloat(KernelBuilder &nested, Value sum) const;
  /// Whether sums begin with the bits of a float, and that float times any
  /// scale of a weight is exact: see emitExcess.
  bool hasExactExcess(const PackedWeight &weight) const;
  /// Spans behind one scale of the activations.
  int64_t getSpansOfScale() const {
    return product.getActivationGroup() / kSpan;
  }

  /// (Accessors of ops are not const.)
  mutable QLinearOp product;
  /// Whether integers become floats more slowly than floats are added.
  bool slowConversions;
  /// Columns of activations in f32 that are loaded at once, where a row of the
  /// weight has as many.
  int64_t floatColumns;
  SmallVector<PackedWeight, 3> weights;
  Value tokens; // T
  // Activations as tensors: either `sums`, or `sumPairs` [token][pair][2].
  Value codes, scales, offsets, sums, sumPairs, x;
  /// Activations in f32 as [token][column].
  Value floats;
  /// As buffers: the same offsets, and room for those of a block and the tokens
  /// of a tile.
  Value flatOffsets, blockOffsets;
  unsigned sumBits = 0; // log2 of the activation sums per span

private:
  LogicalResult verifyBuffers();
  LogicalResult viewWeights();
  void viewActivations();
  LogicalResult verifySums();
  /// memref<TxKxE> seen as [token][span][bits…][rest] (`rest` omitted when 1).
  Value expandSpans(Value memref, unsigned bits, int64_t rest);
  /// memref<TxP> seen as [token][pair][2].
  Value viewPairs(Value memref);
  /// memref<TxK> seen as [token][unit][pair][2], as weights in pairs are.
  Value viewUnitsOfPairs(Value memref);

  TileBuilder &b;
};

/// What sums begin with that become floats by emitFloatOfSum: the bits of
/// 1.5 * 2^23 in f32.
inline constexpr int32_t kFirstFloatSum = 0x4b400000;

/// A sum that began with kFirstFloatSum, or a vector of these, in f32.
Value emitFloatOfSum(KernelBuilder &b, Value sum);

/// Whether the float whose bits such a sum has, times any scale of a weight, is
/// exact: see emitExcess.
bool hasExactExcess(const PackedWeight &weight);

/// By what the product of a scale and a sum that began with the bits of a float
/// (ProductOperands::getFirstSum) is too large, negative. Where that is exact,
/// one instruction multiplies, adds it and rounds the product of the scale and
/// the sum.
Value emitExcess(KernelBuilder &b, Value scale);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_PRODUCTOPERANDS_H

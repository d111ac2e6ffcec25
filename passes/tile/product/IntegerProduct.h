// SPDX-License-Identifier: Apache-2.0
//
// Products of a quantized weight and 8-bit activations: integer sums of codes,
// which meet the scales of the weight where these are, and those of the
// activations behind them.
#ifndef LUMEN_PASSES_TILE_PRODUCT_INTEGERPRODUCT_H
#define LUMEN_PASSES_TILE_PRODUCT_INTEGERPRODUCT_H

#include "passes/tile/product/ProductOperands.h"

namespace mlir::lumen {

/// What a target's instructions for products of integers take.
struct IntegerForm {
  /// What 8-bit codes meet them as.
  bool signedCodes;
  /// Whether there is one for pairs of 16-bit products.
  bool addsPairs;
};

class IntegerProduct {
public:
  IntegerProduct(TileBuilder &b, const ProductOperands &operands,
                 const PackedWeight &weight, IntegerForm form,
                 const TokenTile &tokens)
      : b(b), operands(operands), weight(weight), form(form), tokens(tokens) {}

  /// The spans behind one scale of the activations, the first of which `at`
  /// tells, added to `acc`.
  Value emitGroup(const SpanPosition &at, Value acc);

private:
  /// Whether unsigned codes meet the instruction as signed bytes, their bias
  /// included.
  bool addsBias() const {
    return form.signedCodes && weight.hasSignedBytes() &&
           !weight.hasSignedCodes();
  }

  /// The spans behind one scale of the activations, without their minima where
  /// these are integers.
  Value emitSpans(const SpanPosition &at);
  /// One span: an integer generic, then a float one. A null `partial` counts
  /// as 0.
  Value emitSpan(const SpanPosition &at, Value partial);
  /// One span, whose integer sums meet the integers of their scales: that saves
  /// conversions of both.
  Value emitIntegerTerms(const SpanPosition &at, Value sums);
  /// One span, whose two integer sums meet the integers of their scales in a
  /// dot product.
  Value emitPairedSpan(const SpanPosition &at, Value sums);
  /// The integer sums of a span's groups, added to `initial`, or where that is
  /// null, to what emitInitialSums(span, begin) gives.
  Value emitIntegerSums(const SpanPosition &at, Value initial = nullptr,
                        int64_t begin = 0);
  /// What those of a span's groups start from, added to `begin`.
  Value emitInitialSums(Value span, int64_t begin);
  Value emitInitialBlockSums(Value span);
  Value emitMinima(const SpanPosition &at, Value acc);
  Value emitIntegerMinima(const SpanPosition &at, Value acc);
  /// What `combine` makes of `acc` and the integers `sums` (in i32 or f32)
  /// times the float of the block of `factor`.
  Value
  emitBlockFactor(OperandRange factor, const SpanPosition &at, Value sums,
                  Value acc,
                  function_ref<Value(KernelBuilder &, Value, Value)> combine);
  /// A generic on `acc`, with prefetches.
  Value emitGeneric(Value acc, ValueRange inputs, ArrayRef<AffineMap> maps,
                    unsigned dims, TileBuilder::GenericBody body);
  /// The tokens of the tile in `activations`, at `place` of them.
  Value sliceOf(Value activations, Value place) {
    return b.slice(activations, {tokens.first, place}, tokens.count);
  }
  Value zeros(Type element) {
    return b.zeros({tokens.count, weight.rows}, element);
  }

  TileBuilder &b;
  const ProductOperands &operands;
  const PackedWeight &weight;
  IntegerForm form;
  TokenTile tokens;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_INTEGERPRODUCT_H

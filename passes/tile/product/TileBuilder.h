// SPDX-License-Identifier: Apache-2.0
//
// Builds the form in which product kernels are synthesized: linalg on small
// static tensors, which are slices of buffers or register tiles.
#ifndef LUMEN_PASSES_TILE_PRODUCT_TILEBUILDER_H
#define LUMEN_PASSES_TILE_PRODUCT_TILEBUILDER_H

#include "passes/support/KernelBuilder.h"

namespace mlir::lumen {

class TileBuilder : public KernelBuilder {
public:
  using KernelBuilder::KernelBuilder;

  /// The bytes from `offset` on as `count` elements, of which element `first`
  /// is the first of a buffer of this shape and strides.
  Value view(Value bytes, int64_t offset, int64_t count, int64_t first,
             ArrayRef<int64_t> shape, ArrayRef<int64_t> strides, Type element);

  /// A buffer as a tensor.
  Value toTensor(Value memref);

  /// The slice at `position` of the leading dimensions, `tokens` of the first
  /// if it is a token; all others are dropped.
  Value slice(Value tensor, ArrayRef<OpFoldResult> position,
              int64_t tokens = 0);
  /// The slice of this shape from `position` on; a dimension of size 1 that
  /// `shape` lacks, or has as 0, is dropped.
  Value sliceOfShape(Value tensor, ArrayRef<OpFoldResult> position,
                     ArrayRef<int64_t> shape);

  /// The dimensions `results` of `dims`.
  AffineMap map(unsigned dims, ArrayRef<unsigned> results);

  /// A linalg.generic on `init`, the last of `maps`; a dimension that the
  /// result lacks is a reduction. `body` gives the next value of the result.
  using GenericBody = function_ref<Value(KernelBuilder &, ValueRange)>;
  Value generic(Value init, ValueRange inputs, ArrayRef<AffineMap> maps,
                unsigned dims, GenericBody body);

  /// A register tile of zeros.
  Value zeros(ArrayRef<int64_t> shape, Type element);

  /// The register tile that `body(i, tile)` makes of `initial` in `count`
  /// rounds.
  Value carry(int64_t count, Value initial,
              function_ref<Value(Value, Value)> body);

  /// The part of this shape of a buffer from `position` on; a dimension that
  /// `shape` has as 0 is dropped.
  Value subview(Value buffer, ArrayRef<OpFoldResult> position,
                ArrayRef<int64_t> shape);

  /// Stores a register tile where `destination`, a buffer of its shape, is.
  void storeTile(Value tile, Value destination);
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_TILEBUILDER_H

// SPDX-License-Identifier: Apache-2.0
//
// Builds the form in which product kernels are synthesized: linalg on small
// static tensors, which are slices of buffers or register tiles.
#ifndef LUMEN_PASSES_TILE_TILEBUILDER_H
#define LUMEN_PASSES_TILE_TILEBUILDER_H

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::lumen {

class TileBuilder : public ImplicitLocOpBuilder {
public:
  using ImplicitLocOpBuilder::ImplicitLocOpBuilder;

  Value index(int64_t value);

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

  /// The dimensions `results` of `dims`.
  AffineMap map(unsigned dims, ArrayRef<unsigned> results);

  /// A linalg.generic on `init`, the last of `maps`; a dimension that the
  /// result lacks is a reduction. `body` gives the next value of the result.
  Value generic(Value init, ValueRange inputs, ArrayRef<AffineMap> maps,
                unsigned dims,
                function_ref<Value(OpBuilder &, Location, ValueRange)> body);

  /// A register tile of zeros.
  Value zeros(ArrayRef<int64_t> shape, Type element);
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_TILEBUILDER_H

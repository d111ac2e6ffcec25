// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/TileBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"

using namespace mlir;
using namespace mlir::lumen;

Value TileBuilder::view(Value bytes, int64_t offset, int64_t count,
                        int64_t first, ArrayRef<int64_t> shape,
                        ArrayRef<int64_t> strides, Type element) {
  auto viewAs = [&](MemRefType type) -> Value {
    return memref::ViewOp::create(*this, type, bytes, index(offset),
                                  ValueRange{});
  };
  if (!first && strides == ArrayRef(computeStrides(shape)))
    return viewAs(MemRefType::get(shape, element));
  auto layout = StridedLayoutAttr::get(getContext(), first, strides);
  return memref::ReinterpretCastOp::create(
      *this, MemRefType::get(shape, element, layout),
      viewAs(MemRefType::get({count}, element)), first, shape, strides);
}

Value TileBuilder::toTensor(Value memref) {
  return bufferization::ToTensorOp::create(
      *this, memref::getTensorTypeFromMemRefType(memref.getType()), memref,
      /*restrict=*/true);
}

Value TileBuilder::slice(Value tensor, ArrayRef<OpFoldResult> position,
                         int64_t tokens) {
  auto type = cast<RankedTensorType>(tensor.getType());
  SmallVector<OpFoldResult> offsets(position), sizes,
      strides(type.getRank(), getIndexAttr(1));
  SmallVector<int64_t> shape;
  for (int64_t i = 0; i < type.getRank(); ++i) {
    bool isPosition = i < int64_t(position.size());
    if (!isPosition)
      offsets.push_back(getIndexAttr(0));
    bool isToken = i == 0 && tokens;
    int64_t size = !isPosition ? type.getDimSize(i) : isToken ? tokens : 1;
    sizes.push_back(getIndexAttr(size));
    if (!isPosition || isToken)
      shape.push_back(size);
  }
  return tensor::ExtractSliceOp::create(
      *this, RankedTensorType::get(shape, type.getElementType()), tensor,
      offsets, sizes, strides);
}

Value TileBuilder::sliceOfShape(Value tensor, ArrayRef<OpFoldResult> position,
                                ArrayRef<int64_t> shape) {
  SmallVector<OpFoldResult> sizes, strides(position.size(), getIndexAttr(1));
  SmallVector<int64_t> kept;
  for (size_t i = 0; i < position.size(); ++i) {
    int64_t size = i < shape.size() ? shape[i] : 0;
    sizes.push_back(getIndexAttr(std::max<int64_t>(size, 1)));
    if (size)
      kept.push_back(size);
  }
  Type element = getElementTypeOrSelf(tensor.getType());
  return tensor::ExtractSliceOp::create(*this,
                                        RankedTensorType::get(kept, element),
                                        tensor, position, sizes, strides);
}

AffineMap TileBuilder::map(unsigned dims, ArrayRef<unsigned> results) {
  SmallVector<AffineExpr> exprs;
  for (unsigned dim : results)
    exprs.push_back(getAffineDimExpr(dim));
  return AffineMap::get(dims, 0, exprs, getContext());
}

Value TileBuilder::generic(Value init, ValueRange inputs,
                           ArrayRef<AffineMap> maps, unsigned dims,
                           GenericBody body) {
  SmallVector<utils::IteratorType> iterators(dims,
                                             utils::IteratorType::reduction);
  for (AffineExpr result : maps.back().getResults())
    iterators[cast<AffineDimExpr>(result).getPosition()] =
        utils::IteratorType::parallel;
  return linalg::GenericOp::create(
             *this, init.getType(), inputs, init, maps, iterators,
             [&](OpBuilder &builder, Location loc, ValueRange arguments) {
               KernelBuilder nested(loc, builder);
               linalg::YieldOp::create(nested, body(nested, arguments));
             })
      .getResult(0);
}

Value TileBuilder::zeros(ArrayRef<int64_t> shape, Type element) {
  return zero(RankedTensorType::get(shape, element));
}

Value TileBuilder::carry(int64_t count, Value initial,
                         function_ref<Value(Value, Value)> body) {
  if (count == 1)
    return body(index(0), initial);
  return accumulate(index(count), initial,
                    [&](Value i, ValueRange tile) -> SmallVector<Value> {
                      return {body(i, tile.front())};
                    })
      .front();
}

Value TileBuilder::subview(Value buffer, ArrayRef<OpFoldResult> position,
                           ArrayRef<int64_t> shape) {
  SmallVector<OpFoldResult> sizes, strides(position.size(), getIndexAttr(1));
  SmallVector<int64_t> kept;
  for (int64_t size : shape) {
    sizes.push_back(getIndexAttr(std::max<int64_t>(size, 1)));
    if (size)
      kept.push_back(size);
  }
  auto type = memref::SubViewOp::inferRankReducedResultType(
      kept, cast<MemRefType>(buffer.getType()), position, sizes, strides);
  return memref::SubViewOp::create(*this, type, buffer, position, sizes,
                                   strides);
}

void TileBuilder::storeTile(Value tile, Value destination) {
  bufferization::MaterializeInDestinationOp::create(
      *this, Type(), tile, destination, /*restrict=*/true, /*writable=*/true);
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/fuse/TensorSizes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Affine/Utils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

class SizeResolver {
public:
  SizeResolver(const llvm::DenseSet<Operation *> &inside, OpBuilder &builder)
      : inside(inside), b(builder) {}

  FailureOr<Value> getSize(Value tensor, int64_t dim);

private:
  bool asksInside(Value index) const;
  FailureOr<Value> resolve(Value index);
  bool isInside(Value value) const {
    return inside.contains(value.getDefiningOp());
  }
  FailureOr<Value> fail(Value tensor) {
    return tensor.getDefiningOp()->emitOpError(
               "gives a tensor whose size is not known: ")
           << tensor.getType();
  }

  const llvm::DenseSet<Operation *> &inside;
  OpBuilder &b;
};

} // namespace

FailureOr<Value> SizeResolver::getSize(Value tensor, int64_t dim) {
  auto type = cast<RankedTensorType>(tensor.getType());
  Location loc = tensor.getLoc();
  if (!type.isDynamicDim(dim))
    return Value(arith::ConstantIndexOp::create(b, loc, type.getDimSize(dim)));
  if (!isInside(tensor))
    return Value(tensor::DimOp::create(b, loc, tensor, dim));
  Operation *op = tensor.getDefiningOp();
  // A loop gives tensors of the sizes with which it begins.
  if (auto loop = dyn_cast<scf::ForOp>(op))
    return getSize(loop.getTiedLoopInit(cast<OpResult>(tensor))->get(), dim);
  if (auto cast = dyn_cast<tensor::CastOp>(op))
    return getSize(cast.getSource(), dim);
  if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op))
    return resolve(getValueOrCreateConstantIndexOp(
        b, loc, expand.getMixedOutputShape()[dim]));
  if (auto collapse = dyn_cast<tensor::CollapseShapeOp>(op)) {
    Value product;
    for (int64_t each : collapse.getReassociationIndices()[dim]) {
      FailureOr<Value> size = getSize(collapse.getSrc(), each);
      if (failed(size))
        return failure();
      product = product ? Value(arith::MulIOp::create(b, loc, product, *size))
                        : *size;
    }
    return product;
  }
  ReifiedRankedShapedTypeDims shapes;
  if (failed(reifyResultShapes(b, op, shapes)))
    return fail(tensor);
  OpFoldResult size = shapes[cast<OpResult>(tensor).getResultNumber()][dim];
  return resolve(getValueOrCreateConstantIndexOp(b, loc, size));
}

/// Whether a number is computed from the sizes of tensors inside.
bool SizeResolver::asksInside(Value index) const {
  Operation *op = index.getDefiningOp();
  if (!op)
    return false;
  if (auto dim = dyn_cast<tensor::DimOp>(op))
    return isInside(dim.getSource());
  return isInside(index) || llvm::any_of(op->getOperands(), [&](Value operand) {
           return asksInside(operand);
         });
}

/// `index`, computed from values outside.
FailureOr<Value> SizeResolver::resolve(Value index) {
  Operation *op = index.getDefiningOp();
  bool isAffine = op && isa<affine::AffineApplyOp>(op);
  if (!asksInside(index) && !isAffine)
    return index;
  if (auto dim = dyn_cast<tensor::DimOp>(op)) {
    std::optional<int64_t> number = dim.getConstantIndex();
    return number ? getSize(dim.getSource(), *number) : fail(dim.getSource());
  }
  if (isInside(index))
    return fail(index);
  IRMapping mapping;
  SmallVector<Value> operands;
  for (Value operand : op->getOperands()) {
    FailureOr<Value> resolved = resolve(operand);
    if (failed(resolved))
      return failure();
    mapping.map(operand, *resolved);
    operands.push_back(*resolved);
  }
  if (auto apply = dyn_cast<affine::AffineApplyOp>(op))
    return affine::expandAffineMap(b, op->getLoc(), apply.getAffineMap(),
                                   operands)
        ->front();
  return b.clone(*op, mapping)->getResult(0);
}

LogicalResult
mlir::lumen::getOpenSizes(ValueRange values,
                          const llvm::DenseSet<Operation *> &inside,
                          OpBuilder &builder, SmallVectorImpl<Value> &sizes) {
  SizeResolver resolver(inside, builder);
  for (Value value : values) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (!type)
      return value.getDefiningOp()->emitOpError(
                 "gives a number to other kernels or to the caller, which "
                 "only tensors can hold: ")
             << value.getType();
    for (int64_t dim = 0; dim < type.getRank(); ++dim) {
      if (!type.isDynamicDim(dim))
        continue;
      FailureOr<Value> size = resolver.getSize(value, dim);
      if (failed(size))
        return failure();
      sizes.push_back(*size);
    }
  }
  return success();
}

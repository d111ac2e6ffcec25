// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/tensor/TensorKernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace mlir::lumen;

static Value constant(ImplicitLocOpBuilder &b, Type type, const APInt &value) {
  TypedAttr attr = b.getIntegerAttr(getElementTypeOrSelf(type), value);
  if (auto shaped = dyn_cast<ShapedType>(type))
    attr = DenseElementsAttr::get(shaped, value);
  return arith::ConstantOp::create(b, attr);
}

/// 1 in place of a divisor that a processor would stop at. What such a division
/// gives is not defined, so it may be anything.
static void boundDivisor(Operation *op) {
  Value divisor = op->getOperand(1);
  APInt known;
  if (matchPattern(divisor, m_ConstantInt(&known)) && !known.isZero() &&
      !known.isAllOnes())
    return;
  ImplicitLocOpBuilder b(op->getLoc(), op);
  Type type = divisor.getType(), element = getElementTypeOrSelf(type);
  unsigned bits = element.isIndex() ? 64 : element.getIntOrFloatBitWidth();
  Value zero = constant(b, type, APInt::getZero(bits));
  Value one = constant(b, type, APInt(bits, 1));
  Value isBad =
      arith::CmpIOp::create(b, arith::CmpIPredicate::eq, divisor, zero);
  if (!isa<arith::DivUIOp, arith::RemUIOp, arith::CeilDivUIOp>(op)) {
    // The least number has no positive counterpart.
    Value least = constant(b, type, APInt::getSignedMinValue(bits));
    Value minusOne = constant(b, type, APInt::getAllOnes(bits));
    Value overflows = arith::AndIOp::create(
        b,
        arith::CmpIOp::create(b, arith::CmpIPredicate::eq, op->getOperand(0),
                              least),
        arith::CmpIOp::create(b, arith::CmpIPredicate::eq, divisor, minusOne));
    isBad = arith::OrIOp::create(b, isBad, overflows);
  }
  op->setOperand(1, arith::SelectOp::create(b, isBad, one, divisor));
}

/// `index`, but at least 0 and at most `size` - `length`.
static Value clamp(ImplicitLocOpBuilder &b, Value index, Value size,
                   Value length) {
  Value zero = arith::ConstantIndexOp::create(b, 0);
  Value last = arith::SubIOp::create(b, size, length);
  return arith::MaxSIOp::create(b, arith::MinSIOp::create(b, index, last),
                                zero);
}

static void boundIndices(Operation *op, Value tensor,
                         MutableOperandRange indices) {
  ImplicitLocOpBuilder b(op->getLoc(), op);
  Value one = arith::ConstantIndexOp::create(b, 1);
  for (unsigned dim = 0; dim < indices.size(); ++dim) {
    Value size = tensor::DimOp::create(b, tensor, dim);
    indices[dim].set(clamp(b, indices[dim].get(), size, one));
  }
}

/// Offsets of slices, where they are not known.
static void boundOffsets(OffsetSizeAndStrideOpInterface op, Value tensor) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  SmallVector<OpFoldResult> offsets = op.getMixedOffsets();
  SmallVector<OpFoldResult> sizes = op.getMixedSizes();
  SmallVector<OpFoldResult> strides = op.getMixedStrides();
  unsigned next = op.getOffsetSizeAndStrideStartOperandIndex();
  for (auto [dim, offset] : llvm::enumerate(offsets)) {
    auto value = dyn_cast<Value>(offset);
    if (!value)
      continue;
    auto asValue = [&](OpFoldResult number) {
      return getValueOrCreateConstantIndexOp(b, b.getLoc(), number);
    };
    // From the first element to the last one.
    Value one = arith::ConstantIndexOp::create(b, 1);
    Value length = arith::AddIOp::create(
        b,
        arith::MulIOp::create(
            b, arith::SubIOp::create(b, asValue(sizes[dim]), one),
            asValue(strides[dim])),
        one);
    Value size = tensor::DimOp::create(b, tensor, int64_t(dim));
    op->setOperand(next++, clamp(b, value, size, length));
  }
}

void lumen::boundNumbers(func::FuncOp kernel) {
  SmallVector<Operation *> ops;
  kernel.walk([&](Operation *op) { ops.push_back(op); });
  for (Operation *op : ops) {
    if (isa<arith::DivSIOp, arith::DivUIOp, arith::RemSIOp, arith::RemUIOp,
            arith::CeilDivSIOp, arith::CeilDivUIOp, arith::FloorDivSIOp>(op)) {
      boundDivisor(op);
    } else if (auto extract = dyn_cast<tensor::ExtractOp>(op)) {
      boundIndices(op, extract.getTensor(), extract.getIndicesMutable());
    } else if (auto insert = dyn_cast<tensor::InsertOp>(op)) {
      boundIndices(op, insert.getDest(), insert.getIndicesMutable());
    } else if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op)) {
      boundOffsets(slice, slice.getSource());
    } else if (auto slice = dyn_cast<tensor::InsertSliceOp>(op)) {
      boundOffsets(slice, slice.getDest());
    } else if (auto loop = dyn_cast<scf::ForOp>(op)) {
      if (matchPattern(loop.getStep(), m_Constant()))
        continue;
      ImplicitLocOpBuilder b(op->getLoc(), op);
      Type type = loop.getStep().getType();
      Value one = arith::ConstantOp::create(b, b.getIntegerAttr(type, 1));
      loop.getStepMutable().assign(
          arith::MaxSIOp::create(b, loop.getStep(), one));
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// What lanes get from each other.
#include "passes/target/gpu/LaneDistributor.h"

using namespace mlir;
using namespace mlir::lumen;

/// Every lane gets the same bits: where two lanes meet, both add the same two.
LogicalResult LaneDistributor::distribute(vector::ReductionOp op) {
  LaneLayout layout = layouts.lookup(op.getVector());
  auto combine = [&](Value x, Value y) {
    return vector::makeArithReduction(b, b.getLoc(), op.getKind(), x, y,
                                      op.getFastmathAttr());
  };
  Value result = getOwnElement(b, op.getVector(), 0);
  for (int64_t i = 1; i < layout.getOwn(); ++i)
    result = combine(result, getOwnElement(b, op.getVector(), i));
  for (int64_t distance = layout.getPeriod() / 2; distance; distance /= 2) {
    Value from =
        arith::XOrIOp::create(b, lane, b.integer(b.getI32Type(), distance));
    result = combine(result, ShuffleOp::create(b, result, from));
  }
  if (op.getAcc())
    result = combine(result, op.getAcc());
  op.getDest().replaceAllUsesWith(result);
  dead.push_back(op);
  return success();
}

LogicalResult LaneDistributor::distribute(vector::ExtractOp op) {
  if (isa<VectorType>(op.getResult().getType()) ||
      !op.getDynamicPosition().empty())
    return op.emitOpError("cannot be distributed over the lanes of a warp");
  LaneLayout layout = layouts.lookup(op.getSource());
  int64_t number = op.getStaticPosition().front();
  Value at = b.integer(b.getI32Type(), number);
  op.getResult().replaceAllUsesWith(
      gatherElement(b, op.getSource(), layout, at, number, number));
  dead.push_back(op);
  return success();
}

void LaneDistributor::pick(Value result, Value source, int64_t factor,
                           int64_t offset) {
  LaneLayout layout = layouts.lookup(result), from = layouts.lookup(source);
  int64_t end = factor * (layout.elements - 1) + offset;
  SmallVector<Value> own;
  // Of whole turns, each lane has its own.
  bool isOwn = factor == 1 && layout.chunk == from.chunk &&
               layout.getPeriod() == kWarp &&
               offset % (kWarp * from.chunk) == 0;
  if (from.elements == layout.elements && factor == 1 && layout == from)
    isOwn = true;
  for (int64_t i = 0; i < layout.getOwn(); ++i) {
    if (isOwn) {
      own.push_back(getOwnElement(b, source, i + offset / kWarp));
      continue;
    }
    Value number = getElementNumber(b, lane, layout, i);
    if (factor > 1)
      number =
          arith::MulIOp::create(b, number, b.integer(b.getI32Type(), factor));
    if (offset)
      number =
          arith::AddIOp::create(b, number, b.integer(b.getI32Type(), offset));
    int64_t first = offset, last = end;
    if (layout.getPeriod() == kWarp && layout.chunk == 1) {
      // One turn has so many of them.
      first = factor * i * kWarp + offset;
      last = factor * ((i + 1) * kWarp - 1) + offset;
    }
    own.push_back(gatherElement(b, source, from, number, first, last));
  }
  Value made = joinElements(b, layout, own);
  layouts.set(made, layout);
  result.replaceAllUsesWith(made);
}

LogicalResult LaneDistributor::distribute(vector::ExtractStridedSliceOp op) {
  int64_t offset = cast<IntegerAttr>(op.getOffsets()[0]).getInt();
  pick(op.getResult(), op.getSource(), 1, offset);
  dead.push_back(op);
  return success();
}

LogicalResult LaneDistributor::distribute(vector::DeinterleaveOp op) {
  for (auto [i, result] : llvm::enumerate(op.getResults()))
    pick(result, op.getSource(), 2, i);
  dead.push_back(op);
  return success();
}

LogicalResult LaneDistributor::distribute(vector::InsertStridedSliceOp op) {
  LaneLayout layout = layouts.lookup(op.getResult());
  LaneLayout part = layouts.lookup(op.getValueToStore());
  int64_t offset = cast<IntegerAttr>(op.getOffsets()[0]).getInt();
  Type i32 = b.getI32Type();
  SmallVector<Value> own;
  for (int64_t i = 0; i < layout.getOwn(); ++i) {
    Value number = getElementNumber(b, lane, layout, i);
    Value inPart = arith::SubIOp::create(b, number, b.integer(i32, offset));
    Value isPart = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, inPart,
                                         b.integer(i32, part.elements));
    Value value = gatherElement(b, op.getValueToStore(), part, inPart, 0,
                                part.elements - 1);
    own.push_back(arith::SelectOp::create(b, isPart, value,
                                          getOwnElement(b, op.getDest(), i)));
  }
  return replace(op.getResult(), joinElements(b, layout, own));
}

LogicalResult LaneDistributor::distribute(vector::InterleaveOp op) {
  LaneLayout layout = layouts.lookup(op.getResult());
  LaneLayout from = layouts.lookup(op.getLhs());
  Type i32 = b.getI32Type();
  SmallVector<Value> own;
  for (int64_t i = 0; i < layout.getOwn(); ++i) {
    Value number = getElementNumber(b, lane, layout, i);
    Value half = arith::ShRUIOp::create(b, number, b.integer(i32, 1));
    Value isOdd = arith::TruncIOp::create(b, b.getI1Type(), number);
    int64_t last = from.elements - 1;
    own.push_back(arith::SelectOp::create(
        b, isOdd, gatherElement(b, op.getRhs(), from, half, 0, last),
        gatherElement(b, op.getLhs(), from, half, 0, last)));
  }
  return replace(op.getResult(), joinElements(b, layout, own));
}

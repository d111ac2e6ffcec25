// SPDX-License-Identifier: Apache-2.0
#include "passes/target/gpu/LaneGather.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

Value mlir::lumen::getOwnElement(KernelBuilder &b, Value own, int64_t number) {
  if (!isa<VectorType>(own.getType()))
    return own;
  return vector::ExtractOp::create(b, own, number);
}

Value mlir::lumen::joinElements(KernelBuilder &b, LaneLayout layout,
                                ArrayRef<Value> elements) {
  auto type = dyn_cast<VectorType>(layout.getType(elements.front().getType()));
  return type ? Value(vector::FromElementsOp::create(b, type, elements))
              : elements.front();
}

Value mlir::lumen::getElementNumber(KernelBuilder &b, Value lane,
                                    LaneLayout layout, int64_t own) {
  Type i32 = b.getI32Type();
  int64_t turn = own / layout.chunk, place = own % layout.chunk;
  if (layout.getPeriod() == 1)
    return b.integer(i32, place);
  Value number = lane;
  if (layout.getPeriod() < kWarp)
    number = arith::AndIOp::create(b, number,
                                   b.integer(i32, layout.getPeriod() - 1));
  if (layout.chunk > 1)
    number = arith::MulIOp::create(b, number, b.integer(i32, layout.chunk));
  if (int64_t offset = turn * kWarp * layout.chunk + place)
    number = arith::AddIOp::create(b, number, b.integer(i32, offset));
  return number;
}

Value mlir::lumen::gatherElement(KernelBuilder &b, Value own, LaneLayout layout,
                                 Value number, int64_t first, int64_t last) {
  Type i32 = b.getI32Type();
  // The lane that has it.
  Value from = number;
  if (layout.chunk > 1)
    from = arith::DivUIOp::create(b, from, b.integer(i32, layout.chunk));
  if (layout.getTurns() > 1)
    from = arith::AndIOp::create(b, from, b.integer(i32, kWarp - 1));
  // All that it may have of these; `mine` is the number among its own.
  Value result;
  SmallVector<bool> isSeen(layout.getOwn());
  for (int64_t each = first; each <= last; ++each) {
    int64_t turn = each / layout.chunk / kWarp;
    int64_t mine = turn * layout.chunk + each % layout.chunk;
    if (layout.isUniform())
      mine = each;
    if (isSeen[mine])
      continue;
    isSeen[mine] = true;
    Value value = getOwnElement(b, own, mine);
    if (!layout.isUniform())
      value = ShuffleOp::create(b, value, from);
    if (!result) {
      result = value;
      continue;
    }
    // Where this is the element: at its turn, and its place in the chunk.
    Value turnOf = layout.isUniform() || layout.getTurns() == 1
                       ? Value()
                       : Value(arith::DivUIOp::create(
                             b, number, b.integer(i32, kWarp * layout.chunk)));
    Value placeOf = layout.chunk == 1
                        ? Value()
                        : Value(arith::RemUIOp::create(
                              b, number, b.integer(i32, layout.chunk)));
    Value isHere;
    auto require = [&](Value value, int64_t wanted) {
      if (!value)
        return;
      Value equal = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, value,
                                          b.integer(i32, wanted));
      isHere = isHere ? Value(arith::AndIOp::create(b, isHere, equal)) : equal;
    };
    require(turnOf, turn);
    require(placeOf, each % layout.chunk);
    result = arith::SelectOp::create(b, isHere, value, result);
  }
  return result;
}

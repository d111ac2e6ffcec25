// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/QuantizeEmitter.h"

#include "passes/support/KernelBuffers.h"
#include "passes/tile/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

GroupScale lumen::emitGroupScale(KernelBuilder &b, Value most) {
  Type f32 = b.getF32Type();
  Value largest = b.real(f32, 127.0);
  Value scale = arith::DivFOp::create(b, most, largest);
  // Below 2^-120 the inverse overflows; such a group counts as all zeros.
  Value zero = b.real(f32, 0.0), tiny = b.real(f32, 0x1p-120);
  Value inverse = arith::DivFOp::create(b, largest, most);
  Value usable =
      arith::CmpFOp::create(b, arith::CmpFPredicate::OGE, most, tiny);
  return {scale, arith::SelectOp::create(b, usable, inverse, zero)};
}

Value lumen::emitCodes(KernelBuilder &b, Value x, Value inverse) {
  Value scaled = arith::MulFOp::create(b, x, b.broadcast(inverse, getLanes(x)));
  return emitRoundEven(b, scaled).integer;
}

/// The lower byte of every lane.
static Value emitBytes(KernelBuilder &b, Value wide) {
  auto type = cast<VectorType>(wide.getType());
  return arith::TruncIOp::create(b, type.clone(b.getI8Type()), wide);
}

QuantizedGroup lumen::emitQuantizedGroup(KernelBuilder &b, Value x,
                                         int64_t sumGroup) {
  Value most = emitMaximum(b, math::AbsFOp::create(b, x));
  GroupScale group = emitGroupScale(b, most);
  Value wide = emitCodes(b, x, group.inverse);
  Value codes = emitBytes(b, wide);
  return {codes, group.scale, emitGroupSums(b, wide, sumGroup)};
}

/// Stores `lanes` of row `row` from `first` on wherever `result` goes.
static void store(KernelBuilder &b, Value result, Value row, Value first,
                  Value lanes) {
  for (Value buffer : getDestinations(result))
    b.store(lanes, buffer, {row, first});
}

void lumen::emitStoreScale(KernelBuilder &b, QuantizeOp op, Value row,
                           Value column, Value scale) {
  store(b, op.getScales(), row, b.divide(column, op.getGroup()),
        b.broadcast(scale, 1));
}

static void emitStoreSums(KernelBuilder &b, QuantizeOp op, Value row,
                          Value column, Value sums) {
  Value first = b.divide(column, op.getSumGroup());
  auto type = cast<VectorType>(sums.getType());
  Value bias = b.integer(type, op.getBias());
  store(b, op.getOffsets(), row, first, arith::MulIOp::create(b, sums, bias));
  Type element = getElementTypeOrSelf(op.getSums());
  sums =
      element.isF32()
          ? b.convert(sums, element)
          : arith::TruncIOp::create(b, type.clone(element), sums).getResult();
  store(b, op.getSums(), row, first, sums);
}

void lumen::emitStoreCodes(KernelBuilder &b, QuantizeOp op, Value row,
                           Value column, Value wide) {
  store(b, op.getCodes(), row, column, emitBytes(b, wide));
  emitStoreSums(b, op, row, column, emitGroupSums(b, wide, op.getSumGroup()));
}

void lumen::emitQuantizeStore(KernelBuilder &b, QuantizeOp op, Value row,
                              Value column, Value values) {
  int64_t groupSize = op.getGroup();
  for (auto [i, part] : llvm::enumerate(b.split(values, groupSize))) {
    QuantizedGroup group = emitQuantizedGroup(b, part, op.getSumGroup());
    Value begin = b.add(column, i * groupSize);
    store(b, op.getCodes(), row, begin, group.codes);
    emitStoreScale(b, op, row, begin, group.scale);
    emitStoreSums(b, op, row, begin, group.sums);
  }
}

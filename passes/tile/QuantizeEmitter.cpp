// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/QuantizeEmitter.h"

#include "passes/support/KernelBuffers.h"
#include "passes/tile/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

QuantizedGroup lumen::emitQuantizedGroup(KernelBuilder &b, Value x,
                                         int64_t sumGroup) {
  auto type = cast<VectorType>(x.getType());
  Type f32 = b.getF32Type();
  QuantizedGroup group;

  Value most = emitMaximum(b, math::AbsFOp::create(b, x));
  Value largest = b.real(f32, 127.0);
  group.scale = arith::DivFOp::create(b, most, largest);
  // Below 2^-120 the inverse overflows; such a group counts as all zeros.
  Value zero = b.real(f32, 0.0), tiny = b.real(f32, 0x1p-120);
  Value inverse = arith::DivFOp::create(b, largest, most);
  Value usable =
      arith::CmpFOp::create(b, arith::CmpFPredicate::OGE, most, tiny);
  inverse = arith::SelectOp::create(b, usable, inverse, zero);

  Value scaled = arith::MulFOp::create(b, x, b.broadcast(inverse, getLanes(x)));
  Value wide = emitRoundEven(b, scaled).integer;
  group.codes = arith::TruncIOp::create(b, type.clone(b.getI8Type()), wide);
  group.sums = emitGroupSums(b, wide, sumGroup);
  return group;
}

void lumen::emitQuantizeStore(KernelBuilder &b, QuantizeOp op, Value row,
                              Value column, Value values) {
  int64_t groupSize = op.getGroup(), sumGroup = op.getSumGroup();
  auto store = [&](Value result, Value lanes, Value first) {
    for (Value buffer : getDestinations(result))
      b.store(lanes, buffer, {row, first});
  };
  for (auto [i, part] : llvm::enumerate(b.split(values, groupSize))) {
    QuantizedGroup group = emitQuantizedGroup(b, part, sumGroup);
    Value begin = b.add(column, i * groupSize);
    store(op.getCodes(), group.codes, begin);
    store(op.getScales(), b.broadcast(group.scale, 1),
          b.divide(begin, groupSize));
    Value firstSum = b.divide(begin, sumGroup);
    auto type = cast<VectorType>(group.sums.getType());
    Value bias = b.integer(type, op.getBias());
    store(op.getOffsets(), arith::MulIOp::create(b, group.sums, bias),
          firstSum);
    Type element = getElementTypeOrSelf(op.getSums());
    Value sums =
        element.isF32()
            ? b.convert(group.sums, element)
            : arith::TruncIOp::create(b, type.clone(element), group.sums)
                  .getResult();
    store(op.getSums(), sums, firstSum);
  }
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/ElementwiseEmitter.h"

#include "passes/tile/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::lumen;

/// (1 + tanh(u)) / 2 is the sigmoid of 2u.
static Value emitGelu(KernelBuilder &b, Value x) {
  constexpr double kLinear = 1.5957691216057308; // 2 sqrt(2 / pi)
  constexpr double kCubic = 0.044715 * kLinear;
  Value square = arith::MulFOp::create(b, x, x);
  Value factor = arith::MulFOp::create(b, square, b.real(x.getType(), kCubic));
  factor = arith::AddFOp::create(b, factor, b.real(x.getType(), kLinear));
  return emitTimesSigmoid(b, x, arith::MulFOp::create(b, x, factor));
}

Value lumen::emitElementwise(KernelBuilder &b, Operation *op,
                             ArrayRef<Value> operands) {
  Value x = operands.front();
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](AddOp) { return arith::AddFOp::create(b, x, operands[1]); })
      .Case([&](GeluOp) { return emitGelu(b, x); })
      .Case([&](MulOp) { return arith::MulFOp::create(b, x, operands[1]); })
      .Case([&](ScaleOp op) {
        Value factor = b.real(x.getType(), op.getFactor().convertToDouble());
        return arith::MulFOp::create(b, x, factor);
      })
      .Case([&](SiluOp) { return emitTimesSigmoid(b, x, x); });
}

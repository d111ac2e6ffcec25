// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/ElementwiseEmitter.h"

#include "passes/tile/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::lumen;

Value lumen::emitElementwise(KernelBuilder &b, Operation *op,
                             ArrayRef<Value> operands) {
  Type type = operands.front().getType();
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](AddOp) {
        return arith::AddFOp::create(b, operands[0], operands[1]);
      })
      .Case([&](ScaleOp op) {
        Value factor = b.real(type, op.getFactor().convertToDouble());
        return arith::MulFOp::create(b, operands[0], factor);
      })
      .Case([&](SwigluOp) {
        Value gate = emitTimesSigmoid(b, operands[0], operands[0]);
        return arith::MulFOp::create(b, gate, operands[1]);
      });
}

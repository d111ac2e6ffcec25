// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/ElementwiseEmitter.h"

#include "passes/tile/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::lumen;

Value lumen::emitElementwise(KernelBuilder &b, Operation *op,
                             ArrayRef<Value> operands) {
  Value x = operands.front();
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](AddOp) { return arith::AddFOp::create(b, x, operands[1]); })
      .Case([&](MulOp) { return arith::MulFOp::create(b, x, operands[1]); })
      .Case([&](ScaleOp op) {
        Value factor = b.real(x.getType(), op.getFactor().convertToDouble());
        return arith::MulFOp::create(b, x, factor);
      })
      .Case([&](SiluOp) { return emitTimesSigmoid(b, x, x); });
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/support/ProductBody.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lumen;

static Value skipExtension(Value value) {
  auto extension = value.getDefiningOp<arith::ExtFOp>();
  return extension ? extension.getIn() : value;
}

bool lumen::isProductBody(linalg::LinalgOp op) {
  Block &body = *op.getBlock();
  if (body.getNumArguments() != 3)
    return false;
  Value lhs = body.getArgument(0), rhs = body.getArgument(1);
  Value out = body.getArgument(2);
  auto sum = body.getTerminator()->getOperand(0).getDefiningOp<arith::AddFOp>();
  if (!sum || (sum.getLhs() != out && sum.getRhs() != out))
    return false;
  auto product = (sum.getLhs() == out ? sum.getRhs() : sum.getLhs())
                     .getDefiningOp<arith::MulFOp>();
  if (!product)
    return false;
  Value first = skipExtension(product.getLhs());
  Value second = skipExtension(product.getRhs());
  return (first == lhs && second == rhs) || (first == rhs && second == lhs);
}

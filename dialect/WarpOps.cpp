// SPDX-License-Identifier: Apache-2.0
#include "dialect/LumenDialect.h"

using namespace mlir;
using namespace mlir::lumen;

LogicalResult WarpMmaOp::verify() {
  DotAttr shape = getShape();
  int64_t m = shape.getM(), n = shape.getN(), k = shape.getK();
  // Instructions of 16 x 8 sums take one or two words of a row from a lane.
  if (m != 16 || n != 8 || (k != 16 && k != 32) || !shape.getLhs().isSigned() ||
      !shape.getRhs().isSigned() || shape.getLhs().getWidth() != 8 ||
      shape.getAcc().getWidth() != 32 || !shape.getAccumulates() ||
      shape.getStepSize() != k)
    return emitOpError()
           << "shape must be that of an instruction of warps, got " << shape;
  for (auto [name, type, expected] :
       {std::tuple("lhs", getLhs().getType(), m * k / 32),
        {"rhs", getRhs().getType(), n * k / 32},
        {"acc", getAcc().getType(), m * n / 32}}) {
    int64_t count = cast<VectorType>(type).getNumElements();
    if (count != expected)
      return emitOpError() << name << " must have " << expected
                           << " elements in a lane, got " << count;
  }
  return success();
}

static LogicalResult verifyScratch(Operation *op, MemRefType type,
                                   int64_t offset) {
  if (!type.hasStaticShape() || !type.getLayout().isIdentity() ||
      type.getMemorySpace())
    return op->emitOpError("must be a plain buffer of a known size, got ")
           << type;
  if (offset < 0)
    return op->emitOpError("cannot begin at byte ") << offset;
  return success();
}

LogicalResult ScratchOp::verify() {
  return verifyScratch(*this, getType(), int64_t(getOffset()));
}

LogicalResult BlockScratchOp::verify() {
  return verifyScratch(*this, getType(), int64_t(getOffset()));
}

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

LogicalResult ScratchOp::verify() {
  MemRefType type = getType();
  if (!type.hasStaticShape() || !type.getLayout().isIdentity() ||
      type.getMemorySpace())
    return emitOpError("must be a plain buffer of a known size, got ") << type;
  if (int64_t(getOffset()) < 0)
    return emitOpError("cannot begin at byte ") << int64_t(getOffset());
  return success();
}

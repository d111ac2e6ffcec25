// SPDX-License-Identifier: Apache-2.0
#include "dialect/LumenDialect.h"

using namespace mlir;
using namespace mlir::lumen;

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

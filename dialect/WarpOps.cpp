// SPDX-License-Identifier: Apache-2.0
#include "dialect/LumenDialect.h"

using namespace mlir;
using namespace mlir::lumen;

LogicalResult ScratchOp::verify() {
  MemRefType type = getType();
  if (!type.hasStaticShape() || !type.getLayout().isIdentity() ||
      type.getMemorySpace())
    return emitOpError("must be a plain buffer of a known size, got ") << type;
  if (int64_t(getOffset()) < 0)
    return emitOpError("cannot begin at byte ") << int64_t(getOffset());
  return success();
}

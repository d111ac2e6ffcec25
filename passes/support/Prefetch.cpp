// SPDX-License-Identifier: Apache-2.0
#include "passes/support/Prefetch.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::lumen;

/// Bytes of a cache line.
static int64_t getLine(ImplicitLocOpBuilder &b) {
  TargetAttr target = TargetAttr::lookup(b.getInsertionBlock()->getParentOp());
  return target ? target.getCacheLine() : 64;
}

void lumen::emitPrefetch(KernelBuilder &b, Value buffer, ValueRange indices,
                         int64_t elements, bool isWrite) {
  auto type = cast<MemRefType>(buffer.getType());
  int64_t perLine = 8 * getLine(b) / type.getElementTypeBitWidth();
  SmallVector<Value> at(indices);
  for (int64_t i = 0; i < elements; i += perLine) {
    at.back() = b.add(indices.back(), i);
    memref::PrefetchOp::create(b, buffer, at, isWrite, /*localityHint=*/3,
                               /*isDataCache=*/true);
  }
}

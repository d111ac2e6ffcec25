// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/attention/CodeCacheReader.h"
#include "passes/tile/attention/FloatCacheReader.h"

#include "passes/support/KernelBuffers.h"

using namespace mlir;
using namespace mlir::lumen;

CacheReader::CacheReader(KernelBuilder &b, AttentionOp op,
                         AttentionRegisters registers)
    : b(b), op(op), registers(registers), headDim(op.getHeadDim()),
      k(getSourceBuffer(op.getK())), v(getSourceBuffer(op.getV())) {}

std::unique_ptr<CacheReader> CacheReader::create(KernelBuilder &b,
                                                 AttentionOp op,
                                                 AttentionRegisters registers) {
  if (getElementTypeOrSelf(op.getK()).isInteger())
    return std::make_unique<CodeCacheReader>(b, op, registers);
  return std::make_unique<FloatCacheReader>(b, op, registers);
}

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

AttentionShape CacheReader::getValueShape(int64_t rows) const {
  AttentionShape shape = registers.shapeOf(rows);
  return {shape.rows, std::min(shape.lanes, getSpan())};
}

SmallVector<Value> CacheReader::accumulate(Value count, ValueRange init,
                                           Body body) {
  auto loop = [&](Value begin, Value end, int64_t steps, ValueRange values) {
    return b.accumulate(
        begin, end, steps, values,
        [&](Value first, ValueRange acc) { return body(first, steps, acc); });
  };
  Value zero = b.index(0);
  if (registers.steps == 1)
    return loop(zero, count, 1, init);
  Value whole = b.multiply(b.divide(count, registers.steps), registers.steps);
  SmallVector<Value> values = loop(zero, whole, registers.steps, init);
  return loop(whole, count, 1, values);
}

Factors::Factors(KernelBuilder &b, Value buffer, int64_t begin, int64_t count,
                 Value column, int64_t steps)
    : b(b), buffer(buffer), column(column), begin(begin) {
  if (steps > 1)
    for (int64_t i = 0; i < count; ++i)
      loaded.push_back(b.load(steps, buffer, {b.index(begin + i), column}));
}

Value Factors::emit(int64_t i, int64_t step, int64_t lanes) {
  if (loaded.empty())
    return b.broadcast(b.load(buffer, {b.index(begin + i), column}), lanes);
  return b.spreadLane(loaded[i], step, lanes);
}

std::unique_ptr<CacheReader> CacheReader::create(KernelBuilder &b,
                                                 AttentionOp op,
                                                 AttentionRegisters registers) {
  if (getElementTypeOrSelf(op.getK()).isInteger())
    return std::make_unique<CodeCacheReader>(b, op, registers);
  return std::make_unique<FloatCacheReader>(b, op, registers);
}

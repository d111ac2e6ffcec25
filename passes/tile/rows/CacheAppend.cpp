// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/rows/CacheAppend.h"

#include "dialect/layout/CacheLayout.h"
#include "passes/support/KernelBuffers.h"
#include "passes/tile/QuantizeEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

CacheAppend::CacheAppend(KernelBuilder &b, KvAppendOp op, Value place,
                         Value column, Value staging)
    : b(b), op(op), staging(staging), isKey(op.getKind() == "key"),
      headDim(op.getHeadDim()), cache(getSourceBuffer(op.getCache())) {
  lane = b.remainder(place, kCacheBlock);
  block = b.divide(place, kCacheBlock);
  firstHead = b.divide(column, headDim);
}

void CacheAppend::emit(ArrayRef<Value> pieces) {
  bool isFloat = isa<FloatType>(getElementTypeOrSelf(cache.getType()));
  SmallVector<Value> heads;
  for (Value piece : pieces)
    llvm::append_range(heads, b.split(piece, headDim));
  for (auto [i, values] : llvm::enumerate(heads)) {
    Value head = b.add(firstHead, i);
    if (isFloat)
      emitFloats(head, values);
    else
      emitCodes(head, values);
  }
}

void CacheAppend::emitFloats(Value head, Value values) {
  values = b.convert(values, getElementTypeOrSelf(cache.getType()));
  Value zero = b.index(0);
  if (!isKey)
    return b.store(values, cache, {op.getLayer(), head, block, lane, zero});
  // Consecutive d are a block apart: one by one, through the staging row.
  b.store(values, staging, zero);
  b.forEach(headDim, [&](Value d) {
    b.store(b.load(staging, d), cache, {op.getLayer(), head, block, d, lane});
  });
}

void CacheAppend::emitCodes(Value head, Value values) {
  QuantizedBlock layout{headDim};
  auto storeBytes = [&](Value bytes, Value at) {
    b.store(bytes, cache, {op.getLayer(), head, block, at});
  };
  Value row = b.multiply(lane, headDim);
  for (int64_t group = 0; group < layout.getGroups(); ++group) {
    int64_t begin = group * QuantizedBlock::kGroup,
            size = layout.getGroupSize(group);
    QuantizedGroup quantized =
        emitQuantizedGroup(b, b.extract(values, begin, size), size);
    Value scale = b.broadcast(b.convert(quantized.scale, b.getF16Type()), 1);
    scale = vector::BitCastOp::create(b, VectorType::get({2}, b.getI8Type()),
                                      scale);
    storeBytes(scale, b.add(b.multiply(lane, 2), layout.getScales(group)));
    Value codes = quantized.codes;
    if (!isKey) {
      storeBytes(codes, b.add(row, begin));
      continue;
    }
    Value bias = b.integer(codes.getType(), QuantizedBlock::kKeyBias);
    b.store(arith::XOrIOp::create(b, codes, bias), staging, b.index(begin));
  }
  if (!isKey)
    return;
  // Four consecutive d are one word among those of the positions of a block.
  b.forEach(headDim / 4, [&](Value step) {
    Value word = b.load(4, staging, b.multiply(step, 4));
    Value at = arith::AddIOp::create(b, b.multiply(step, 4 * kCacheBlock),
                                     b.multiply(lane, 4));
    storeBytes(word, at);
  });
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/attention/CodeCacheReader.h"

#include "passes/support/Prefetch.h"
#include "passes/tile/QuantizeEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

void CodeCacheReader::emitPrologue() {
  Type f32 = b.getF32Type();
  int64_t groups = page.getGroups();
  scores = b.allocateScratch({kAttentionRows, kAttentionPositions}, f32);
  weights = b.allocateScratch({kAttentionRows, kAttentionPositions}, f32);
  queryCodes = b.allocateScratch({kAttentionRows, headDim}, b.getI8Type());
  queryScales = b.allocateScratch({kAttentionRows, groups}, f32);
  queryBiases = b.allocateScratch({kAttentionRows, groups}, b.getI32Type());
}

Value CodeCacheReader::emitCapacity() {
  return b.multiply(memref::DimOp::create(b, v, 2), kCacheBlock);
}

void CodeCacheReader::emitQuery(Value row, Value x) {
  Value bias = b.integer(VectorType::get(1, b.getI32Type()),
                         -int64_t(QuantizedPage::kKeyBias));
  for (int64_t group = 0; group < page.getGroups(); ++group) {
    int64_t begin = group * QuantizedPage::kGroup,
            size = page.getGroupSize(group);
    QuantizedGroup quantized =
        emitQuantizedGroup(b, b.extract(x, begin, size), size);
    b.store(quantized.codes, queryCodes, {row, b.index(begin)});
    b.store(quantized.scale, queryScales, {row, b.index(group)});
    b.store(arith::MulIOp::create(b, quantized.sums, bias), queryBiases,
            {row, b.index(group)});
  }
}

Value CodeCacheReader::loadScales(Value cache, Value head, Value block,
                                  int64_t group) {
  Value bytes =
      b.load(2 * kCacheBlock, cache,
             {op.getLayer(), head, block, b.index(page.getScales(group))});
  auto type = VectorType::get(kCacheBlock, b.getF16Type());
  return b.convert(vector::BitCastOp::create(b, type, bytes), b.getF32Type());
}

void CodeCacheReader::emitFetchPage(Value cache, Value head, Value block) {
  emitPrefetch(b, cache, {op.getLayer(), head, block, b.index(0)},
               page.getBytes());
}

void CodeCacheReader::forEachPage(const PositionTile &at,
                                  function_ref<void(Value, Value)> emitBlock) {
  Value blocks = arith::CeilDivUIOp::create(b, at.count, b.index(kCacheBlock));
  Value firstBlock = b.divide(at.place, kCacheBlock);
  b.forEach(blocks, [&](Value i) {
    Value block = arith::AddIOp::create(b, firstBlock, i);
    emitBlock(block, b.multiply(i, kCacheBlock));
  });
}

SmallVector<Value> CodeCacheReader::emitGroupSums(Value head, Value block,
                                                  int64_t group, int64_t begin,
                                                  int64_t count) {
  // Unsigned keys: minus what their bias adds to the sums.
  SmallVector<Value> init;
  if (registers.signedCodes)
    init.assign(count, b.zero(VectorType::get(kCacheBlock, b.getI32Type())));
  for (int64_t i = init.size(); i < count; ++i) {
    Value bias = b.load(queryBiases, {b.index(begin + i), b.index(group)});
    init.push_back(b.broadcast(bias, kCacheBlock));
  }
  int64_t first = group * QuantizedPage::kGroup;
  Value steps = b.index(page.getGroupSize(group) / 4);
  return b.accumulate(steps, init, [&](Value step, ValueRange acc) {
    Value d = b.add(b.multiply(step, 4), first);
    Value keys =
        b.load(4 * kCacheBlock, k,
               {op.getLayer(), head, block, b.multiply(d, kCacheBlock)});
    if (registers.signedCodes)
      keys = arith::XOrIOp::create(
          b, keys, b.integer(keys.getType(), QuantizedPage::kKeyBias));
    SmallVector<Value> next;
    for (int64_t i = 0; i < count; ++i) {
      Value x = b.load(4, queryCodes, {b.index(begin + i), d});
      next.push_back(Dot4Op::create(b, acc[i].getType(), keys, x, acc[i], 8,
                                    registers.signedCodes));
    }
    return next;
  });
}

void CodeCacheReader::emitScores(const PositionTile &at, int64_t rows) {
  forEachPage(at, [&](Value block, Value position) {
    // The values of these positions come next.
    emitFetchPage(v, at.head, block);
    for (int64_t begin = 0; begin < rows; begin += registers.rows) {
      int64_t count = std::min(registers.rows, rows - begin);
      SmallVector<Value> sums(count, b.splat(kCacheBlock, 0.0));
      for (int64_t group = 0; group < page.getGroups(); ++group) {
        auto integers = emitGroupSums(at.head, block, group, begin, count);
        Value scales = loadScales(k, at.head, block, group);
        for (int64_t i = 0; i < count; ++i) {
          Value scale =
              b.load(queryScales, {b.index(begin + i), b.index(group)});
          Value factor =
              arith::MulFOp::create(b, scales, b.broadcast(scale, kCacheBlock));
          Value sum = b.convert(integers[i], b.getF32Type());
          sums[i] = b.multiplyAdd(sum, factor, sums[i]);
        }
      }
      for (int64_t i = 0; i < count; ++i)
        b.store(sums[i], scores, {b.index(begin + i), position});
    }
  });
}

void CodeCacheReader::emitWeights(const PositionTile &at, int64_t rows,
                                  int64_t d) {
  if (d % QuantizedPage::kGroup)
    return;
  int64_t group = d / QuantizedPage::kGroup;
  forEachPage(at, [&](Value block, Value position) {
    // The keys of the positions behind these come next.
    if (group == 0)
      emitFetchPage(k, at.head,
                    b.add(block, kAttentionPositions / kCacheBlock));
    Value scales = loadScales(v, at.head, block, group);
    for (int64_t row = 0; row < rows; ++row) {
      SmallVector<Value> place = {b.index(row), position};
      Value p = b.load(kCacheBlock, scores, place);
      b.store(arith::MulFOp::create(b, p, scales), weights, place);
    }
  });
}

Value CodeCacheReader::emitValue(Value head, Value position, Value d,
                                 int64_t lanes) {
  Value block = b.divide(position, kCacheBlock);
  Value lane = b.remainder(position, kCacheBlock);
  Value at = arith::AddIOp::create(b, b.multiply(lane, headDim), d);
  Value codes = b.load(lanes, v, {op.getLayer(), head, block, at});
  Value wide =
      arith::ExtSIOp::create(b, VectorType::get(lanes, b.getI32Type()), codes);
  return b.convert(wide, b.getF32Type());
}

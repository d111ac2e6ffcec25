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
  int64_t groups = layout.getGroups();
  scores = b.allocateScratch({registers.rows, kAttentionPositions}, f32);
  weights = b.allocateScratch({registers.rows, kAttentionPositions}, f32);
  queryCodes = b.allocateScratch({registers.rows, headDim}, b.getI8Type());
  queryScales = b.allocateScratch({registers.rows, groups}, f32);
  queryBiases = b.allocateScratch({registers.rows, groups}, b.getI32Type());
}

void CodeCacheReader::emitQuery(Value row, int64_t d, Value x) {
  Value bias = b.integer(VectorType::get(1, b.getI32Type()),
                         -int64_t(QuantizedBlock::kKeyBias));
  for (int64_t begin = d, end = d + getLanes(x); begin < end;
       begin += QuantizedBlock::kGroup) {
    int64_t group = begin / QuantizedBlock::kGroup,
            size = layout.getGroupSize(group);
    QuantizedGroup quantized =
        emitQuantizedGroup(b, b.extract(x, begin - d, size), size);
    b.store(quantized.codes, queryCodes, {row, b.index(begin)});
    b.store(quantized.scale, queryScales, {row, b.index(group)});
    b.store(arith::MulIOp::create(b, quantized.sums, bias), queryBiases,
            {row, b.index(group)});
  }
}

Value CodeCacheReader::loadScales(Value cache, Value head,
                                  const BlockPart &part, int64_t group) {
  Value at = b.add(b.multiply(part.first, 2), layout.getScales(group));
  Value bytes =
      b.load(2 * part.lanes, cache, {op.getLayer(), head, part.block, at});
  auto type = VectorType::get(part.lanes, b.getF16Type());
  return b.convert(vector::BitCastOp::create(b, type, bytes), b.getF32Type());
}

void CodeCacheReader::emitFetchBlock(Value cache, Value head, Value block) {
  emitPrefetch(b, cache, {op.getLayer(), head, block, b.index(0)},
               layout.getBytes());
}

void CodeCacheReader::forEachBlock(const PositionTile &at,
                                   function_ref<void(Value, Value)> emitBlock) {
  Value blocks = arith::CeilDivUIOp::create(b, at.count, b.index(kCacheBlock));
  Value firstBlock = b.divide(at.place, kCacheBlock);
  b.forEach(blocks, [&](Value i) {
    Value block = arith::AddIOp::create(b, firstBlock, i);
    emitBlock(block, b.multiply(i, kCacheBlock));
  });
}

SmallVector<Value> CodeCacheReader::emitGroupSums(Value head,
                                                  const BlockPart &part,
                                                  int64_t group, int64_t begin,
                                                  int64_t count) {
  // Unsigned keys: minus what their bias adds to the sums.
  SmallVector<Value> init;
  if (registers.signedCodes)
    init.assign(count, b.zero(VectorType::get(part.lanes, b.getI32Type())));
  for (int64_t i = init.size(); i < count; ++i) {
    Value bias = b.load(queryBiases, {b.index(begin + i), b.index(group)});
    init.push_back(b.broadcast(bias, part.lanes));
  }
  int64_t first = group * QuantizedBlock::kGroup;
  Value size = b.index(layout.getGroupSize(group) / 4);
  auto body = [&](Value number, int64_t steps, ValueRange acc) {
    Value d = b.add(b.multiply(number, 4), first);
    auto load = [&](int64_t i) {
      return b.load(4 * steps, queryCodes, {b.index(begin + i), d});
    };
    SmallVector<Value> queries, sums(acc);
    if (steps > 1)
      for (int64_t i = 0; i < count; ++i)
        queries.push_back(load(i));
    for (int64_t step = 0; step < steps; ++step) {
      Value at = b.multiply(b.add(d, 4 * step), kCacheBlock);
      at = arith::AddIOp::create(b, at, b.multiply(part.first, 4));
      Value keys =
          b.load(4 * part.lanes, k, {op.getLayer(), head, part.block, at});
      if (registers.signedCodes)
        keys = arith::XOrIOp::create(
            b, keys, b.integer(keys.getType(), QuantizedBlock::kKeyBias));
      for (int64_t i = 0; i < count; ++i) {
        Value x = steps > 1 ? b.extract(queries[i], 4 * step, 4) : load(i);
        sums[i] = Dot4Op::create(b, sums[i].getType(), keys, x, sums[i], 8,
                                 registers.signedCodes);
      }
    }
    return sums;
  };
  return accumulate(size, init, body);
}

AttentionShape CodeCacheReader::getScoreShape(int64_t rows) const {
  AttentionRegisters held = registers;
  // Sums of integers and of floats, both at once.
  if (registers.steps > 1)
    held.held /= 2;
  AttentionShape shape = held.shapeOf(rows);
  return {shape.rows, std::min(shape.lanes, kCacheBlock)};
}

void CodeCacheReader::emitScores(const PositionTile &at, int64_t rows) {
  forEachBlock(at, [&](Value block, Value position) {
    // The values of these positions come next.
    emitFetchBlock(v, at.head, block);
    AttentionShape shape = getScoreShape(rows);
    b.forEach(b.index(0), b.index(kCacheBlock), shape.lanes, [&](Value first) {
      BlockPart part = {block, first, shape.lanes};
      Value place = arith::AddIOp::create(b, position, first);
      for (int64_t begin = 0; begin < rows; begin += shape.rows)
        emitScores(at.head, part, place, begin,
                   std::min(shape.rows, rows - begin));
    });
  });
}

void CodeCacheReader::emitScores(Value head, const BlockPart &part, Value place,
                                 int64_t begin, int64_t count) {
  SmallVector<Value> sums(count, b.splat(part.lanes, 0.0));
  for (int64_t group = 0; group < layout.getGroups(); ++group) {
    auto integers = emitGroupSums(head, part, group, begin, count);
    Value scales = loadScales(k, head, part, group);
    for (int64_t i = 0; i < count; ++i) {
      Value scale = b.load(queryScales, {b.index(begin + i), b.index(group)});
      Value factor =
          arith::MulFOp::create(b, scales, b.broadcast(scale, part.lanes));
      Value sum = b.convert(integers[i], b.getF32Type());
      sums[i] = b.multiplyAdd(sum, factor, sums[i]);
    }
  }
  for (int64_t i = 0; i < count; ++i)
    b.store(sums[i], scores, {b.index(begin + i), place});
}

void CodeCacheReader::emitWeights(const PositionTile &at, int64_t rows,
                                  int64_t d) {
  int64_t group = d / QuantizedBlock::kGroup;
  forEachBlock(at, [&](Value block, Value position) {
    // The keys of the positions behind these come next.
    if (group == 0) {
      Value next = arith::AddIOp::create(b, at.nextPlace, position);
      emitFetchBlock(k, at.head, b.divide(next, kCacheBlock));
    }
    Value scales =
        loadScales(v, at.head, {block, b.index(0), kCacheBlock}, group);
    for (int64_t row = 0; row < rows; ++row) {
      SmallVector<Value> place = {b.index(row), position};
      Value p = b.load(kCacheBlock, scores, place);
      b.store(arith::MulFOp::create(b, p, scales), weights, place);
    }
  });
}

Value CodeCacheReader::emitValue(Value head, Value position, int64_t step,
                                 Value d, int64_t lanes) {
  Value block = b.divide(position, kCacheBlock);
  Value lane = b.add(b.remainder(position, kCacheBlock), step);
  Value at = arith::AddIOp::create(b, b.multiply(lane, headDim), d);
  Value codes = b.load(lanes, v, {op.getLayer(), head, block, at});
  Value wide =
      arith::ExtSIOp::create(b, VectorType::get(lanes, b.getI32Type()), codes);
  return b.convert(wide, b.getF32Type());
}

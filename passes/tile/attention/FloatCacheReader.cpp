// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/attention/FloatCacheReader.h"

#include "dialect/layout/CacheLayout.h"
#include "passes/support/Prefetch.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::lumen;

void FloatCacheReader::emitPrologue() {
  // Positions of a head are consecutive rows of the value cache.
  v = memref::CollapseShapeOp::create(
      b, v, SmallVector<ReassociationIndices>{{0}, {1}, {2, 3}, {4}});
  Type f32 = b.getF32Type();
  scores = b.allocateScratch({kAttentionRows, kAttentionPositions}, f32);
  weights = scores;
  queries = b.allocateScratch({kAttentionRows, headDim}, f32);
}

Value FloatCacheReader::emitCapacity() {
  return memref::DimOp::create(b, v, 2);
}

void FloatCacheReader::emitQuery(Value row, Value x) {
  b.store(x, queries, {row, b.index(0)});
}

void FloatCacheReader::emitScores(const PositionTile &at, int64_t rows) {
  int64_t perPass = registers.lanes / kCacheBlock;
  Value blocks = arith::CeilDivUIOp::create(b, at.count, b.index(kCacheBlock));
  Value lastBlock = arith::SubIOp::create(b, blocks, b.index(1));
  Value firstBlock = b.divide(at.place, kCacheBlock);
  Value passes = arith::CeilDivUIOp::create(b, blocks, b.index(perPass));
  b.forEach(passes, [&](Value pass) {
    Value base = b.multiply(pass, perPass);
    Value position = b.multiply(base, kCacheBlock);
    // A block past the last one repeats it; the mask hides its scores.
    SmallVector<Value> cacheBlocks;
    for (int64_t i = 0; i < perPass; ++i) {
      Value block = arith::MinUIOp::create(b, b.add(base, i), lastBlock);
      cacheBlocks.push_back(arith::AddIOp::create(b, firstBlock, block));
    }
    for (int64_t begin = 0; begin < rows; begin += registers.rows) {
      int64_t count = std::min(registers.rows, rows - begin);
      SmallVector<Value> init(count * perPass, b.splat(kCacheBlock, 0.0));
      auto addProducts = [&](Value d, ValueRange acc) {
        // The values of these positions come next.
        if (begin == 0) {
          Value first = arith::AddIOp::create(b, at.place, position);
          emitPrefetch(
              b, v,
              {op.getLayer(), at.head, first, b.multiply(d, registers.lanes)},
              registers.lanes);
        }
        SmallVector<Value> keys, next;
        for (Value block : cacheBlocks) {
          Value key = b.load(kCacheBlock, k,
                             {op.getLayer(), at.head, block, d, b.index(0)});
          keys.push_back(b.convert(key, b.getF32Type()));
        }
        for (int64_t i = 0; i < count; ++i) {
          Value x = b.load(queries, {b.index(begin + i), d});
          x = b.broadcast(x, kCacheBlock);
          for (auto [j, key] : llvm::enumerate(keys))
            next.push_back(b.multiplyAdd(x, key, acc[i * perPass + j]));
        }
        return next;
      };
      auto sums = b.accumulate(b.index(headDim), init, addProducts);
      for (int64_t i = 0; i < count; ++i)
        for (int64_t j = 0; j < perPass; ++j)
          b.store(sums[i * perPass + j], scores,
                  {b.index(begin + i), b.add(position, j * kCacheBlock)});
    }
  });
}

void FloatCacheReader::emitFetchKeys(const PositionTile &at, Value i, Value d) {
  Value offset = b.multiply(i, headDim);
  Value position = b.add(at.place, kAttentionPositions);
  Value column = arith::AddIOp::create(b, offset, d);
  emitPrefetch(b, k,
               {op.getLayer(), at.head, b.divide(position, kCacheBlock),
                b.index(0), column},
               registers.lanes);
}

Value FloatCacheReader::emitValue(Value head, Value position, Value d,
                                  int64_t lanes) {
  Value value = b.load(lanes, v, {op.getLayer(), head, position, d});
  return b.convert(value, b.getF32Type());
}

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
  scores = b.allocateScratch({registers.rows, kAttentionPositions}, f32);
  weights = scores;
  queries = b.allocateScratch({registers.rows, headDim}, f32);
}

void FloatCacheReader::emitQuery(Value row, int64_t d, Value x) {
  b.store(x, queries, {row, b.index(d)});
}

void FloatCacheReader::emitScores(const PositionTile &at, int64_t rows) {
  AttentionShape shape = registers.shapeOf(rows);
  // A block, or a part of one.
  int64_t width = std::min(shape.lanes, kCacheBlock);
  int64_t perPass = shape.lanes / width, perBlock = kCacheBlock / width;
  Value parts = arith::CeilDivUIOp::create(b, at.count, b.index(width));
  Value last = arith::SubIOp::create(b, parts, b.index(1));
  Value firstBlock = b.divide(at.place, kCacheBlock);
  Value passes = arith::CeilDivUIOp::create(b, parts, b.index(perPass));
  b.forEach(passes, [&](Value pass) {
    Value base = b.multiply(pass, perPass);
    Value position = b.multiply(base, width);
    // A part past the last one repeats it; the mask hides its scores.
    SmallVector<std::pair<Value, Value>> places;
    for (int64_t i = 0; i < perPass; ++i) {
      Value part = arith::MinUIOp::create(b, b.add(base, i), last);
      Value block =
          arith::AddIOp::create(b, firstBlock, b.divide(part, perBlock));
      Value lane = b.multiply(b.remainder(part, perBlock), width);
      places.push_back({block, lane});
    }
    for (int64_t begin = 0; begin < rows; begin += shape.rows) {
      int64_t count = std::min(shape.rows, rows - begin);
      SmallVector<Value> init(count * perPass, b.splat(width, 0.0));
      auto addProducts = [&](Value d, int64_t steps, ValueRange acc) {
        // The values of these positions come next.
        if (begin == 0) {
          Value first = arith::AddIOp::create(b, at.place, position);
          emitPrefetch(
              b, v, {op.getLayer(), at.head, first, b.multiply(d, shape.lanes)},
              steps * shape.lanes);
        }
        SmallVector<Value> sums(acc);
        Factors factors(b, queries, begin, count, d, steps);
        for (int64_t step = 0; step < steps; ++step) {
          SmallVector<Value> keys;
          for (auto [block, lane] : places) {
            Value key =
                b.load(width, k,
                       {op.getLayer(), at.head, block, b.add(d, step), lane});
            keys.push_back(b.convert(key, b.getF32Type()));
          }
          for (int64_t i = 0; i < count; ++i) {
            Value x = factors.emit(i, step, width);
            for (auto [j, key] : llvm::enumerate(keys)) {
              Value &sum = sums[i * perPass + j];
              sum = b.multiplyAdd(x, key, sum);
            }
          }
        }
        return sums;
      };
      auto sums = accumulate(b.index(headDim), init, addProducts);
      for (int64_t i = 0; i < count; ++i)
        for (int64_t j = 0; j < perPass; ++j)
          b.store(sums[i * perPass + j], scores,
                  {b.index(begin + i), b.add(position, j * width)});
    }
  });
}

void FloatCacheReader::emitFetchKeys(const PositionTile &at, Value i, Value d,
                                     int64_t lanes) {
  Value offset = b.multiply(i, headDim);
  Value column =
      arith::AddIOp::create(b, offset, b.multiply(d, registers.steps));
  emitPrefetch(b, k,
               {op.getLayer(), at.head, b.divide(at.nextPlace, kCacheBlock),
                b.index(0), column},
               registers.steps * lanes);
}

Value FloatCacheReader::emitValue(Value head, Value position, int64_t step,
                                  Value d, int64_t lanes) {
  Value value =
      b.load(lanes, v, {op.getLayer(), head, b.add(position, step), d});
  return b.convert(value, b.getF32Type());
}

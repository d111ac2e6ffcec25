// SPDX-License-Identifier: Apache-2.0
//
// The order of the operations of a row depends on the positions only: neither
// on the other rows of its tile nor on how many rows a tile or a step has. A
// row that ends before its tile does sees scores of minus infinity and
// positions that exist, and adds exact zeros. A whole part of such positions
// leaves the row's state as it was.
#include "passes/tile/attention/AttentionEmitter.h"

#include "dialect/layout/CacheLayout.h"
#include "passes/support/KernelBuffers.h"
#include "passes/tile/QuantizeEmitter.h"
#include "passes/tile/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/ADT/bit.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace mlir;
using namespace mlir::lumen;

AttentionRegisters AttentionRegisters::of(TargetAttr target) {
  // Half of the registers hold accumulators: what they meet needs the others.
  int64_t held = target ? target.getVectorRegisters() / 2 * target.getLanes()
                        : 32 / 2 * (512 / 32);
  int64_t rows = std::clamp<int64_t>(held / kCacheBlock, 1, kAttentionRows);
  int64_t lanes = std::clamp<int64_t>(llvm::bit_floor<uint64_t>(held / rows),
                                      kCacheBlock, kAttentionPositions);
  return {rows, lanes, target && target.prefersSignedCodes()};
}

AttentionEmitter::AttentionEmitter(KernelBuilder &b, AttentionOp op,
                                   QuantizeOp quantize,
                                   AttentionRegisters registers)
    : b(b), op(op), quantize(quantize), registers(registers),
      group(op.getHeads() / op.getKvHeads()), headDim(op.getHeadDim()),
      caches(CacheReader::create(b, op, registers)),
      q(getSourceBuffer(op.getQ())) {}

void AttentionEmitter::emitPrologue(int64_t sharedTiles, int64_t sharedRows) {
  tokens = memref::DimOp::create(b, q, 0);
  rowCount = b.multiply(tokens, group);
  caches->emitPrologue();
  Type f32 = b.getF32Type();
  limits = b.allocateScratch({kAttentionRows}, b.getI32Type());
  nextMaxima = b.allocateScratch({kAttentionRows}, f32);
  corrections = b.allocateScratch({kAttentionRows}, f32);
  tileSums = b.allocateScratch({kAttentionRows, kCacheBlock}, f32);
  for (State *state : {&running, &joined}) {
    state->outputs = b.allocateScratch({kAttentionRows, headDim}, f32);
    state->maxima = b.allocateScratch({kAttentionRows}, f32);
    state->sums = b.allocateScratch({kAttentionRows, kCacheBlock}, f32);
  }
  // Of the arena, which all workers share.
  auto share = [&](ArrayRef<int64_t> row) -> Value {
    SmallVector<int64_t> shape = {int64_t(op.getKvHeads()), sharedTiles,
                                  kAttentionSplits, sharedRows};
    shape.append(row.begin(), row.end());
    return memref::AllocOp::create(b, MemRefType::get(shape, f32));
  };
  shared = {share({headDim}), share({}), share({kCacheBlock})};
}

std::pair<Value, Value> AttentionEmitter::locateRow(Value head, Value row) {
  Value token = b.divide(row, group);
  Value member = b.remainder(row, group);
  Value firstHead = b.multiply(head, group);
  Value queryHead = arith::AddIOp::create(b, firstHead, member);
  return {token, b.multiply(queryHead, headDim)};
}

void AttentionEmitter::emitLoadQueries(Value head, Value first, int64_t rows) {
  // Scores are in units of log2(e): the softmax is then a power of two.
  double scale = op.getScale().convertToDouble() / std::log(2.0);
  Value last = arith::SubIOp::create(b, rowCount, b.index(1));
  b.forEach(rows, [&](Value i) {
    // Rows past the last one repeat it and are not stored.
    Value row = arith::AddIOp::create(b, first, i);
    row = arith::MinUIOp::create(b, row, last);
    auto [token, column] = locateRow(head, row);
    Value x = b.load(headDim, q, {token, column});
    caches->emitQuery(i, arith::MulFOp::create(b, x, b.splat(headDim, scale)));
    Value limit = arith::AddIOp::create(b, op.getPosition(), token);
    limit = arith::IndexCastOp::create(b, b.getI32Type(), limit);
    b.store(limit, limits, i);
  });
}

void AttentionEmitter::emitReset(const State &state, int64_t rows) {
  b.forEach(rows, [&](Value i) {
    b.store(b.splat(headDim, 0.0), state.outputs, {i, b.index(0)});
    b.store(b.splat(kCacheBlock, 0.0), state.sums, {i, b.index(0)});
    // Finite, so that a hidden score is infinitely far below it.
    Value lowest = b.real(b.getF32Type(), std::numeric_limits<float>::lowest());
    b.store(lowest, state.maxima, i);
  });
}

void AttentionEmitter::emitSoftmax(Value start, int64_t rows) {
  Value scores = caches->getScores();
  Value offsets = b.laneNumbers(kAttentionPositions);
  Value begin = arith::IndexCastOp::create(b, b.getI32Type(), start);
  Value hidden =
      b.splat(kAttentionPositions, -std::numeric_limits<double>::infinity());
  auto isBehind = [&](arith::CmpIPredicate predicate, Value position) -> Value {
    return arith::CmpIOp::create(b, predicate, offsets,
                                 b.broadcast(position, kAttentionPositions));
  };
  b.forEach(rows, [&](Value i) {
    Value x = b.load(kAttentionPositions, scores, {i, b.index(0)});
    Value limit = arith::SubIOp::create(b, b.load(limits, i), begin);
    Value seen = isBehind(arith::CmpIPredicate::sle, limit);
    if (op.getWindow()) {
      Value size = b.integer(b.getI32Type(), *op.getWindow());
      Value before = arith::SubIOp::create(b, limit, size);
      Value inside = isBehind(arith::CmpIPredicate::sgt, before);
      seen = arith::AndIOp::create(b, seen, inside);
    }
    x = arith::SelectOp::create(b, seen, x, hidden);
    Value most = arith::MaxNumFOp::create(b, emitMaximum(b, x),
                                          b.load(running.maxima, i),
                                          arith::FastMathFlags::nnan);
    b.store(most, nextMaxima, i);
    x = arith::SubFOp::create(b, x, b.broadcast(most, kAttentionPositions));
    x = emitExp2(b, x);
    b.store(x, scores, {i, b.index(0)});
    SmallVector<Value> parts = b.split(x, kCacheBlock);
    Value sum = parts.front();
    for (Value part : ArrayRef(parts).drop_front())
      sum = arith::AddFOp::create(b, sum, part);
    b.store(sum, tileSums, {i, b.index(0)});
  });
  Value before = b.load(rows, running.maxima, b.index(0));
  Value after = b.load(rows, nextMaxima, b.index(0));
  Value correction = emitExp2(b, arith::SubFOp::create(b, before, after));
  b.store(correction, corrections, b.index(0));
  b.store(after, running.maxima, b.index(0));
  b.forEach(rows, [&](Value i) {
    Value sum = b.load(kCacheBlock, running.sums, {i, b.index(0)});
    Value factor = b.load(corrections, i);
    sum = arith::MulFOp::create(b, sum, b.broadcast(factor, kCacheBlock));
    sum = arith::AddFOp::create(b, sum,
                                b.load(kCacheBlock, tileSums, {i, b.index(0)}));
    b.store(sum, running.sums, {i, b.index(0)});
  });
}

void AttentionEmitter::emitValues(const PositionTile &at, int64_t rows) {
  // A loop where all elements are treated alike: LLVM has one piece to compile.
  int64_t alike =
      caches->hasOneWeight() ? headDim / registers.lanes * registers.lanes : 0;
  if (alike)
    b.forEach(b.index(0), b.index(alike), registers.lanes,
              [&](Value d) { emitValues(at, rows, d, registers.lanes); });
  for (int64_t d = alike; d < headDim; d += registers.lanes) {
    caches->emitWeights(at, rows, d);
    emitValues(at, rows, b.index(d), std::min(registers.lanes, headDim - d));
  }
}

void AttentionEmitter::emitValues(const PositionTile &at, int64_t rows, Value d,
                                  int64_t lanes) {
  for (int64_t begin = 0; begin < rows; begin += registers.rows) {
    int64_t count = std::min(registers.rows, rows - begin);
    SmallVector<Value> init;
    for (int64_t i = 0; i < count; ++i) {
      Value row = b.index(begin + i);
      Value output = b.load(lanes, running.outputs, {row, d});
      Value factor = b.load(corrections, row);
      init.push_back(
          arith::MulFOp::create(b, output, b.broadcast(factor, lanes)));
    }
    auto result = b.accumulate(at.count, init, [&](Value j, ValueRange acc) {
      Value position = arith::AddIOp::create(b, at.place, j);
      if (begin == 0)
        caches->emitFetchKeys(at, j, d);
      Value value = caches->emitValue(at.head, position, d, lanes);
      SmallVector<Value> next;
      for (int64_t i = 0; i < count; ++i) {
        Value p = b.load(caches->getWeights(), {b.index(begin + i), j});
        next.push_back(b.multiplyAdd(b.broadcast(p, lanes), value, acc[i]));
      }
      return next;
    });
    for (int64_t i = 0; i < count; ++i)
      b.store(result[i], running.outputs, {b.index(begin + i), d});
  }
}

void AttentionEmitter::emitStore(Value head, Value first, int64_t rows) {
  Value left = arith::SubIOp::create(b, rowCount, first);
  left = arith::MinUIOp::create(b, left, b.index(rows));
  b.forEach(left, [&](Value i) {
    auto [token, column] = locateRow(head, arith::AddIOp::create(b, first, i));
    Value sum =
        emitTreeSum(b, b.load(kCacheBlock, joined.sums, {i, b.index(0)}));
    Value inverse = arith::DivFOp::create(b, b.real(b.getF32Type(), 1.0), sum);
    int64_t lanes = quantize ? int64_t(quantize.getGroup()) : headDim;
    for (int64_t d = 0; d < headDim; d += lanes) {
      Value x = b.load(lanes, joined.outputs, {i, b.index(d)});
      x = arith::MulFOp::create(b, x, b.broadcast(inverse, lanes));
      Value at = b.add(column, d);
      if (quantize)
        emitQuantizeStore(b, quantize, token, at, x);
      for (Value buffer : getDestinations(op.getResult()))
        b.store(x, buffer, {token, at});
    }
  });
}

Value AttentionEmitter::emitSplitCount(Value end) {
  Value count = arith::CeilDivUIOp::create(b, end, b.index(kAttentionSplit));
  return arith::MinUIOp::create(b, count, b.index(kAttentionSplits));
}

Value AttentionEmitter::emitEnd(Value first, int64_t rows) {
  Value last = arith::AddIOp::create(b, first, b.index(rows - 1));
  last = arith::MinUIOp::create(b, last,
                                arith::SubIOp::create(b, rowCount, b.index(1)));
  Value end = arith::AddIOp::create(b, op.getPosition(), b.divide(last, group));
  return b.add(end, 1);
}

Value AttentionEmitter::emitBegin(Value first) {
  if (!op.getWindow())
    return {};
  Value before = b.index(*op.getWindow() - 1);
  Value begin =
      arith::AddIOp::create(b, op.getPosition(), b.divide(first, group));
  begin = arith::SubIOp::create(b, arith::MaxUIOp::create(b, begin, before),
                                before);
  // Tiles are the same for every row: its sums have the same order.
  return b.multiply(b.divide(begin, kAttentionPositions), kAttentionPositions);
}

void AttentionEmitter::emitPart(Value head, Value part, Value seen, Value end,
                                int64_t rows) {
  emitReset(running, rows);
  Value begin = b.multiply(part, kAttentionSplit);
  Value stop = arith::MinUIOp::create(b, b.add(begin, kAttentionSplit), end);
  Value isLast = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, part,
                                       b.index(kAttentionSplits - 1));
  stop = arith::SelectOp::create(b, isLast, end, stop);
  if (seen)
    begin = arith::MaxUIOp::create(b, begin, seen);
  b.forEach(begin, stop, kAttentionPositions, [&](Value start) {
    Value count = arith::MinUIOp::create(
        b, arith::SubIOp::create(b, stop, start), b.index(kAttentionPositions));
    // With a window, caches are rings.
    Value place = start;
    if (seen)
      place = arith::RemUIOp::create(b, start, caches->emitCapacity());
    PositionTile at = {head, place, count};
    caches->emitScores(at, rows);
    emitSoftmax(start, rows);
    emitValues(at, rows);
  });
}

void AttentionEmitter::emitJoin(int64_t rows) {
  Value before = b.load(rows, joined.maxima, b.index(0));
  Value here = b.load(rows, running.maxima, b.index(0));
  Value most =
      arith::MaxNumFOp::create(b, before, here, arith::FastMathFlags::nnan);
  b.store(most, joined.maxima, b.index(0));
  auto storeFactor = [&](Value maximum, Value buffer) {
    Value factor = emitExp2(b, arith::SubFOp::create(b, maximum, most));
    b.store(factor, buffer, b.index(0));
  };
  storeFactor(before, corrections);
  storeFactor(here, nextMaxima);
  b.forEach(rows, [&](Value i) {
    Value old = b.load(corrections, i);
    Value scale = b.load(nextMaxima, i);
    auto join = [&](Value sum, Value part, int64_t size) {
      SmallVector<Value> at = {i, b.index(0)};
      Value x = b.load(size, sum, at);
      Value y = b.load(size, part, at);
      x = arith::MulFOp::create(b, x, b.broadcast(old, size));
      b.store(b.multiplyAdd(y, b.broadcast(scale, size), x), sum, at);
    };
    join(joined.sums, running.sums, kCacheBlock);
    join(joined.outputs, running.outputs, headDim);
  });
}

void AttentionEmitter::emitExchange(Value head, Value tile, Value part,
                                    int64_t rows, bool publish) {
  b.forEach(rows, [&](Value i) {
    SmallVector<Value> there = {head, tile, part, i}, here = {i};
    // One element, or a row of `lanes`.
    auto move = [&](Value local, Value common, int64_t lanes = 0) {
      ValueRange from = publish ? here : there, to = publish ? there : here;
      Value source = publish ? local : common,
            target = publish ? common : local;
      b.store(lanes ? b.load(lanes, source, from) : b.load(source, from),
              target, to);
    };
    move(running.maxima, shared.maxima);
    there.push_back(b.index(0));
    here.push_back(b.index(0));
    move(running.outputs, shared.outputs, headDim);
    move(running.sums, shared.sums, kCacheBlock);
  });
}

void AttentionEmitter::emitTile(Value head, Value tile, Value first,
                                int64_t rows, Value part, Value isWhole) {
  emitLoadQueries(head, first, rows);
  emitReset(joined, rows);
  Value begin = emitBegin(first), end = emitEnd(first, rows);
  Value stop =
      arith::SelectOp::create(b, isWhole, emitSplitCount(end), b.add(part, 1));
  Value start = part;
  if (begin) {
    // Parts that no row sees change nothing.
    Value seen = arith::MinUIOp::create(b, b.divide(begin, kAttentionSplit),
                                        b.index(kAttentionSplits - 1));
    start = arith::SelectOp::create(b, isWhole, seen, part);
  }
  b.forEach(start, stop, 1, [&](Value i) {
    emitPart(head, i, begin, end, rows);
    b.branch(
        isWhole, [&] { emitJoin(rows); },
        [&] { emitExchange(head, tile, part, rows, /*publish=*/true); });
  });
  b.branch(isWhole, [&] { emitStore(head, first, rows); });
}

void AttentionEmitter::emitMerge(Value head, Value tile, Value first,
                                 int64_t rows, Value parts) {
  emitReset(joined, rows);
  b.forEach(parts, [&](Value part) {
    emitExchange(head, tile, part, rows, /*publish=*/false);
    emitJoin(rows);
  });
  emitStore(head, first, rows);
}

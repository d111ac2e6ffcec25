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
#include "passes/target/common/Architecture.h"
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
  bool signedCodes = target && target.prefersSignedCodes();
  const Architecture &architecture = Architecture::of(target);
  int64_t chain = architecture.getChainLanes(target);
  // No page of positions and no group of codes lies in two pieces.
  int64_t softmax = std::clamp(chain, kCacheBlock, kAttentionPositions);
  int64_t piece = std::max(chain, QuantizedBlock::kGroup);
  // Factors from lanes cost so little that few lanes of many rows are better:
  // fewer keys and values are converted.
  AttentionParts parts = {512, 64, 4, false};
  if (target && target.hasWarps())
    // Workers are many, and have little memory of their own.
    return {
        4,           held,
        kCacheBlock, 1,
        softmax,     piece,
        signedCodes, {kAttentionPositions, 256, 8, target.getWorkers() > 1}};
  if (architecture.multipliesByLanes())
    return {8,       held,  2 * target.getLanes(), target.getLanes(),
            softmax, piece, signedCodes,           parts};
  return {8, held, kCacheBlock, 1, softmax, piece, signedCodes, parts};
}

AttentionShape AttentionRegisters::shapeOf(int64_t tileRows) const {
  // Where factors come from lanes, few rows have more of these.
  int64_t most = steps > 1 ? tileRows : rows;
  int64_t count = std::clamp<int64_t>(held / leastLanes, 1, most);
  int64_t lanes = llvm::bit_floor<uint64_t>(held / count);
  return {count, std::clamp(lanes, leastLanes, kAttentionPositions)};
}

AttentionEmitter::AttentionEmitter(KernelBuilder &b, AttentionOp op,
                                   QuantizeOp quantize,
                                   AttentionRegisters registers)
    : b(b), op(op), quantize(quantize), registers(registers),
      group(op.getHeads() / op.getKvHeads()), headDim(op.getHeadDim()),
      caches(CacheReader::create(b, op, registers)),
      q(getSourceBuffer(op.getQ())),
      positions(getSourceBuffer(op.getPositions())),
      pages(getSourceBuffer(op.getPages())) {}

void AttentionEmitter::emitPrologue(int64_t tiles, int64_t sharedRows) {
  sharedTiles = tiles;
  tokens = memref::DimOp::create(b, q, 0);
  caches->emitPrologue();
  Type f32 = b.getF32Type();
  limits = b.allocateScratch({registers.rows}, b.getI32Type());
  nextMaxima = b.allocateScratch({registers.rows}, f32);
  corrections = b.allocateScratch({registers.rows}, f32);
  tileSums = b.allocateScratch({registers.rows, kCacheBlock}, f32);
  for (State *state : {&running, &joined}) {
    state->outputs = b.allocateScratch({registers.rows, headDim}, f32);
    state->maxima = b.allocateScratch({registers.rows}, f32);
    state->sums = b.allocateScratch({registers.rows, kCacheBlock}, f32);
  }
  // Of the arena, which all workers share.
  auto share = [&](ArrayRef<int64_t> row) -> Value {
    SmallVector<int64_t> shape = {int64_t(op.getKvHeads()), sharedTiles,
                                  registers.parts.most, sharedRows};
    shape.append(row.begin(), row.end());
    return memref::AllocOp::create(b, MemRefType::get(shape, f32));
  };
  shared = {share({headDim}), share({}), share({kCacheBlock})};
}

void AttentionEmitter::forEachPiece(function_ref<void(int64_t, int64_t)> body) {
  for (int64_t d = 0; d < headDim; d += registers.pieceLanes)
    body(d, std::min(registers.pieceLanes, headDim - d));
}

std::pair<Value, Value> AttentionEmitter::locateRow(Value head, Value row) {
  Value token = b.divide(row, group);
  Value member = b.remainder(row, group);
  Value firstHead = b.multiply(head, group);
  Value queryHead = arith::AddIOp::create(b, firstHead, member);
  return {token, b.multiply(queryHead, headDim)};
}

Value AttentionEmitter::emitPosition(Value token) {
  return b.toIndex(b.load(positions, token));
}

Value AttentionEmitter::emitPlace(Value sequence, Value page) {
  Value last =
      arith::SubIOp::create(b, memref::DimOp::create(b, pages, 1), b.index(1));
  page = arith::MinUIOp::create(b, page, last);
  Value number = b.toIndex(b.load(pages, {sequence, page}));
  return b.multiply(number, kCachePage);
}

void AttentionEmitter::emitLoadQueries(const RowTile &tile, int64_t rows) {
  // Scores are in units of log2(e): the softmax is then a power of two.
  double scale = op.getScale().convertToDouble() / std::log(2.0);
  Value last = arith::SubIOp::create(b, tile.end, b.index(1));
  b.forEach(rows, [&](Value i) {
    // Rows past the last one repeat it and are not stored.
    Value row = arith::AddIOp::create(b, tile.first, i);
    row = arith::MinUIOp::create(b, row, last);
    auto [token, column] = locateRow(tile.head, row);
    forEachPiece([&, column = column, token = token](int64_t d, int64_t lanes) {
      Value x = b.load(lanes, q, {token, b.add(column, d)});
      x = arith::MulFOp::create(b, x, b.splat(lanes, scale));
      caches->emitQuery(i, d, x);
    });
    b.store(b.load(positions, token), limits, i);
  });
}

void AttentionEmitter::emitReset(const State &state, int64_t rows) {
  b.forEach(rows, [&](Value i) {
    forEachPiece([&](int64_t d, int64_t lanes) {
      b.store(b.splat(lanes, 0.0), state.outputs, {i, b.index(d)});
    });
    b.store(b.splat(kCacheBlock, 0.0), state.sums, {i, b.index(0)});
    // Finite, so that a hidden score is infinitely far below it.
    Value lowest = b.real(b.getF32Type(), std::numeric_limits<float>::lowest());
    b.store(lowest, state.maxima, i);
  });
}

Value AttentionEmitter::emitHidden(Value x, int64_t first, Value limit) {
  int64_t lanes = getLanes(x);
  Value offsets = b.laneNumbers(lanes, first);
  auto isBehind = [&](arith::CmpIPredicate predicate, Value position) -> Value {
    return arith::CmpIOp::create(b, predicate, offsets,
                                 b.broadcast(position, lanes));
  };
  Value seen = isBehind(arith::CmpIPredicate::sle, limit);
  if (op.getWindow()) {
    Value size = b.integer(b.getI32Type(), *op.getWindow());
    Value before = arith::SubIOp::create(b, limit, size);
    Value inside = isBehind(arith::CmpIPredicate::sgt, before);
    seen = arith::AndIOp::create(b, seen, inside);
  }
  return arith::SelectOp::create(
      b, seen, x, b.splat(lanes, -std::numeric_limits<double>::infinity()));
}

Value AttentionEmitter::emitHides(Value limit) {
  auto compare = [&](arith::CmpIPredicate predicate, int64_t position) {
    return arith::CmpIOp::create(b, predicate, limit,
                                 b.integer(b.getI32Type(), position));
  };
  Value hides = compare(arith::CmpIPredicate::slt, kAttentionPositions - 1);
  if (op.getWindow()) {
    Value begins = compare(arith::CmpIPredicate::sge, *op.getWindow());
    hides = arith::OrIOp::create(b, hides, begins);
  }
  return hides;
}

void AttentionEmitter::emitSoftmax(Value start, int64_t rows) {
  Value scores = caches->getScores();
  Value begin = arith::IndexCastOp::create(b, b.getI32Type(), start);
  // What the registers hold with all that the exponential takes.
  int64_t lanes = registers.softmaxLanes;
  bool isWhole = lanes == kAttentionPositions;
  b.forEach(rows, [&](Value i) {
    auto load = [&](int64_t first) {
      return b.load(lanes, scores, {i, b.index(first)});
    };
    Value x = isWhole ? load(0) : Value();
    Value limit = arith::SubIOp::create(b, b.load(limits, i), begin);
    if (isWhole)
      x = emitHidden(x, 0, limit);
    else // Almost all rows see all positions of a tile.
      b.branch(emitHides(limit), [&] {
        for (int64_t first = 0; first < kAttentionPositions; first += lanes)
          b.store(emitHidden(load(first), first, limit), scores,
                  {i, b.index(first)});
      });
    Value most = isWhole ? x : load(0);
    for (int64_t first = lanes; first < kAttentionPositions; first += lanes)
      most = arith::MaxNumFOp::create(b, most, load(first),
                                      arith::FastMathFlags::nnan);
    most = arith::MaxNumFOp::create(b, emitMaximum(b, most),
                                    b.load(running.maxima, i),
                                    arith::FastMathFlags::nnan);
    b.store(most, nextMaxima, i);
    Value spread = b.broadcast(most, lanes), sum;
    for (int64_t first = 0; first < kAttentionPositions; first += lanes) {
      Value piece = isWhole ? x : load(first);
      piece = emitExp2(b, arith::SubFOp::create(b, piece, spread));
      b.store(piece, scores, {i, b.index(first)});
      for (Value part : b.split(piece, kCacheBlock))
        sum = sum ? arith::AddFOp::create(b, sum, part) : part;
    }
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
  AttentionShape shape = caches->getValueShape(rows);
  int64_t span = caches->getSpan();
  // Where it has several turns, a loop: LLVM has one piece to compile.
  bool isLoop = span == headDim || span >= 4 * shape.lanes;
  for (int64_t first = 0; first < headDim; first += span) {
    caches->emitWeights(at, rows, first);
    int64_t end = std::min(first + span, headDim), alike = first;
    if (isLoop)
      alike += (end - first) / shape.lanes * shape.lanes;
    if (alike > first)
      b.forEach(b.index(first), b.index(alike), shape.lanes,
                [&](Value d) { emitValues(at, rows, d, shape); });
    for (int64_t d = alike; d < end; d += shape.lanes)
      emitValues(at, rows, b.index(d),
                 {shape.rows, std::min(shape.lanes, end - d)});
  }
}

void AttentionEmitter::emitValues(const PositionTile &at, int64_t rows, Value d,
                                  AttentionShape shape) {
  int64_t lanes = shape.lanes;
  for (int64_t begin = 0; begin < rows; begin += shape.rows) {
    int64_t count = std::min(shape.rows, rows - begin);
    SmallVector<Value> init;
    for (int64_t i = 0; i < count; ++i) {
      Value row = b.index(begin + i);
      Value output = b.load(lanes, running.outputs, {row, d});
      Value factor = b.load(corrections, row);
      init.push_back(
          arith::MulFOp::create(b, output, b.broadcast(factor, lanes)));
    }
    auto result = caches->accumulate(
        at.count, init, [&](Value j, int64_t steps, ValueRange acc) {
          Value position = arith::AddIOp::create(b, at.place, j);
          if (begin == 0)
            caches->emitFetchKeys(at, j, d, lanes);
          SmallVector<Value> next(acc);
          Factors factors(b, caches->getWeights(), begin, count, j, steps);
          for (int64_t step = 0; step < steps; ++step) {
            Value value = caches->emitValue(at.head, position, step, d, lanes);
            for (int64_t i = 0; i < count; ++i)
              next[i] =
                  b.multiplyAdd(factors.emit(i, step, lanes), value, next[i]);
          }
          return next;
        });
    for (int64_t i = 0; i < count; ++i)
      b.store(result[i], running.outputs, {b.index(begin + i), d});
  }
}

void AttentionEmitter::emitStore(const RowTile &tile, int64_t rows) {
  Value left = arith::SubIOp::create(b, tile.end, tile.first);
  left = arith::MinUIOp::create(b, left, b.index(rows));
  b.forEach(left, [&](Value i) {
    auto [token, column] =
        locateRow(tile.head, arith::AddIOp::create(b, tile.first, i));
    Value sum =
        emitTreeSum(b, b.load(kCacheBlock, joined.sums, {i, b.index(0)}));
    Value inverse = arith::DivFOp::create(b, b.real(b.getF32Type(), 1.0), sum);
    int64_t width = quantize ? int64_t(quantize.getGroup())
                             : std::min(registers.pieceLanes, headDim);
    for (int64_t d = 0; d < headDim; d += width) {
      int64_t lanes = std::min(width, headDim - d);
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
  Value count =
      arith::CeilDivUIOp::create(b, end, b.index(registers.parts.positions));
  return arith::MinUIOp::create(b, count, b.index(registers.parts.most));
}

Value AttentionEmitter::emitEnd(const RowTile &tile, int64_t rows) {
  Value last = arith::AddIOp::create(b, tile.first, b.index(rows - 1));
  last = arith::MinUIOp::create(b, last,
                                arith::SubIOp::create(b, tile.end, b.index(1)));
  return b.add(emitPosition(b.divide(last, group)), 1);
}

Value AttentionEmitter::emitBegin(const RowTile &tile) {
  if (!op.getWindow())
    return {};
  Value before = b.index(*op.getWindow() - 1);
  Value begin = emitPosition(b.divide(tile.first, group));
  begin = arith::SubIOp::create(b, arith::MaxUIOp::create(b, begin, before),
                                before);
  // Tiles are the same for every row: its sums have the same order.
  return b.multiply(b.divide(begin, kAttentionPositions), kAttentionPositions);
}

void AttentionEmitter::emitPart(const RowTile &tile, Value part, Value seen,
                                Value end, int64_t rows) {
  emitReset(running, rows);
  Value begin = b.multiply(part, registers.parts.positions);
  Value stop =
      arith::MinUIOp::create(b, b.add(begin, registers.parts.positions), end);
  Value isLast = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, part,
                                       b.index(registers.parts.most - 1));
  stop = arith::SelectOp::create(b, isLast, end, stop);
  if (seen)
    begin = arith::MaxUIOp::create(b, begin, seen);
  b.forEach(begin, stop, kAttentionPositions, [&](Value start) {
    Value count = arith::MinUIOp::create(
        b, arith::SubIOp::create(b, stop, start), b.index(kAttentionPositions));
    Value page = b.divide(start, kCachePage);
    PositionTile at = {tile.head, emitPlace(tile.sequence, page),
                       emitPlace(tile.sequence, b.add(page, 1)), count};
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
    auto join = [&](Value sum, Value part, int64_t first, int64_t size) {
      SmallVector<Value> at = {i, b.index(first)};
      Value x = b.load(size, sum, at);
      Value y = b.load(size, part, at);
      x = arith::MulFOp::create(b, x, b.broadcast(old, size));
      b.store(b.multiplyAdd(y, b.broadcast(scale, size), x), sum, at);
    };
    join(joined.sums, running.sums, 0, kCacheBlock);
    forEachPiece([&](int64_t d, int64_t lanes) {
      join(joined.outputs, running.outputs, d, lanes);
    });
  });
}

void AttentionEmitter::emitExchange(Value head, Value number, Value part,
                                    int64_t rows, bool publish) {
  b.forEach(rows, [&](Value i) {
    SmallVector<Value> there = {head, number, part, i}, here = {i};
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

void AttentionEmitter::emitTile(const RowTile &tile, Value number, int64_t rows,
                                Value part, Value isWhole) {
  emitLoadQueries(tile, rows);
  emitReset(joined, rows);
  Value begin = emitBegin(tile), end = emitEnd(tile, rows);
  Value count = emitSplitCount(end);
  // Of several sequences, one may have fewer parts than another.
  Value stop = arith::SelectOp::create(
      b, isWhole, count, arith::MinUIOp::create(b, b.add(part, 1), count));
  Value start = part;
  if (begin) {
    // Parts that no row sees change nothing.
    Value seen =
        arith::MinUIOp::create(b, b.divide(begin, registers.parts.positions),
                               b.index(registers.parts.most - 1));
    start = arith::SelectOp::create(b, isWhole, seen, part);
  }
  b.forEach(start, stop, 1, [&](Value i) {
    emitPart(tile, i, begin, end, rows);
    b.branch(
        isWhole, [&] { emitJoin(rows); },
        [&] { emitExchange(tile.head, number, part, rows, /*publish=*/true); });
  });
  if (!registers.parts.lastMerges)
    return b.branch(isWhole, [&] { emitStore(tile, rows); });
  b.branch(
      isWhole, [&] { emitStore(tile, rows); },
      [&] {
        Value exists =
            arith::CmpIOp::create(b, arith::CmpIPredicate::ult, part, count);
        b.branch(exists, [&] {
          Value counter = arith::AddIOp::create(
              b, b.multiply(tile.head, sharedTiles), number);
          b.branch(ArriveOp::create(b, counter, count),
                   [&] { emitMergeAtOnce(tile, number, rows, count); });
        });
      });
}

void AttentionEmitter::emitMerge(const RowTile &tile, Value number,
                                 int64_t rows, Value parts) {
  emitReset(joined, rows);
  Value count = emitSplitCount(emitEnd(tile, rows));
  b.forEach(arith::MinUIOp::create(b, parts, count), [&](Value part) {
    emitExchange(tile.head, number, part, rows, /*publish=*/false);
    emitJoin(rows);
  });
  emitStore(tile, rows);
}

void AttentionEmitter::emitMergeAtOnce(const RowTile &tile, Value number,
                                       int64_t rows, Value count) {
  // Parts whose states are loaded before the first of them is joined: as many
  // as half of the registers hold.
  constexpr int64_t kMostElements = 1024;
  int64_t together =
      std::clamp<int64_t>(kMostElements / (rows * headDim), 1, 4);
  // The state of a row: its maximum, then the sums and outputs by lane.
  auto load = [&](Value part) {
    SmallVector<Value> state;
    for (int64_t i = 0; i < rows; ++i) {
      SmallVector<Value> at = {tile.head, number, part, b.index(i)};
      state.push_back(b.load(shared.maxima, at));
      at.push_back(b.index(0));
      state.push_back(b.load(kCacheBlock, shared.sums, at));
      state.push_back(b.load(headDim, shared.outputs, at));
    }
    return state;
  };
  auto joinRow = [&](ValueRange part, ValueRange before) {
    Value most = arith::MaxNumFOp::create(b, before[0], part[0],
                                          arith::FastMathFlags::nnan);
    auto factor = [&](Value maximum, int64_t lanes) {
      Value less = arith::SubFOp::create(b, maximum, most);
      return emitExp2(b, b.broadcast(less, lanes));
    };
    SmallVector<Value> after = {most};
    for (int64_t i : {1, 2}) {
      int64_t lanes = getLanes(part[i]);
      Value old = factor(before[0], lanes), scale = factor(part[0], lanes);
      Value sum = arith::MulFOp::create(b, before[i], old);
      after.push_back(b.multiplyAdd(part[i], scale, sum));
    }
    return after;
  };
  auto join = [&](ValueRange part, ValueRange before) {
    SmallVector<Value> after;
    for (int64_t i = 0; i < rows; ++i)
      llvm::append_range(after,
                         joinRow(part.slice(3 * i, 3), before.slice(3 * i, 3)));
    return after;
  };
  SmallVector<Value> state;
  for (int64_t i = 0; i < rows; ++i) {
    state.push_back(
        b.real(b.getF32Type(), std::numeric_limits<float>::lowest()));
    state.push_back(b.splat(kCacheBlock, 0.0));
    state.push_back(b.splat(headDim, 0.0));
  }
  Value even = b.multiply(b.divide(count, together), together);
  state = b.accumulate(b.index(0), even, together, state,
                       [&](Value first, ValueRange state) {
                         SmallVector<SmallVector<Value>> parts;
                         for (int64_t i = 0; i < together; ++i)
                           parts.push_back(load(b.add(first, i)));
                         SmallVector<Value> next(state);
                         for (ArrayRef<Value> part : parts)
                           next = join(part, next);
                         return next;
                       });
  if (together > 1)
    state = b.accumulate(even, count, 1, state, [&](Value i, ValueRange state) {
      return join(load(i), state);
    });
  for (int64_t i = 0; i < rows; ++i) {
    SmallVector<Value> at = {b.index(i), b.index(0)};
    b.store(state[3 * i + 1], joined.sums, at);
    b.store(state[3 * i + 2], joined.outputs, at);
  }
  emitStore(tile, rows);
}

// SPDX-License-Identifier: Apache-2.0
//
// The order of the operations of a row depends on the positions only: neither
// on the other rows of its tile nor on how many rows a tile or a step has. A
// row that ends before its tile does sees scores of minus infinity and
// positions that exist, and adds exact zeros. A whole part of such positions
// leaves the row's state as it was.
#include "passes/tile/attention/AttentionEmitter.h"

#include "passes/support/Prefetch.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <cmath>
#include <limits>
#include <numeric>

using namespace mlir;
using namespace mlir::lumen;

AttentionRegisters AttentionRegisters::forVectorBits(int64_t bits) {
  if (bits >= 512)
    return {8, 32};
  return {bits >= 256 ? 4 : 2, 16};
}

AttentionEmitter::AttentionEmitter(ImplicitLocOpBuilder &b, AttentionOp op,
                                   QuantizeOp quantize,
                                   AttentionRegisters registers)
    : b(b), op(op), quantize(quantize), registers(registers),
      group(op.getHeads() / op.getKvHeads()), headDim(op.getHeadDim()),
      isQuantized(getElementTypeOrSelf(op.getK()).isInteger()),
      q(getSourceBuffer(op.getQ())), k(getSourceBuffer(op.getK())),
      v(getSourceBuffer(op.getV())) {}

Value AttentionEmitter::index(int64_t value) {
  return arith::ConstantIndexOp::create(b, value);
}

void AttentionEmitter::emitLoop(Value count, function_ref<void(Value)> body) {
  auto forOp = scf::ForOp::create(b, index(0), count, index(1));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(forOp.getBody());
  body(forOp.getInductionVar());
}

void AttentionEmitter::emitPrologue(int64_t sharedTiles, int64_t sharedRows) {
  tokens = memref::DimOp::create(b, q, 0);
  rowCount = arith::MulIOp::create(b, tokens, index(group));
  // Positions of a head are consecutive rows of the value cache.
  if (!isQuantized)
    v = memref::CollapseShapeOp::create(
        b, v, SmallVector<ReassociationIndices>{{0}, {1}, {2, 3}, {4}});
  auto allocate = [&](ArrayRef<int64_t> shape, Type element) -> Value {
    return allocateScratch(b, shape, element);
  };
  Type f32 = b.getF32Type();
  scores = allocate({kAttentionRows, kAttentionPositions}, f32);
  weights = scores;
  if (isQuantized) {
    int64_t groups = QuantizedPage{headDim}.getGroups();
    weights = allocate({kAttentionRows, kAttentionPositions}, f32);
    queryCodes = allocate({kAttentionRows, headDim}, b.getI8Type());
    queryScales = allocate({kAttentionRows, groups}, f32);
    queryBiases = allocate({kAttentionRows, groups}, b.getI32Type());
  } else {
    queries = allocate({kAttentionRows, headDim}, f32);
  }
  limits = allocate({kAttentionRows}, b.getI32Type());
  nextMaxima = allocate({kAttentionRows}, f32);
  corrections = allocate({kAttentionRows}, f32);
  tileSums = allocate({kAttentionRows, kCacheBlock}, f32);
  for (State *state : {&running, &joined}) {
    state->outputs = allocate({kAttentionRows, headDim}, f32);
    state->maxima = allocate({kAttentionRows}, f32);
    state->sums = allocate({kAttentionRows, kCacheBlock}, f32);
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
  Value token = divideByConstant(b, row, group);
  Value member = arith::RemUIOp::create(b, row, index(group));
  Value firstHead = arith::MulIOp::create(b, head, index(group));
  Value queryHead = arith::AddIOp::create(b, firstHead, member);
  return {token, arith::MulIOp::create(b, queryHead, index(headDim))};
}

void AttentionEmitter::emitLoadQueries(Value head, Value first, int64_t rows) {
  auto type = VectorType::get({headDim}, b.getF32Type());
  // Scores are in units of log2(e): the softmax is then a power of two.
  double scale = op.getScale().convertToDouble() / std::log(2.0);
  Value last = arith::SubIOp::create(b, rowCount, index(1));
  emitLoop(index(rows), [&](Value i) {
    // Rows past the last one repeat it and are not stored.
    Value row = arith::AddIOp::create(b, first, i);
    row = arith::MinUIOp::create(b, row, last);
    auto [token, column] = locateRow(head, row);
    Value x = vector::LoadOp::create(b, type, q, ValueRange{token, column});
    x = arith::MulFOp::create(b, x, splat(b, headDim, scale));
    if (isQuantized)
      emitQuantizeQuery(i, x);
    else
      vector::StoreOp::create(b, x, queries, ValueRange{i, index(0)});
    Value limit = arith::AddIOp::create(b, op.getPosition(), token);
    limit = arith::IndexCastOp::create(b, b.getI32Type(), limit);
    memref::StoreOp::create(b, limit, limits, i);
  });
}

void AttentionEmitter::emitReset(const State &state, int64_t rows) {
  emitLoop(index(rows), [&](Value i) {
    vector::StoreOp::create(b, splat(b, headDim, 0.0), state.outputs,
                            ValueRange{i, index(0)});
    vector::StoreOp::create(b, splat(b, kCacheBlock, 0.0), state.sums,
                            ValueRange{i, index(0)});
    // Finite, so that a hidden score is infinitely far below it.
    Value lowest = arith::ConstantOp::create(
        b, b.getF32FloatAttr(std::numeric_limits<float>::lowest()));
    memref::StoreOp::create(b, lowest, state.maxima, i);
  });
}

SmallVector<Value> AttentionEmitter::emitAccumulation(
    Value count, ArrayRef<Value> init,
    function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto forOp = scf::ForOp::create(b, index(0), count, index(1), init);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(forOp.getBody());
  scf::YieldOp::create(
      b, body(forOp.getInductionVar(), forOp.getRegionIterArgs()));
  return llvm::to_vector_of<Value>(forOp.getResults());
}

void AttentionEmitter::emitScores(Value head, Value start, Value valid,
                                  int64_t rows) {
  auto keyType =
      VectorType::get({kCacheBlock}, getElementTypeOrSelf(k.getType()));
  int64_t perPass = registers.lanes / kCacheBlock;
  Value blocks = arith::CeilDivUIOp::create(b, valid, index(kCacheBlock));
  Value lastBlock = arith::SubIOp::create(b, blocks, index(1));
  Value firstBlock = divideByConstant(b, start, kCacheBlock);
  Value passes = arith::CeilDivUIOp::create(b, blocks, index(perPass));
  emitLoop(passes, [&](Value pass) {
    Value base = arith::MulIOp::create(b, pass, index(perPass));
    Value position = arith::MulIOp::create(b, base, index(kCacheBlock));
    // A block past the last one repeats it; the mask hides its scores.
    SmallVector<Value> cacheBlocks;
    for (int64_t i = 0; i < perPass; ++i) {
      Value block =
          arith::MinUIOp::create(b, addConstant(b, base, i), lastBlock);
      cacheBlocks.push_back(arith::AddIOp::create(b, firstBlock, block));
    }
    for (int64_t begin = 0; begin < rows; begin += registers.rows) {
      int64_t count = std::min(registers.rows, rows - begin);
      SmallVector<Value> init(count * perPass, splat(b, kCacheBlock, 0.0));
      auto result =
          emitAccumulation(index(headDim), init, [&](Value d, ValueRange acc) {
            // The values of these positions come next.
            if (begin == 0)
              emitFetch(v, head, arith::AddIOp::create(b, start, position),
                        arith::MulIOp::create(b, d, index(registers.lanes)));
            SmallVector<Value> keys, next;
            for (Value block : cacheBlocks) {
              Value key = vector::LoadOp::create(
                  b, keyType, k,
                  ValueRange{op.getLayer(), head, block, d, index(0)});
              keys.push_back(convertElements(b, key, b.getF32Type()));
            }
            for (int64_t i = 0; i < count; ++i) {
              Value x = memref::LoadOp::create(b, queries,
                                               ValueRange{index(begin + i), d});
              x = broadcast(b, x, kCacheBlock);
              for (auto [j, key] : llvm::enumerate(keys))
                next.push_back(multiplyAdd(b, x, key, acc[i * perPass + j]));
            }
            return next;
          });
      for (int64_t i = 0; i < count; ++i)
        for (int64_t j = 0; j < perPass; ++j)
          vector::StoreOp::create(
              b, result[i * perPass + j], scores,
              ValueRange{index(begin + i),
                         addConstant(b, position, j * kCacheBlock)});
    }
  });
}

Value AttentionEmitter::emitExp2(Value x) {
  // x = n + f with |f| <= 1/2. 2^f is a polynomial (minimax, relative error
  // 1e-7) that is exactly 1 at 0; n goes into the exponent. Below 2^-125 all is
  // 0.
  static constexpr double coefficients[] = {0.0013264727, 0.009671513,
                                            0.055507336, 0.24022242, 0.693147};
  auto type = cast<VectorType>(x.getType());
  auto integerType = type.clone(b.getI32Type());
  int64_t lanes = type.getNumElements();
  Value lowest = splat(b, lanes, -125.0);
  Value bounded =
      arith::MaxNumFOp::create(b, x, lowest, arith::FastMathFlags::nnan);
  Rounded whole = emitRoundEven(b, bounded);
  Value fraction = arith::SubFOp::create(b, bounded, whole.real);
  Value power = splat(b, lanes, coefficients[0]);
  for (double coefficient : ArrayRef(coefficients).drop_front())
    power = multiplyAdd(b, power, fraction, splat(b, lanes, coefficient));
  power = multiplyAdd(b, power, fraction, splat(b, lanes, 1.0));
  Value shift = arith::ConstantOp::create(
      b, DenseElementsAttr::get(integerType, b.getI32IntegerAttr(23)));
  Value exponent = arith::ShLIOp::create(b, whole.integer, shift);
  Value bits = arith::BitcastOp::create(b, integerType, power);
  bits = arith::AddIOp::create(b, bits, exponent);
  Value result = arith::BitcastOp::create(b, type, bits);
  Value inRange =
      arith::CmpFOp::create(b, arith::CmpFPredicate::OGE, x, lowest);
  return arith::SelectOp::create(b, inRange, result, splat(b, lanes, 0.0));
}

void AttentionEmitter::emitSoftmax(Value start, int64_t rows) {
  auto f32 = b.getF32Type();
  auto type = VectorType::get({kAttentionPositions}, f32);
  auto integerType = type.clone(b.getI32Type());
  SmallVector<int32_t> lanes(kAttentionPositions);
  std::iota(lanes.begin(), lanes.end(), 0);
  Value offsets = arith::ConstantOp::create(
      b, DenseElementsAttr::get(integerType, ArrayRef(lanes)));
  Value begin = arith::IndexCastOp::create(b, b.getI32Type(), start);
  Value hidden =
      splat(b, kAttentionPositions, -std::numeric_limits<double>::infinity());
  emitLoop(index(rows), [&](Value i) {
    Value x = vector::LoadOp::create(b, type, scores, ValueRange{i, index(0)});
    Value limit = memref::LoadOp::create(b, limits, i);
    limit = arith::SubIOp::create(b, limit, begin);
    Value seen =
        arith::CmpIOp::create(b, arith::CmpIPredicate::sle, offsets,
                              broadcast(b, limit, kAttentionPositions));
    if (op.getWindow()) {
      Value size =
          arith::ConstantIntOp::create(b, b.getI32Type(), *op.getWindow());
      Value before = arith::SubIOp::create(b, limit, size);
      Value inside =
          arith::CmpIOp::create(b, arith::CmpIPredicate::sgt, offsets,
                                broadcast(b, before, kAttentionPositions));
      seen = arith::AndIOp::create(b, seen, inside);
    }
    x = arith::SelectOp::create(b, seen, x, hidden);
    // The maximum is the same in any order.
    Value most = vector::ReductionOp::create(b, vector::CombiningKind::MAXNUMF,
                                             x, arith::FastMathFlags::nnan);
    most = arith::MaxNumFOp::create(
        b, most, memref::LoadOp::create(b, running.maxima, i),
        arith::FastMathFlags::nnan);
    memref::StoreOp::create(b, most, nextMaxima, i);
    x = arith::SubFOp::create(b, x, broadcast(b, most, kAttentionPositions));
    x = emitExp2(x);
    vector::StoreOp::create(b, x, scores, ValueRange{i, index(0)});
    SmallVector<Value> parts = splitVector(b, x, kCacheBlock);
    Value sum = parts.front();
    for (Value part : ArrayRef(parts).drop_front())
      sum = arith::AddFOp::create(b, sum, part);
    vector::StoreOp::create(b, sum, tileSums, ValueRange{i, index(0)});
  });
  auto rowType = VectorType::get({rows}, f32);
  Value before = vector::LoadOp::create(b, rowType, running.maxima, index(0));
  Value after = vector::LoadOp::create(b, rowType, nextMaxima, index(0));
  Value correction = emitExp2(arith::SubFOp::create(b, before, after));
  vector::StoreOp::create(b, correction, corrections, index(0));
  vector::StoreOp::create(b, after, running.maxima, index(0));
  emitLoop(index(rows), [&](Value i) {
    auto lineType = VectorType::get({kCacheBlock}, f32);
    Value sum = vector::LoadOp::create(b, lineType, running.sums,
                                       ValueRange{i, index(0)});
    Value factor = memref::LoadOp::create(b, corrections, i);
    sum = arith::MulFOp::create(b, sum, broadcast(b, factor, kCacheBlock));
    sum = arith::AddFOp::create(
        b, sum,
        vector::LoadOp::create(b, lineType, tileSums, ValueRange{i, index(0)}));
    vector::StoreOp::create(b, sum, running.sums, ValueRange{i, index(0)});
  });
}

void AttentionEmitter::emitFetch(Value cache, Value head, Value position,
                                 Value offset) {
  SmallVector<Value> at = {op.getLayer(), head};
  // Of values positions are rows, of keys they are the lanes of blocks.
  if (cache == v) {
    at.push_back(position);
  } else {
    at.push_back(divideByConstant(b, position, kCacheBlock));
    at.push_back(index(0));
  }
  at.push_back(offset);
  emitPrefetch(b, cache, at, registers.lanes);
}

Value AttentionEmitter::loadValues(Value head, Value position, int64_t d,
                                   int64_t lanes) {
  if (isQuantized)
    return loadCodeValues(head, position, d, lanes);
  auto type = VectorType::get({lanes}, getElementTypeOrSelf(v));
  Value values = vector::LoadOp::create(
      b, type, v, ValueRange{op.getLayer(), head, position, index(d)});
  return convertElements(b, values, b.getF32Type());
}

void AttentionEmitter::emitValues(Value head, Value start, Value valid,
                                  int64_t rows) {
  for (int64_t d = 0; d < headDim; d += registers.lanes) {
    int64_t lanes = std::min(registers.lanes, headDim - d);
    if (isQuantized && d % QuantizedPage::kGroup == 0)
      emitWeights(head, start, valid, rows, d / QuantizedPage::kGroup);
    auto type = VectorType::get({lanes}, b.getF32Type());
    for (int64_t begin = 0; begin < rows; begin += registers.rows) {
      int64_t count = std::min(registers.rows, rows - begin);
      SmallVector<Value> init;
      for (int64_t i = 0; i < count; ++i) {
        Value row = index(begin + i);
        Value output = vector::LoadOp::create(b, type, running.outputs,
                                              ValueRange{row, index(d)});
        Value factor = memref::LoadOp::create(b, corrections, row);
        init.push_back(
            arith::MulFOp::create(b, output, broadcast(b, factor, lanes)));
      }
      auto result = emitAccumulation(valid, init, [&](Value j, ValueRange acc) {
        Value position = arith::AddIOp::create(b, start, j);
        // The keys of the positions behind these come next.
        if (begin == 0 && !isQuantized) {
          Value here = arith::MulIOp::create(b, j, index(headDim));
          emitFetch(k, head, addConstant(b, start, kAttentionPositions),
                    addConstant(b, here, d));
        }
        Value value = loadValues(head, position, d, lanes);
        SmallVector<Value> next;
        for (int64_t i = 0; i < count; ++i) {
          Value p = memref::LoadOp::create(b, weights,
                                           ValueRange{index(begin + i), j});
          next.push_back(multiplyAdd(b, broadcast(b, p, lanes), value, acc[i]));
        }
        return next;
      });
      for (int64_t i = 0; i < count; ++i)
        vector::StoreOp::create(b, result[i], running.outputs,
                                ValueRange{index(begin + i), index(d)});
    }
  }
}

void AttentionEmitter::emitStore(Value head, Value first, int64_t rows) {
  Value left = arith::SubIOp::create(b, rowCount, first);
  emitLoop(arith::MinUIOp::create(b, left, index(rows)), [&](Value i) {
    auto [token, column] = locateRow(head, arith::AddIOp::create(b, first, i));
    auto lineType = VectorType::get({kCacheBlock}, b.getF32Type());
    Value sum = emitTreeSum(b, vector::LoadOp::create(b, lineType, joined.sums,
                                                      ValueRange{i, index(0)}));
    Value one = arith::ConstantOp::create(b, b.getF32FloatAttr(1.0f));
    Value inverse = arith::DivFOp::create(b, one, sum);
    int64_t lanes = quantize ? int64_t(quantize.getGroup()) : headDim;
    auto type = VectorType::get({lanes}, b.getF32Type());
    for (int64_t d = 0; d < headDim; d += lanes) {
      Value x = vector::LoadOp::create(b, type, joined.outputs,
                                       ValueRange{i, index(d)});
      x = arith::MulFOp::create(b, x, broadcast(b, inverse, lanes));
      Value at = addConstant(b, column, d);
      if (quantize)
        emitQuantizeStore(b, quantize, token, at, x);
      for (Value buffer : getDestinations(op.getResult()))
        vector::StoreOp::create(b, x, buffer, ValueRange{token, at});
    }
  });
}

Value AttentionEmitter::emitSplitCount(Value end) {
  Value count = arith::CeilDivUIOp::create(b, end, index(kAttentionSplit));
  return arith::MinUIOp::create(b, count, index(kAttentionSplits));
}

Value AttentionEmitter::emitEnd(Value first, int64_t rows) {
  Value last = arith::AddIOp::create(b, first, index(rows - 1));
  last = arith::MinUIOp::create(b, last,
                                arith::SubIOp::create(b, rowCount, index(1)));
  Value end = arith::AddIOp::create(b, op.getPosition(),
                                    divideByConstant(b, last, group));
  return arith::AddIOp::create(b, end, index(1));
}

Value AttentionEmitter::emitBegin(Value first) {
  if (!op.getWindow())
    return {};
  Value before = index(*op.getWindow() - 1);
  Value begin = arith::AddIOp::create(b, op.getPosition(),
                                      divideByConstant(b, first, group));
  begin = arith::SubIOp::create(b, arith::MaxUIOp::create(b, begin, before),
                                before);
  // Tiles are the same for every row: its sums have the same order.
  return arith::MulIOp::create(b,
                               divideByConstant(b, begin, kAttentionPositions),
                               index(kAttentionPositions));
}

Value AttentionEmitter::emitRingSize() {
  Value size = memref::DimOp::create(b, v, 2);
  if (isQuantized)
    size = arith::MulIOp::create(b, size, index(kCacheBlock));
  return size;
}

void AttentionEmitter::emitPart(Value head, Value part, Value seen, Value end,
                                int64_t rows) {
  emitReset(running, rows);
  Value begin = arith::MulIOp::create(b, part, index(kAttentionSplit));
  Value stop =
      arith::MinUIOp::create(b, addConstant(b, begin, kAttentionSplit), end);
  Value isLast = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, part,
                                       index(kAttentionSplits - 1));
  stop = arith::SelectOp::create(b, isLast, end, stop);
  if (seen)
    begin = arith::MaxUIOp::create(b, begin, seen);
  auto forOp = scf::ForOp::create(b, begin, stop, index(kAttentionPositions));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(forOp.getBody());
  Value start = forOp.getInductionVar();
  Value valid = arith::MinUIOp::create(b, arith::SubIOp::create(b, stop, start),
                                       index(kAttentionPositions));
  Value place = start;
  if (seen)
    place = arith::RemUIOp::create(b, start, emitRingSize());
  if (isQuantized)
    emitCodeScores(head, place, valid, rows);
  else
    emitScores(head, place, valid, rows);
  emitSoftmax(start, rows);
  emitValues(head, place, valid, rows);
}

void AttentionEmitter::emitJoin(int64_t rows) {
  auto rowType = VectorType::get({rows}, b.getF32Type());
  Value before = vector::LoadOp::create(b, rowType, joined.maxima, index(0));
  Value here = vector::LoadOp::create(b, rowType, running.maxima, index(0));
  Value most =
      arith::MaxNumFOp::create(b, before, here, arith::FastMathFlags::nnan);
  vector::StoreOp::create(b, most, joined.maxima, index(0));
  auto storeFactor = [&](Value maximum, Value buffer) {
    Value factor = emitExp2(arith::SubFOp::create(b, maximum, most));
    vector::StoreOp::create(b, factor, buffer, index(0));
  };
  storeFactor(before, corrections);
  storeFactor(here, nextMaxima);
  emitLoop(index(rows), [&](Value i) {
    Value old = memref::LoadOp::create(b, corrections, i);
    Value scale = memref::LoadOp::create(b, nextMaxima, i);
    auto join = [&](Value sum, Value part, int64_t size) {
      auto type = VectorType::get({size}, b.getF32Type());
      SmallVector<Value> at = {i, index(0)};
      Value x = vector::LoadOp::create(b, type, sum, at);
      Value y = vector::LoadOp::create(b, type, part, at);
      x = arith::MulFOp::create(b, x, broadcast(b, old, size));
      x = multiplyAdd(b, y, broadcast(b, scale, size), x);
      vector::StoreOp::create(b, x, sum, at);
    };
    join(joined.sums, running.sums, kCacheBlock);
    join(joined.outputs, running.outputs, headDim);
  });
}

void AttentionEmitter::emitExchange(Value head, Value tile, Value part,
                                    int64_t rows, bool publish) {
  emitLoop(index(rows), [&](Value i) {
    SmallVector<Value> there = {head, tile, part, i}, here = {i};
    auto move = [&](Value local, Value common, Type type) {
      ValueRange from = publish ? here : there, to = publish ? there : here;
      Value source = publish ? local : common,
            target = publish ? common : local;
      if (isa<VectorType>(type))
        vector::StoreOp::create(
            b, vector::LoadOp::create(b, type, source, from), target, to);
      else
        memref::StoreOp::create(b, memref::LoadOp::create(b, source, from),
                                target, to);
    };
    Type f32 = b.getF32Type();
    move(running.maxima, shared.maxima, f32);
    there.push_back(index(0));
    here.push_back(index(0));
    move(running.outputs, shared.outputs, VectorType::get({headDim}, f32));
    move(running.sums, shared.sums, VectorType::get({kCacheBlock}, f32));
  });
}

void AttentionEmitter::emitTile(Value head, Value tile, Value first,
                                int64_t rows, Value part, Value isWhole) {
  emitLoadQueries(head, first, rows);
  emitReset(joined, rows);
  Value begin = emitBegin(first), end = emitEnd(first, rows);
  Value stop = arith::SelectOp::create(b, isWhole, emitSplitCount(end),
                                       addConstant(b, part, 1));
  Value start = part;
  if (begin) {
    // Parts that no row sees change nothing.
    Value seen =
        arith::MinUIOp::create(b, divideByConstant(b, begin, kAttentionSplit),
                               index(kAttentionSplits - 1));
    start = arith::SelectOp::create(b, isWhole, seen, part);
  }
  auto parts = scf::ForOp::create(b, start, stop, index(1));
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(parts.getBody());
    emitPart(head, parts.getInductionVar(), begin, end, rows);
    auto ifOp = scf::IfOp::create(b, isWhole, /*withElseRegion=*/true);
    b.setInsertionPointToStart(ifOp.thenBlock());
    emitJoin(rows);
    b.setInsertionPointToStart(ifOp.elseBlock());
    emitExchange(head, tile, part, rows, /*publish=*/true);
  }
  auto ifOp = scf::IfOp::create(b, isWhole);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  emitStore(head, first, rows);
}

void AttentionEmitter::emitMerge(Value head, Value tile, Value first,
                                 int64_t rows, Value parts) {
  emitReset(joined, rows);
  emitLoop(parts, [&](Value part) {
    emitExchange(head, tile, part, rows, /*publish=*/false);
    emitJoin(rows);
  });
  emitStore(head, first, rows);
}

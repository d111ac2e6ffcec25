// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/rows/RowEmitter.h"

#include "dialect/FormatLayout.h"
#include "passes/support/KernelBuffers.h"
#include "passes/support/Prefetch.h"
#include "passes/tile/ElementwiseEmitter.h"
#include "passes/tile/FormatInliner.h"
#include "passes/tile/QuantizeEmitter.h"
#include "passes/tile/VectorMath.h"
#include "passes/tile/rows/CacheAppend.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::lumen;

/// How many values ahead rows are fetched. The largest magnitude of a group
/// holds up what follows, so the core by itself looks hardly past a group.
static constexpr int64_t kFetchAhead = 1024;

static RankedTensorType rankedType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

//===----------------------------------------------------------------------===//
// Per row
//===----------------------------------------------------------------------===//

void RowEmitter::emitPrologue() {
  for (Operation *op : loop.ops) {
    llvm::TypeSwitch<Operation *>(op)
        .Case([&](EmbeddingOp op) {
          auto table = rankedType(op.getTable());
          FormatOp format = lookupFormat(table, op);
          int64_t columns = table.getDimSize(1);
          int64_t bytes = format ? format.getRowBytes(columns)
                                 : columns * table.getElementTypeBitWidth() / 8;
          Value token = b.toIndex(b.load(getSourceBuffer(op.getTokens()), row));
          shared[op] = {b.multiply(token, bytes)};
        })
        .Case([&](RmsNormOp op) {
          if (!op.isPerHead()) {
            shared[op] = {emitInverseRms(op)};
            return;
          }
          shared[op] = {b.load(rankedType(op.getWeight()).getDimSize(0),
                               getSourceBuffer(op.getWeight()), b.index(0))};
        })
        .Case([&](GateOp op) {
          // A vector, because that is what the exponential is made for.
          Value gate = b.load(getSourceBuffer(op.getGate()), {row, b.index(0)});
          Value sigmoid = emitSigmoid(b, b.broadcast(gate, 16));
          shared[op] = {
              vector::ExtractOp::create(b, sigmoid, ArrayRef<int64_t>{0})};
        })
        .Case([&](CombineOp op) {
          int64_t slots = rankedType(op.getPlace()).getDimSize(1);
          Value place = getSourceBuffer(op.getPlace());
          Value weights = getSourceBuffer(op.getWeights());
          for (int64_t s = 0; s < slots; ++s) {
            SmallVector<Value> indices = {row, b.index(s)};
            Value number = b.toIndex(b.load(place, indices));
            Value slot = b.remainder(number, slots);
            shared[op].push_back(b.divide(number, slots));
            shared[op].push_back(b.multiply(slot, loop.columns));
            shared[op].push_back(b.load(weights, indices));
          }
        })
        .Case([&](RopeOp op) {
          int64_t half = rankedType(op.getTable()).getDimSize(1) / 2;
          Value table = getSourceBuffer(op.getTable());
          Value position = arith::AddIOp::create(b, op.getPosition(), row);
          for (int64_t begin : {int64_t(0), half})
            shared[op].push_back(
                b.load(half, table, {position, b.index(begin)}));
        })
        .Case([&](KvAppendOp op) {
          shared[op] = {arith::AddIOp::create(b, op.getPosition(), row)};
        });
  }
}

Value RowEmitter::emitInverseRms(RmsNormOp op) {
  // One accumulator per piece of a tile. Its shape, and so the order of the
  // sum, depends on the kernel only.
  SmallVector<Value> sums(loop.tile / loop.piece, b.splat(loop.piece, 0.0));
  auto addSquares = [&](Value base, int64_t width, SmallVector<Value> acc) {
    Tile tile(base, width);
    for (auto [i, x] : llvm::enumerate(emit(op.getX(), tile))) {
      if (x.getType() != acc[i].getType())
        x = b.insert(x, b.splat(loop.piece, 0.0), 0);
      acc[i] = b.multiplyAdd(x, x, acc[i]);
    }
    return acc;
  };
  if (loop.getFullTiles())
    sums = b.accumulate(b.index(0), b.index(loop.getFullTiles() * loop.tile),
                        loop.tile, sums, [&](Value base, ValueRange acc) {
                          return addSquares(base, loop.tile,
                                            llvm::to_vector_of<Value>(acc));
                        });
  if (loop.getTail())
    sums = addSquares(b.index(loop.getFullTiles() * loop.tile), loop.getTail(),
                      sums);

  Value sum = sums.front();
  for (Value next : ArrayRef(sums).drop_front())
    sum = arith::AddFOp::create(b, sum, next);
  return emitInverseRoot(op, sum, loop.columns);
}

Value RowEmitter::emitInverseRoot(RmsNormOp op, Value squares, int64_t count) {
  auto constant = [&](double value) { return b.real(b.getF32Type(), value); };
  Value mean =
      arith::DivFOp::create(b, emitTreeSum(b, squares), constant(count));
  Value biased = arith::AddFOp::create(
      b, mean, constant(op.getEpsilon().convertToDouble()));
  return arith::DivFOp::create(b, constant(1.0),
                               math::SqrtOp::create(b, biased));
}

//===----------------------------------------------------------------------===//
// Per tile
//===----------------------------------------------------------------------===//

SmallVector<Value> RowEmitter::emitLoads(Value buffer, Value at, Tile &tile) {
  SmallVector<Value> loads;
  for (int64_t begin = 0; begin < tile.width; begin += loop.piece) {
    int64_t lanes = std::min(loop.piece, tile.width - begin);
    SmallVector<Value> indices;
    if (at)
      indices.push_back(at);
    indices.push_back(b.add(tile.base, begin + kFetchAhead));
    if (at)
      emitPrefetch(b, buffer, indices, lanes);
    indices.back() = b.add(tile.base, begin);
    loads.push_back(b.load(lanes, buffer, indices));
  }
  return loads;
}

SmallVector<Value> RowEmitter::emitEmbedding(EmbeddingOp op, Tile &tile) {
  auto table = rankedType(op.getTable());
  Value bytes = getSourceBuffer(op.getTable());
  Value first = shared[op].front();
  SmallVector<Value> pieces;
  if (FormatOp format = lookupFormat(table, op)) {
    int64_t block = format.getBlock();
    Value index = b.divide(tile.base, block);
    SmallVector<Value> parts;
    for (int64_t i = 0; i < tile.width / block; ++i) {
      DecodedBlock decoded =
          inlineFormat(b, format, bytes, first, b.add(index, i));
      llvm::append_range(parts, emitDequantizedBlock(b, format, decoded));
    }
    size_t perPiece = loop.piece / format.getSumGroup();
    for (size_t i = 0; i < parts.size(); i += perPiece)
      pieces.push_back(b.concatenate(ArrayRef(parts).slice(i, perPiece)));
    return pieces;
  }
  Type element = table.getElementType();
  int64_t size = element.getIntOrFloatBitWidth() / 8;
  Value offset = arith::AddIOp::create(b, first, b.multiply(tile.base, size));
  for (int64_t begin = 0; begin < tile.width; begin += loop.piece) {
    int64_t lanes = std::min(loop.piece, tile.width - begin);
    Value raw = b.load(lanes * size, bytes, b.add(offset, begin * size));
    Value values =
        vector::BitCastOp::create(b, VectorType::get({lanes}, element), raw);
    pieces.push_back(b.convert(values, b.getF32Type()));
  }
  return pieces;
}

SmallVector<Value> RowEmitter::emitGather(GatherRowsOp op, Tile &tile) {
  int64_t columns = rankedType(op.getX()).getDimSize(1);
  Value x = getSourceBuffer(op.getX());
  Value source = getSourceBuffer(op.getSource());
  SmallVector<Value> pieces;
  for (int64_t begin = 0; begin < tile.width; begin += loop.piece) {
    Value at = b.add(tile.base, begin);
    Value slot = b.divide(at, columns);
    Value token = b.toIndex(b.load(source, {row, slot}));
    Value column = b.remainder(at, columns);
    int64_t lanes = std::min(loop.piece, tile.width - begin);
    pieces.push_back(b.load(lanes, x, {token, column}));
  }
  return pieces;
}

SmallVector<Value> RowEmitter::emitCombine(CombineOp op, Tile &tile) {
  SmallVector<Value> sums;
  ArrayRef<Value> slots = shared[op];
  Value x = getSourceBuffer(op.getX());
  for (; !slots.empty(); slots = slots.drop_front(3)) {
    Value first = arith::AddIOp::create(b, tile.base, slots[1]);
    for (int64_t begin = 0, i = 0; begin < tile.width;
         begin += loop.piece, ++i) {
      int64_t lanes = std::min(loop.piece, tile.width - begin);
      Value values = b.load(lanes, x, {slots[0], b.add(first, begin)});
      Value weight = b.broadcast(slots[2], lanes);
      if (i == int64_t(sums.size()))
        sums.push_back(arith::MulFOp::create(b, values, weight));
      else
        sums[i] = b.multiplyAdd(values, weight, sums[i]);
    }
  }
  return sums;
}

Value RowEmitter::emitHeadNorm(RmsNormOp op, Value x) {
  Value weight = shared[op].front();
  int64_t size = getLanes(weight);
  SmallVector<Value> heads;
  for (Value head : b.split(x, size)) {
    Value squares = arith::MulFOp::create(b, head, head);
    Value inverse = emitInverseRoot(op, squares, size);
    head = arith::MulFOp::create(b, head, b.broadcast(inverse, size));
    heads.push_back(arith::MulFOp::create(b, head, weight));
  }
  return b.concatenate(heads);
}

Value RowEmitter::emitRope(RopeOp op, Value x) {
  int64_t headDim = op.getHeadDim(),
          rot = rankedType(op.getTable()).getDimSize(1);
  Value cosine = shared[op][0], sine = shared[op][1];
  SmallVector<Value> heads;
  for (Value head : b.split(x, headDim)) {
    Value first, second;
    bool interleaved = op.getStyle() == "norm";
    if (interleaved) {
      auto pairs = vector::DeinterleaveOp::create(b, b.extract(head, 0, rot));
      first = pairs.getRes1();
      second = pairs.getRes2();
    } else {
      first = b.extract(head, 0, rot / 2);
      second = b.extract(head, rot / 2, rot / 2);
    }
    Value turnedFirst =
        arith::SubFOp::create(b, arith::MulFOp::create(b, first, cosine),
                              arith::MulFOp::create(b, second, sine));
    Value turnedSecond =
        arith::AddFOp::create(b, arith::MulFOp::create(b, first, sine),
                              arith::MulFOp::create(b, second, cosine));
    SmallVector<Value> parts = {turnedFirst, turnedSecond};
    if (interleaved)
      parts = {vector::InterleaveOp::create(b, turnedFirst, turnedSecond)};
    if (rot < headDim)
      parts.push_back(b.extract(head, rot, headDim - rot));
    heads.push_back(b.concatenate(parts));
  }
  return b.concatenate(heads);
}

SmallVector<Value> RowEmitter::emitElementwisePieces(Operation *op,
                                                     Tile &tile) {
  SmallVector<SmallVector<Value>> operands;
  for (Value operand : op->getOperands())
    operands.push_back(emit(operand, tile));
  SmallVector<Value> pieces;
  for (size_t i = 0; i < operands.front().size(); ++i)
    pieces.push_back(emitElementwise(
        b, op, llvm::map_to_vector(operands, [&](auto &all) -> Value {
          return all[i];
        })));
  return pieces;
}

SmallVector<Value> RowEmitter::emit(Value value, Tile &tile) {
  if (auto found = tile.pieces.find(value); found != tile.pieces.end())
    return found->second;
  auto map = [&](Value operand, function_ref<Value(Value)> body) {
    return llvm::map_to_vector(emit(operand, tile), body);
  };
  auto zip = [&](Value lhs, Value rhs, function_ref<Value(Value, Value)> body) {
    SmallVector<Value> left = emit(lhs, tile), right = emit(rhs, tile), pieces;
    for (auto [l, r] : llvm::zip_equal(left, right))
      pieces.push_back(body(l, r));
    return pieces;
  };
  using Pieces = SmallVector<Value>;
  Pieces pieces =
      llvm::TypeSwitch<Operation *, Pieces>(value.getDefiningOp())
          .Case([&](bufferization::ToTensorOp op) {
            return emitLoads(op.getBuffer(),
                             rankedType(value).getRank() == 2 ? row : Value(),
                             tile);
          })
          .Case([&](LastRowsOp op) {
            Value at = arith::AddIOp::create(b, row, op.getFirst());
            return emitLoads(getSourceBuffer(op.getX()), at, tile);
          })
          .Case([&](EmbeddingOp op) { return emitEmbedding(op, tile); })
          .Case([&](GatherRowsOp op) { return emitGather(op, tile); })
          .Case([&](CombineOp op) { return emitCombine(op, tile); })
          .Case([&](GateOp op) {
            return map(op.getX(), [&](Value x) -> Value {
              return arith::MulFOp::create(
                  b, x, b.broadcast(shared[op].front(), getLanes(x)));
            });
          })
          .Case([&](RmsNormOp op) {
            if (op.isPerHead())
              return map(op.getX(),
                         [&](Value x) { return emitHeadNorm(op, x); });
            return zip(
                op.getX(), op.getWeight(), [&](Value x, Value weight) -> Value {
                  x = arith::MulFOp::create(
                      b, x, b.broadcast(shared[op].front(), getLanes(x)));
                  return arith::MulFOp::create(b, x, weight);
                });
          })
          .Case([&](RopeOp op) {
            return map(op.getX(), [&](Value x) { return emitRope(op, x); });
          })
          .Default(
              [&](Operation *op) { return emitElementwisePieces(op, tile); });
  tile.pieces[value] = pieces;
  return pieces;
}

void RowEmitter::emitTile(Value base, int64_t width) {
  Tile tile(base, width);
  for (Operation *op : loop.ops) {
    if (auto append = dyn_cast<KvAppendOp>(op)) {
      CacheAppend to(b, append, shared[op].front(), base, staging);
      to.emit(emit(append.getX(), tile));
      continue;
    }
    if (auto quantize = dyn_cast<QuantizeOp>(op)) {
      for (auto [i, piece] : llvm::enumerate(emit(quantize.getX(), tile)))
        emitQuantizeStore(b, quantize, row, b.add(base, i * loop.piece), piece);
      continue;
    }
    for (Value buffer : getDestinations(op->getResult(0)))
      for (auto [i, piece] : llvm::enumerate(emit(op->getResult(0), tile)))
        b.store(piece, buffer, {row, b.add(base, i * loop.piece)});
  }
}

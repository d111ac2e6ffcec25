// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/rows/RowEmitter.h"

#include "dialect/CacheLayout.h"
#include "dialect/FormatLayout.h"
#include "passes/support/Prefetch.h"
#include "passes/tile/FormatInliner.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::lumen;

/// How many values ahead rows are fetched. The largest magnitude of a group
/// holds up what follows, so the core by itself looks hardly past a group.
static constexpr int64_t kFetchAhead = 1024;

static Value constantIndex(ImplicitLocOpBuilder &b, int64_t value) {
  return arith::ConstantIndexOp::create(b, value);
}

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
          Value token =
              memref::LoadOp::create(b, getSourceBuffer(op.getTokens()), row);
          token = arith::IndexCastUIOp::create(b, b.getIndexType(), token);
          shared[op] = {
              arith::MulIOp::create(b, token, constantIndex(b, bytes))};
        })
        .Case([&](RmsNormOp op) {
          if (!op.isPerHead()) {
            shared[op] = {emitInverseRms(op)};
            return;
          }
          auto type = VectorType::get(
              {rankedType(op.getWeight()).getDimSize(0)}, b.getF32Type());
          Value weight = getSourceBuffer(op.getWeight());
          shared[op] = {
              vector::LoadOp::create(b, type, weight, constantIndex(b, 0))};
        })
        .Case([&](GateOp op) {
          // A vector, because that is what the exponential is made for.
          Value gate =
              memref::LoadOp::create(b, getSourceBuffer(op.getGate()),
                                     ValueRange{row, constantIndex(b, 0)});
          Value exponential = math::ExpOp::create(
              b, arith::NegFOp::create(b, broadcast(b, gate, 16)));
          Value one = splat(b, 16, 1.0);
          Value sigmoid = arith::DivFOp::create(
              b, one, arith::AddFOp::create(b, exponential, one));
          shared[op] = {
              vector::ExtractOp::create(b, sigmoid, ArrayRef<int64_t>{0})};
        })
        .Case([&](CombineOp op) {
          int64_t slots = rankedType(op.getPlace()).getDimSize(1);
          Value place = getSourceBuffer(op.getPlace());
          Value weights = getSourceBuffer(op.getWeights());
          Value columns = constantIndex(b, loop.columns);
          for (int64_t s = 0; s < slots; ++s) {
            SmallVector<Value> indices = {row, constantIndex(b, s)};
            Value number = arith::IndexCastUIOp::create(
                b, b.getIndexType(), memref::LoadOp::create(b, place, indices));
            Value slot =
                arith::RemUIOp::create(b, number, constantIndex(b, slots));
            shared[op].push_back(divideByConstant(b, number, slots));
            shared[op].push_back(arith::MulIOp::create(b, slot, columns));
            shared[op].push_back(memref::LoadOp::create(b, weights, indices));
          }
        })
        .Case([&](RopeOp op) {
          int64_t half = rankedType(op.getTable()).getDimSize(1) / 2;
          auto type = VectorType::get({half}, b.getF32Type());
          Value table = getSourceBuffer(op.getTable());
          Value position = arith::AddIOp::create(b, op.getPosition(), row);
          for (int64_t begin : {int64_t(0), half})
            shared[op].push_back(vector::LoadOp::create(
                b, type, table, ValueRange{position, constantIndex(b, begin)}));
        })
        .Case([&](KvAppendOp op) {
          shared[op] = {arith::AddIOp::create(b, op.getPosition(), row)};
        });
  }
}

Value RowEmitter::emitInverseRms(RmsNormOp op) {
  // One accumulator per piece of a tile. Its shape, and so the order of the
  // sum, depends on the kernel only.
  SmallVector<Value> sums(loop.tile / loop.piece, splat(b, loop.piece, 0.0));
  auto addSquares = [&](Value base, int64_t width, SmallVector<Value> acc) {
    Tile tile(base, width);
    for (auto [i, x] : llvm::enumerate(emit(op.getX(), tile))) {
      if (x.getType() != acc[i].getType())
        x = vector::InsertStridedSliceOp::create(
            b, x, splat(b, loop.piece, 0.0), ArrayRef<int64_t>{0},
            ArrayRef<int64_t>{1});
      acc[i] = multiplyAdd(b, x, x, acc[i]);
    }
    return acc;
  };
  if (loop.getFullTiles()) {
    auto forOp =
        scf::ForOp::create(b, constantIndex(b, 0),
                           constantIndex(b, loop.getFullTiles() * loop.tile),
                           constantIndex(b, loop.tile), sums);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(forOp.getBody());
    sums = addSquares(forOp.getInductionVar(), loop.tile,
                      llvm::to_vector_of<Value>(forOp.getRegionIterArgs()));
    scf::YieldOp::create(b, sums);
    sums = llvm::to_vector_of<Value>(forOp.getResults());
  }
  if (loop.getTail())
    sums = addSquares(constantIndex(b, loop.getFullTiles() * loop.tile),
                      loop.getTail(), sums);

  Value sum = sums.front();
  for (Value next : ArrayRef(sums).drop_front())
    sum = arith::AddFOp::create(b, sum, next);
  return emitInverseRoot(op, sum, loop.columns);
}

Value RowEmitter::emitInverseRoot(RmsNormOp op, Value squares, int64_t count) {
  auto constant = [&](double value) -> Value {
    return arith::ConstantOp::create(b, b.getF32FloatAttr(value));
  };
  Value mean =
      arith::DivFOp::create(b, emitTreeSum(b, squares), constant(count));
  Value biased = arith::AddFOp::create(
      b, mean, arith::ConstantOp::create(b, op.getEpsilonAttr()));
  return arith::DivFOp::create(b, constant(1.0),
                               math::SqrtOp::create(b, biased));
}

//===----------------------------------------------------------------------===//
// Per tile
//===----------------------------------------------------------------------===//

SmallVector<Value> RowEmitter::emitLoads(Value buffer, Value at, Tile &tile) {
  SmallVector<Value> loads;
  for (int64_t begin = 0; begin < tile.width; begin += loop.piece) {
    auto type = VectorType::get({std::min(loop.piece, tile.width - begin)},
                                b.getF32Type());
    SmallVector<Value> indices;
    if (at)
      indices.push_back(at);
    indices.push_back(addConstant(b, tile.base, begin + kFetchAhead));
    if (at)
      emitPrefetch(b, buffer, indices, type.getNumElements());
    indices.back() = addConstant(b, tile.base, begin);
    loads.push_back(vector::LoadOp::create(b, type, buffer, indices));
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
    Value index = divideByConstant(b, tile.base, block);
    SmallVector<Value> parts;
    for (int64_t i = 0; i < tile.width / block; ++i) {
      DecodedBlock decoded = inlineFormat(b, b.getLoc(), format, bytes, first,
                                          addConstant(b, index, i));
      llvm::append_range(parts,
                         emitDequantizedBlock(b, b.getLoc(), format, decoded));
    }
    size_t perPiece = loop.piece / format.getSumGroup();
    for (size_t i = 0; i < parts.size(); i += perPiece)
      pieces.push_back(concatVectors(b, ArrayRef(parts).slice(i, perPiece)));
    return pieces;
  }
  Type element = table.getElementType();
  int64_t size = element.getIntOrFloatBitWidth() / 8;
  Value column = arith::MulIOp::create(b, tile.base, constantIndex(b, size));
  Value offset = arith::AddIOp::create(b, first, column);
  for (int64_t begin = 0; begin < tile.width; begin += loop.piece) {
    int64_t lanes = std::min(loop.piece, tile.width - begin);
    Value raw = vector::LoadOp::create(
        b, VectorType::get({lanes * size}, b.getI8Type()), bytes,
        addConstant(b, offset, begin * size));
    Value values =
        vector::BitCastOp::create(b, VectorType::get({lanes}, element), raw);
    pieces.push_back(convertElements(b, values, b.getF32Type()));
  }
  return pieces;
}

SmallVector<Value> RowEmitter::emitGather(GatherRowsOp op, Tile &tile) {
  int64_t columns = rankedType(op.getX()).getDimSize(1);
  Value x = getSourceBuffer(op.getX());
  Value source = getSourceBuffer(op.getSource());
  SmallVector<Value> pieces;
  for (int64_t begin = 0; begin < tile.width; begin += loop.piece) {
    Value at = addConstant(b, tile.base, begin);
    Value slot = divideByConstant(b, at, columns);
    Value token = arith::IndexCastUIOp::create(
        b, b.getIndexType(),
        memref::LoadOp::create(b, source, ValueRange{row, slot}));
    Value column = arith::RemUIOp::create(b, at, constantIndex(b, columns));
    auto type = VectorType::get({std::min(loop.piece, tile.width - begin)},
                                b.getF32Type());
    pieces.push_back(
        vector::LoadOp::create(b, type, x, ValueRange{token, column}));
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
      Value values = vector::LoadOp::create(
          b, VectorType::get({lanes}, b.getF32Type()), x,
          ValueRange{slots[0], addConstant(b, first, begin)});
      Value weight = broadcast(b, slots[2], lanes);
      if (i == int64_t(sums.size()))
        sums.push_back(arith::MulFOp::create(b, values, weight));
      else
        sums[i] = multiplyAdd(b, values, weight, sums[i]);
    }
  }
  return sums;
}

Value RowEmitter::emitSwiglu(Value gate, Value up) {
  int64_t lanes = cast<VectorType>(gate.getType()).getNumElements();
  Value exponential = math::ExpOp::create(b, arith::NegFOp::create(b, gate));
  Value denominator =
      arith::AddFOp::create(b, exponential, splat(b, lanes, 1.0));
  return arith::MulFOp::create(b, arith::DivFOp::create(b, gate, denominator),
                               up);
}

Value RowEmitter::emitHeadNorm(RmsNormOp op, Value x) {
  Value weight = shared[op].front();
  int64_t size = cast<VectorType>(weight.getType()).getNumElements();
  SmallVector<Value> heads;
  for (Value head : splitVector(b, x, size)) {
    Value squares = arith::MulFOp::create(b, head, head);
    Value inverse = emitInverseRoot(op, squares, size);
    head = arith::MulFOp::create(b, head, broadcast(b, inverse, size));
    heads.push_back(arith::MulFOp::create(b, head, weight));
  }
  return concatVectors(b, heads);
}

Value RowEmitter::emitRope(RopeOp op, Value x) {
  int64_t headDim = op.getHeadDim(),
          rot = rankedType(op.getTable()).getDimSize(1);
  Value cosine = shared[op][0], sine = shared[op][1];
  SmallVector<Value> heads;
  for (Value head : splitVector(b, x, headDim)) {
    auto slice = [&](int64_t begin, int64_t size) -> Value {
      if (size == headDim)
        return head;
      return vector::ExtractStridedSliceOp::create(
          b, head, ArrayRef<int64_t>{begin}, ArrayRef<int64_t>{size},
          ArrayRef<int64_t>{1});
    };
    Value first, second;
    bool interleaved = op.getStyle() == "norm";
    if (interleaved) {
      auto pairs = vector::DeinterleaveOp::create(b, slice(0, rot));
      first = pairs.getRes1();
      second = pairs.getRes2();
    } else {
      first = slice(0, rot / 2);
      second = slice(rot / 2, rot / 2);
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
      parts.push_back(slice(rot, headDim - rot));
    heads.push_back(concatVectors(b, parts));
  }
  return concatVectors(b, heads);
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
              int64_t lanes = cast<VectorType>(x.getType()).getNumElements();
              return arith::MulFOp::create(
                  b, x, broadcast(b, shared[op].front(), lanes));
            });
          })
          .Case([&](RmsNormOp op) {
            if (op.isPerHead())
              return map(op.getX(),
                         [&](Value x) { return emitHeadNorm(op, x); });
            return zip(op.getX(), op.getWeight(),
                       [&](Value x, Value weight) -> Value {
                         int64_t lanes =
                             cast<VectorType>(x.getType()).getNumElements();
                         x = arith::MulFOp::create(
                             b, x, broadcast(b, shared[op].front(), lanes));
                         return arith::MulFOp::create(b, x, weight);
                       });
          })
          .Case([&](AddOp op) {
            return zip(op.getLhs(), op.getRhs(),
                       [&](Value lhs, Value rhs) -> Value {
                         return arith::AddFOp::create(b, lhs, rhs);
                       });
          })
          .Case([&](ScaleOp op) {
            double factor = op.getFactor().convertToDouble();
            return map(op.getX(), [&](Value x) -> Value {
              int64_t lanes = cast<VectorType>(x.getType()).getNumElements();
              return arith::MulFOp::create(b, x, splat(b, lanes, factor));
            });
          })
          .Case([&](SwigluOp op) {
            return zip(op.getGate(), op.getUp(), [&](Value gate, Value up) {
              return emitSwiglu(gate, up);
            });
          })
          .Case([&](RopeOp op) {
            return map(op.getX(), [&](Value x) { return emitRope(op, x); });
          });
  tile.pieces[value] = pieces;
  return pieces;
}

void RowEmitter::emitAppend(KvAppendOp op, Tile &tile) {
  Value cache = getSourceBuffer(op.getCache());
  auto type = cast<MemRefType>(cache.getType());
  bool key = op.getKind() == "key";
  int64_t headDim = op.getHeadDim();
  Value position = shared[op].front();
  Value lane = arith::RemUIOp::create(b, position, constantIndex(b, 16));
  Value block = divideByConstant(b, position, 16);
  block = arith::RemUIOp::create(b, block, memref::DimOp::create(b, cache, 2));
  Value firstHead = divideByConstant(b, tile.base, headDim);
  Value zero = constantIndex(b, 0);
  SmallVector<Value> heads;
  for (Value piece : emit(op.getX(), tile))
    llvm::append_range(heads, splitVector(b, piece, headDim));
  for (auto [i, values] : llvm::enumerate(heads)) {
    Value head = addConstant(b, firstHead, i);
    if (type.getElementType().isInteger()) {
      emitAppendCodes(op, head, block, lane, values);
      continue;
    }
    values = convertElements(b, values, type.getElementType());
    if (!key) {
      vector::StoreOp::create(
          b, values, cache, ValueRange{op.getLayer(), head, block, lane, zero});
      continue;
    }
    // Consecutive d are 16 elements apart: one by one, through the staging row.
    vector::StoreOp::create(b, values, staging, zero);
    auto forOp = scf::ForOp::create(b, zero, constantIndex(b, headDim),
                                    constantIndex(b, 1));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(forOp.getBody());
    Value d = forOp.getInductionVar();
    Value element = memref::LoadOp::create(b, staging, d);
    memref::StoreOp::create(b, element, cache,
                            ValueRange{op.getLayer(), head, block, d, lane});
  }
}

void RowEmitter::emitAppendCodes(KvAppendOp op, Value head, Value block,
                                 Value lane, Value values) {
  Value cache = getSourceBuffer(op.getCache());
  QuantizedPage page{op.getHeadDim()};
  auto storeBytes = [&](Value bytes, Value at) {
    vector::StoreOp::create(b, bytes, cache,
                            ValueRange{op.getLayer(), head, block, at});
  };
  auto scaled = [&](Value index, int64_t factor) -> Value {
    return arith::MulIOp::create(b, index, constantIndex(b, factor));
  };
  Value row = scaled(lane, page.headDim);
  for (int64_t group = 0; group < page.getGroups(); ++group) {
    int64_t begin = group * QuantizedPage::kGroup,
            size = page.getGroupSize(group);
    Value part = values;
    if (size != page.headDim)
      part = vector::ExtractStridedSliceOp::create(
          b, values, ArrayRef<int64_t>{begin}, ArrayRef<int64_t>{size},
          ArrayRef<int64_t>{1});
    QuantizedGroup quantized = emitQuantizedGroup(b, part, size);
    Value scale = arith::TruncFOp::create(b, b.getF16Type(), quantized.scale);
    scale = broadcast(b, scale, 1);
    auto twoBytes = VectorType::get({2}, b.getI8Type());
    storeBytes(vector::BitCastOp::create(b, twoBytes, scale),
               addConstant(b, scaled(lane, 2), page.getScales(group)));
    Value codes = quantized.codes;
    if (op.getKind() == "value") {
      storeBytes(codes, addConstant(b, row, begin));
      continue;
    }
    auto type = cast<VectorType>(codes.getType());
    Value bias = arith::ConstantOp::create(
        b, DenseElementsAttr::get(type, int8_t(QuantizedPage::kKeyBias)));
    vector::StoreOp::create(b, arith::XOrIOp::create(b, codes, bias), staging,
                            constantIndex(b, begin));
  }
  if (op.getKind() == "value")
    return;
  // Four consecutive d are one word among those of the 16 positions.
  auto forOp = scf::ForOp::create(b, constantIndex(b, 0),
                                  constantIndex(b, page.headDim / 4),
                                  constantIndex(b, 1));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(forOp.getBody());
  Value step = forOp.getInductionVar();
  Value word = vector::LoadOp::create(b, VectorType::get({4}, b.getI8Type()),
                                      staging, scaled(step, 4));
  Value at =
      arith::AddIOp::create(b, scaled(step, 4 * kCacheBlock), scaled(lane, 4));
  storeBytes(word, at);
}

void RowEmitter::emitTile(Value base, int64_t width) {
  Tile tile(base, width);
  for (Operation *op : loop.ops) {
    if (auto append = dyn_cast<KvAppendOp>(op)) {
      emitAppend(append, tile);
      continue;
    }
    if (auto quantize = dyn_cast<QuantizeOp>(op)) {
      for (auto [i, piece] : llvm::enumerate(emit(quantize.getX(), tile)))
        emitQuantizeStore(b, quantize, row,
                          addConstant(b, base, i * loop.piece), piece);
      continue;
    }
    for (Value buffer : getDestinations(op->getResult(0)))
      for (auto [i, piece] : llvm::enumerate(emit(op->getResult(0), tile)))
        vector::StoreOp::create(
            b, piece, buffer,
            ValueRange{row, addConstant(b, base, i * loop.piece)});
  }
}

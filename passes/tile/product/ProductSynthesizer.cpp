// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/ProductSynthesizer.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

/// From how many tokens on it pays to prepare a tile of rows. To multiply
/// scales into its codes takes as long as the products of five tokens, and
/// spares a quarter of the time of all. To convert floats takes as long as four
/// tokens, and spares a fifth.
static constexpr int64_t kManyTokens = 24;

/// How much larger blocks of tokens are then: the work for a tile is done once
/// for each. (Products of 8,960 columns reach 72 % of the peak with blocks as
/// others have them, 77 to 84 with blocks 2 to 16 times as large.)
static constexpr int64_t kScaledBlocks = 8;

/// Bytes of the stack that an unpacked tile of rows may take: less than a
/// second-level cache, and of any thread's stack a small part.
static constexpr int64_t kMostRoom = 512 * 1024;

void ProductSynthesizer::emitTile(const ProductSink &sink, Weights weights,
                                  const TokenTile &tokens, Value tile,
                                  Value rowTile) {
  emitTile(sink, weights[sink.products.front()]->rows, tokens, rowTile,
           [&](unsigned i) {
             return emitProductTile(b, operands, *weights[i], form, tokens,
                                    tile, getSegments(sink));
           });
}

/// Tile `rowTile` of `rows` rows of a result, from the products that
/// `emitProduct` gives.
void ProductSynthesizer::emitTile(const ProductSink &sink, int64_t rows,
                                  const TokenTile &tokens, Value rowTile,
                                  function_ref<Value(unsigned)> emitProduct) {
  int64_t n = getWeight(sink).type.getDimSize(0) / product.getExperts();
  Value row = b.multiply(rowTile, rows);
  // Those of a single token are in order, which the hardware foresees.
  if (tokens.count > 1)
    fetchEpilogue(b, sink, product, tokens, std::min(n, rows), row);
  SmallVector<Value> results(product.getWeights().size());
  for (unsigned i : sink.products)
    if (i != sink.stored)
      results[i] = emitProduct(i);
  auto emitRows = [&](int64_t valid) {
    emitEpilogue(b, sink, product, results, tokens, valid, row);
  };
  if (n % rows == 0)
    return emitRows(rows);
  // The last tile stores only the rows that exist.
  if (n < rows)
    return emitRows(n);
  Value full = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, rowTile,
                                     b.index(n / rows));
  b.branch(full, [&] { emitRows(rows); }, [&] { emitRows(n % rows); });
}

/// A parallel loop, behind which the workers may go on without each other.
void ProductSynthesizer::emitLoop(ArrayRef<OpFoldResult> sizes, bool waits,
                                  function_ref<void(ValueRange)> emitBody) {
  auto forall = b.parallel(sizes, emitBody);
  if (!waits)
    forall->setAttr(LumenDialect::kNowaitAttr, b.getUnitAttr());
}

/// All tiles behind one result.
void ProductSynthesizer::emitSink(const ProductSink &sink, bool last) {
  Value single;
  bool hasWarps = target && target.hasWarps();
  if (product.getGroups() || (joinsTwoProducts(sink, product) && !hasWarps))
    single = emitSingleToken(sink);
  if (product.getGroups())
    return emitExpertGroups(sink, single, last);
  Value others = single;
  if (getSegments(sink).count > 1)
    others = emitFewTokens(sink);
  if (Value many = emitManyTokens(sink))
    others = others ? arith::OrIOp::create(b, others, many) : many;
  Value begin;
  if (usesMatrices(sink))
    begin = emitMatrixTiles(sink);
  emitPlainTiles(sink, plainWeights, begin, others, last,
                 [](Value rowTile) { return rowTile; });
}

/// A loop of its own for those tokens that instructions for matrices take.
/// Returns the one behind the last.
Value ProductSynthesizer::emitMatrixTiles(const ProductSink &sink) {
  int64_t rows = matrixTiles->getRows();
  Value end = matrixTiles->getTokens(b.index(0), operands.tokens).second;
  Blocks blocks = {nullptr, end, matrixTiles->getTokens(), rows,
                   matrixTiles->unpacksOnce() ? kScaledBlocks : 0};
  emitTokenBlocks(sink, blocks, /*taken=*/nullptr, /*last=*/false,
                  [&](Value first, Value count, Value rowTile) {
                    Value end = arith::AddIOp::create(b, first, count);
                    int64_t tiles = rows / getWeight(sink).rows;
                    emitMatrixTiles(sink, first, end,
                                    b.multiply(rowTile, tiles), rowTile);
                  });
  return end;
}

/// The tokens from `first` to `end` in tiles of decreasing numbers of tokens,
/// with the rows from the first one of tile `tile` of the weights on: those of
/// tile `rowTile` of the result.
void ProductSynthesizer::emitMatrixTiles(const ProductSink &sink, Value first,
                                         Value end, Value tile, Value rowTile) {
  for (unsigned i : sink.products)
    matrixTiles->emitWeight(i, tile);
  int64_t least = matrixTiles->getLeastTokens(),
          most = matrixTiles->getTokens();
  if (least == most)
    return emitMatrixTiles(sink, first, end, least, rowTile);
  for (int64_t count = most; count >= least;
       count = llvm::alignDown(llvm::bit_ceil(uint64_t(count)) / 2, least)) {
    Value left = b.remainder(arith::SubIOp::create(b, end, first), count);
    Value whole = arith::SubIOp::create(b, end, left);
    emitMatrixTiles(sink, first, whole, count, rowTile);
    first = whole;
  }
}

/// Tiles of `count` tokens, with rows that are expanded.
void ProductSynthesizer::emitMatrixTiles(const ProductSink &sink, Value first,
                                         Value end, int64_t count,
                                         Value rowTile) {
  b.forEach(first, end, count, [&](Value token) {
    TokenTile tokens = {token, count};
    emitTile(sink, matrixTiles->getRows(), tokens, rowTile, [&](unsigned i) {
      return matrixTiles->emitTile(i, tokens, getSegments(sink));
    });
  });
}

/// A loop of its own for so many tokens that it pays to prepare a tile of rows
/// first. Returns whether there are so many; null where that cannot be done.
Value ProductSynthesizer::emitManyTokens(const ProductSink &sink) {
  SmallVector<const PackedWeight *> weights(plainWeights.size());
  for (unsigned i : sink.products) {
    if (!preparedWeights[i])
      return nullptr;
    weights[i] = &preparedWeights[i]->getPacked();
  }
  Value few = arith::CmpIOp::create(b, arith::CmpIPredicate::ult,
                                    operands.tokens, b.index(kManyTokens));
  emitPlainTiles(sink, weights, nullptr, few, /*last=*/false,
                 [&](Value rowTile) {
                   for (unsigned i : sink.products)
                     preparedWeights[i]->emit(b, rowTile);
                   return b.index(0);
                 });
  return arith::XOrIOp::create(b, few, b.integer(b.getI1Type(), 1));
}

/// The tokens from `begin` on (0 where that is null) in register tiles of
/// decreasing numbers of tokens. Nothing where `taken` is true, which may be
/// null. `emitTileOf` gives the tile of `weights` that holds a tile of rows.
void ProductSynthesizer::emitPlainTiles(const ProductSink &sink,
                                        Weights weights, Value begin,
                                        Value taken, bool last,
                                        function_ref<Value(Value)> emitTileOf) {
  const PackedWeight &weight = *weights[sink.products.front()];
  Blocks blocks = {begin, operands.tokens, getTokens(weight), weight.rows,
                   weight.isFar ? 1 : kScaledBlocks};
  emitTokenBlocks(sink, blocks, taken, last,
                  [&](Value first, Value count, Value rowTile) {
                    emitRegisterTiles(sink, weights, first, count,
                                      emitTileOf(rowTile), rowTile);
                  });
}

/// A parallel loop over blocks of tokens and tiles of rows, of which `emitBody`
/// gets the first token, how many there are and the tile. Nothing where `taken`
/// is true, which may be null.
void ProductSynthesizer::emitTokenBlocks(
    const ProductSink &sink, const Blocks &range, Value taken, bool last,
    function_ref<void(Value, Value, Value)> emitBody) {
  Value tokens = range.end;
  if (range.begin)
    tokens = arith::SubIOp::create(b, tokens, range.begin);
  int64_t tokenTile = range.tokens;
  int64_t bytesPerToken =
      getWeight(sink).getColumns() * (product.isInteger() ? 1
                                      : product.isBf16()  ? 2
                                                          : 4);
  int64_t tokensInCache = blockBytes / bytesPerToken * range.enlarged;
  int64_t tokenBlock =
      std::max<int64_t>(tokenTile, llvm::alignDown(tokensInCache, tokenTile));
  Value blocks = arith::CeilDivUIOp::create(b, tokens, b.index(tokenBlock));
  Value tilesOfTokens =
      arith::CeilDivUIOp::create(b, tokens, b.index(tokenTile));
  int64_t tiles =
      llvm::divideCeil(getWeight(sink).type.getDimSize(0), range.rows);
  if (target && target.getWorkers() > 1) {
    // Smaller ones where there are more workers than pieces.
    Value workers = WorkerCountOp::create(b, b.getIndexType());
    Value wanted = arith::CeilDivUIOp::create(b, workers, b.index(tiles));
    wanted = arith::MinUIOp::create(b, wanted, tilesOfTokens);
    blocks = arith::MaxUIOp::create(b, blocks, wanted);
  }
  // Alike to a tile, so that workers who get as many have as much to do. The
  // first ones take a tile more. Divided once, as a division takes as long as a
  // small tile.
  Value divisor = arith::MaxUIOp::create(b, blocks, b.index(1));
  Value each = arith::DivUIOp::create(b, tilesOfTokens, divisor);
  Value larger = arith::RemUIOp::create(b, tilesOfTokens, divisor);
  auto beginOf = [&](Value block) -> Value {
    Value tile =
        arith::AddIOp::create(b, arith::MulIOp::create(b, block, each),
                              arith::MinUIOp::create(b, block, larger));
    return arith::MinUIOp::create(b, tokens, b.multiply(tile, tokenTile));
  };
  Value count = blocks;
  if (taken)
    count = arith::SelectOp::create(b, taken, b.index(0), blocks);
  SmallVector<OpFoldResult> sizes = {count, b.getIndexAttr(tiles)};
  emitLoop(sizes, last, [&](ValueRange indices) {
    Value first = beginOf(indices[0]);
    Value next = b.add(indices[0], 1);
    Value count = arith::SubIOp::create(b, beginOf(next), first);
    if (range.begin)
      first = arith::AddIOp::create(b, first, range.begin);
    emitBody(first, count, indices[1]);
  });
}

/// The tokens `first`, … (`count` of them) in register tiles of decreasing
/// numbers of tokens: the target's, then the powers of two below.
void ProductSynthesizer::forEachTokenTile(const ProductSink &sink,
                                          Weights weights, Value first,
                                          Value count,
                                          function_ref<void(TokenTile)> body) {
  Value lower = first, rest = count;
  for (int64_t tokens = getTokens(*weights[sink.products.front()]); tokens >= 1;
       tokens = llvm::bit_ceil(uint64_t(tokens)) / 2) {
    Value left = tokens == 1 ? b.index(0) : b.remainder(rest, tokens);
    Value whole = arith::SubIOp::create(b, rest, left);
    Value upper = arith::AddIOp::create(b, lower, whole);
    rest = left;
    b.forEach(lower, upper, tokens,
              [&](Value first) { body({first, tokens}); });
    lower = upper;
  }
}

/// `tile` is the tile of the weights, `rowTile` that of the result.
void ProductSynthesizer::emitRegisterTiles(const ProductSink &sink,
                                           Weights weights, Value first,
                                           Value count, Value tile,
                                           Value rowTile) {
  forEachTokenTile(sink, weights, first, count, [&](TokenTile tokens) {
    emitTile(sink, weights, tokens, tile, rowTile);
  });
}

std::unique_ptr<PreparedWeight>
ProductSynthesizer::prepare(const PackedWeight &weight) {
  if (product.getGroups())
    return nullptr;
  // A warp has no room for them.
  if (target && target.hasWarps())
    return nullptr;
  // Where activations take no pipe that multiplies, conversions are what does.
  if (!product.isInteger() && !product.isBf16()) {
    if (operands.floatColumns > 1 && ConvertedWeight::isPossible(weight) &&
        4 * weight.rows * weight.getColumns() <= kMostRoom)
      return std::make_unique<ConvertedWeight>(b, weight);
    return nullptr;
  }
  // Only where unsigned codes of 8 bits are as good as narrower ones.
  if (!matrixTiles && !form.signedCodes && weight.rows < shape.rows &&
      shape.rows * weight.getColumns() <= kMostRoom && product.isInteger() &&
      operands.hasIntegerScales(weight) && ScaledWeight::isPossible(weight))
    return std::make_unique<ScaledWeight>(b, weight, shape.rows);
  return nullptr;
}

LogicalResult ProductSynthesizer::run() {
  SmallVector<ProductSink> sinks;
  if (failed(collectSinks(kernel, product, sinks)))
    return failure();
  b.setInsertionPoint(kernel.getBody().front().getTerminator());
  if (failed(operands.view()))
    return failure();
  matrixTiles = MatrixTiles::create(b, operands, sinks, target, kMostRoom);
  for (const PackedWeight &weight : operands.weights) {
    plainWeights.push_back(&weight);
    preparedWeights.push_back(prepare(weight));
  }
  sinkCount = sinks.size();
  for (ProductSink &sink : sinks) {
    bool last = &sink == &sinks.back();
    sink.buffer = operands.splitSlots(sink.buffer);
    emitSink(sink, last);
  }

  // What the loops replace.
  for (Operation &op :
       llvm::make_early_inc_range(llvm::reverse(kernel.getBody().front()))) {
    bool replaced = llvm::any_of(
        sinks, [&](ProductSink &sink) { return sink.store == &op; });
    bool dead =
        op.use_empty() &&
        (isa<KernelOpInterface, FromBytesOp, bufferization::ToTensorOp>(op));
    if (replaced || dead)
      op.erase();
  }
  return success();
}

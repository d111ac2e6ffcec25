// SPDX-License-Identifier: Apache-2.0
//
// Synthesizes product kernels: the loops over the register tiles of a product,
// and what follows it in each of them.
#include "passes/Passes.h"
#include "passes/check/KernelContract.h"
#include "passes/target/common/Architecture.h"
#include "passes/tile/product/MatrixTiles.h"
#include "passes/tile/product/ProductEpilogue.h"
#include "passes/tile/product/ProductTile.h"
#include "passes/tile/product/ScaledWeight.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_SYNTHESIZEPRODUCTPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// How many tiles of a weight a single token reads before those of another one.
/// From as much memory in one piece the hardware reads as fast as from all of
/// it.
constexpr int64_t kTilesTogether = 4;

/// From how many tokens on it pays to multiply scales into the codes of a tile:
/// that takes as long as the products of five tokens, and spares a quarter of
/// the time of all.
constexpr int64_t kManyTokens = 24;

/// How much larger blocks of tokens are then: the work for a tile is done once
/// for each. (Products of 8,960 columns reach 72 % of the peak with blocks as
/// others have them, 77 to 84 with blocks 2 to 16 times as large.)
constexpr int64_t kScaledBlocks = 8;

/// Tokens of a register tile, as `#lumen.target` limits them too.
constexpr int64_t kMostTileTokens = 32;

/// Bytes of the stack that an unpacked tile of rows may take: less than a
/// second-level cache, and of any thread's stack a small part.
constexpr int64_t kMostRoom = 512 * 1024;

/// The target's register tile: so many rows of a weight (0: any) by so many
/// tokens.
struct TileShape {
  int64_t rows, tokens;
};

class ProductSynthesizer {
public:
  ProductSynthesizer(func::FuncOp kernel, QLinearOp product, TileShape shape,
                     int64_t blockBytes, TargetAttr target)
      : b(product.getLoc(), kernel.getContext()), kernel(kernel),
        product(product), shape(shape), blockBytes(blockBytes), target(target),
        form{target && target.prefersSignedCodes(),
             target && target.addsPairs()},
        operands(b, product, Architecture::of(target).hasSlowConversions()) {}

  LogicalResult run();

private:
  /// The weights of the product, or what stands for them.
  using Weights = ArrayRef<const PackedWeight *>;
  /// The weight of a sink, or one of several that are alike.
  const PackedWeight &getWeight(const ProductSink &sink) const {
    return operands.weights[sink.products.front()];
  }
  /// Tokens of a register tile: more where a weight's tiles have fewer rows. Of
  /// these a power of two, which leaves fewer tokens over from a prompt.
  int64_t getTokens(const PackedWeight &weight) const {
    int64_t ratio = shape.rows / weight.rows;
    return ratio > 1 ? llvm::bit_floor(uint64_t(shape.tokens)) * ratio
                     : shape.tokens;
  }
  /// Whether many tokens go through instructions for matrices.
  bool usesMatrices(const ProductSink &sink) const {
    return matrixTiles && matrixTiles->hold(sink.products);
  }
  void emitSink(const ProductSink &sink, bool last);
  Value emitSingleToken(const ProductSink &sink);
  Value emitManyTokens(const ProductSink &sink);
  Value emitMatrixTiles(const ProductSink &sink);
  void emitMatrixTiles(const ProductSink &sink, Value first, Value end,
                       Value tile, Value rowTile);
  void emitPlainTiles(const ProductSink &sink, Weights weights, Value begin,
                      Value taken, bool last,
                      function_ref<Value(Value)> emitTileOf);
  /// Tokens in blocks, and tiles of rows.
  struct Blocks {
    /// The tokens, `begin` (0 where that is null) and the one behind the last.
    Value begin, end;
    /// A register tile.
    int64_t tokens, rows;
    /// How much larger than others blocks of tokens are.
    int64_t enlarged;
  };
  void emitTokenBlocks(const ProductSink &sink, const Blocks &blocks,
                       Value taken, bool last,
                       function_ref<void(Value, Value, Value)> emitBody);
  void emitExpertGroups(const ProductSink &sink, Value single, bool last);
  void emitRegisterTiles(const ProductSink &sink, Weights weights, Value first,
                         Value count, Value tile, Value rowTile);
  void emitTile(const ProductSink &sink, Weights weights,
                const TokenTile &tokens, Value tile, Value rowTile);
  void emitTile(const ProductSink &sink, int64_t rows, const TokenTile &tokens,
                Value rowTile, function_ref<Value(unsigned)> emitProduct);
  void emitLoop(ArrayRef<OpFoldResult> sizes, bool waits,
                function_ref<void(ValueRange)> emitBody);
  void emitGroup(Value group, Value tiles, Value rowTile,
                 function_ref<void(Value, Value, Value)> emitBody);

  TileBuilder b;
  func::FuncOp kernel;
  QLinearOp product;
  TileShape shape;
  int64_t blockBytes; // of activations
  TargetAttr target;  // may be null
  IntegerForm form;
  ProductOperands operands;
  SmallVector<const PackedWeight *> plainWeights;
  /// Null where scales cannot be multiplied into the codes.
  SmallVector<std::unique_ptr<ScaledWeight>> scaledWeights;
  /// Null where the target has no instruction for matrices, or it is of no use.
  std::unique_ptr<MatrixTiles> matrixTiles;
};

void ProductSynthesizer::emitTile(const ProductSink &sink, Weights weights,
                                  const TokenTile &tokens, Value tile,
                                  Value rowTile) {
  emitTile(sink, weights[sink.products.front()]->rows, tokens, rowTile,
           [&](unsigned i) {
             return emitProductTile(b, operands, *weights[i], form, tokens,
                                    tile);
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

/// The tokens of a group, the first and the one behind the last, and the tile
/// of its expert's weights, each of which has `tiles`, that holds the rows of
/// tile `rowTile` of the result.
void ProductSynthesizer::emitGroup(
    Value group, Value tiles, Value rowTile,
    function_ref<void(Value, Value, Value)> emitBody) {
  Value table = product.getGroups()
                    .getDefiningOp<bufferization::ToTensorOp>()
                    .getBuffer();
  auto load = [&](Value row, int64_t column) {
    return b.toIndex(b.load(table, {row, b.index(column)}));
  };
  Value first = load(group, 1);
  Value end = load(b.add(group, 1), 1);
  Value tile = arith::MulIOp::create(b, load(group, 0), tiles);
  emitBody(first, end, arith::AddIOp::create(b, tile, rowTile));
}

/// All tiles behind one result.
void ProductSynthesizer::emitSink(const ProductSink &sink, bool last) {
  Value single;
  if (product.getGroups() || joinsTwoProducts(sink, product))
    single = emitSingleToken(sink);
  if (product.getGroups())
    return emitExpertGroups(sink, single, last);
  Value others = single;
  if (Value many = emitManyTokens(sink))
    others = single ? arith::OrIOp::create(b, single, many) : many;
  Value begin;
  if (usesMatrices(sink))
    begin = emitMatrixTiles(sink);
  emitPlainTiles(sink, plainWeights, begin, others, last,
                 [](Value rowTile) { return rowTile; });
}

/// A loop of its own for those tokens that instructions for matrices take.
/// Returns the one behind the last.
Value ProductSynthesizer::emitMatrixTiles(const ProductSink &sink) {
  const MatrixTile &tile = matrixTiles->getTile();
  Value end = matrixTiles->getTokens(b.index(0), operands.tokens).second;
  Blocks blocks = {nullptr, end, tile.tokens, tile.rows, kScaledBlocks};
  emitTokenBlocks(sink, blocks, /*taken=*/nullptr, /*last=*/false,
                  [&](Value first, Value count, Value rowTile) {
                    Value end = arith::AddIOp::create(b, first, count);
                    int64_t tiles = tile.rows / getWeight(sink).rows;
                    emitMatrixTiles(sink, first, end,
                                    b.multiply(rowTile, tiles), rowTile);
                  });
  return end;
}

/// The tokens from `first` to `end`, whole tiles, with the rows from the first
/// one of tile `tile` of the weights on: those of tile `rowTile` of the result.
void ProductSynthesizer::emitMatrixTiles(const ProductSink &sink, Value first,
                                         Value end, Value tile, Value rowTile) {
  int64_t tokens = matrixTiles->getTile().tokens,
          rows = matrixTiles->getTile().rows;
  for (unsigned i : sink.products)
    matrixTiles->emitWeight(i, tile);
  b.forEach(first, end, tokens, [&](Value token) {
    emitTile(sink, rows, {token, tokens}, rowTile,
             [&](unsigned i) { return matrixTiles->emitTile(i, token); });
  });
}

/// A loop of its own for so many tokens that it pays to multiply the scales of
/// a tile of rows into its codes first. Returns whether there are so many; null
/// where that cannot be done.
Value ProductSynthesizer::emitManyTokens(const ProductSink &sink) {
  SmallVector<const PackedWeight *> weights(plainWeights.size());
  for (unsigned i : sink.products) {
    if (!scaledWeights[i])
      return nullptr;
    weights[i] = &scaledWeights[i]->getPacked();
  }
  Value few = arith::CmpIOp::create(b, arith::CmpIPredicate::ult,
                                    operands.tokens, b.index(kManyTokens));
  emitPlainTiles(sink, weights, nullptr, few, /*last=*/false,
                 [&](Value rowTile) {
                   for (unsigned i : sink.products)
                     scaledWeights[i]->emit(b, rowTile);
                   return b.index(0);
                 });
  return arith::XOrIOp::create(b, few, b.integer(b.getI1Type(), 1));
}

/// A loop of its own for a single token, whose weights come from memory, which
/// is read faster from end to end than from several places in turn: of two
/// weights that meet in one result, some tiles of the one, whose results wait
/// in the buffer of the sink, then those of the other; of experts, all tiles of
/// one, then the next. Returns whether there is a single token.
Value ProductSynthesizer::emitSingleToken(const ProductSink &sink) {
  Value single =
      arith::CmpIOp::create(b, arith::CmpIPredicate::eq, operands.tokens,
                            b.index(product.getSlots()));
  SmallVector<ProductSink, 2> parts = {sink};
  if (joinsTwoProducts(sink, product)) {
    unsigned number = sink.products.front();
    parts.front().stored = number;
    parts.insert(
        parts.begin(),
        {sink.store, product.getOutputs()[number], sink.buffer, {number}});
  }
  int64_t tiles = getWeight(sink).getTiles() / product.getExperts();
  int64_t together = parts.size() == 1 ? 1 : kTilesTogether;
  Value runs = b.index(llvm::divideCeil(tiles, together));
  // Every slot has an expert of its own, or shares one and leaves a group
  // empty.
  Value count = b.multiply(runs, product.getSlots());
  count = arith::SelectOp::create(b, single, count, b.index(0));
  emitLoop({count}, /*waits=*/false, [&](ValueRange indices) {
    Value run = indices[0], group;
    if (product.getGroups()) {
      run = arith::RemUIOp::create(b, indices[0], runs);
      group = arith::DivUIOp::create(b, indices[0], runs);
    }
    Value first = b.multiply(run, together);
    Value end = b.add(first, together);
    end = arith::MinUIOp::create(b, end, b.index(tiles));
    for (const ProductSink &part : parts)
      b.forEach(first, end, 1, [&](Value rowTile) {
        if (!group)
          return emitTile(part, plainWeights, {b.index(0), 1}, rowTile,
                          rowTile);
        emitGroup(group, b.index(tiles), rowTile,
                  [&](Value token, Value last, Value tile) {
                    b.forEach(token, last, 1, [&](Value token) {
                      emitTile(part, plainWeights, {token, 1}, tile, rowTile);
                    });
                  });
      });
  });
  return single;
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
      getWeight(sink).getColumns() * (product.isInteger() ? 1 : 4);
  int64_t tokensInCache = blockBytes / bytesPerToken * range.enlarged;
  int64_t tokenBlock =
      std::max<int64_t>(tokenTile, llvm::alignDown(tokensInCache, tokenTile));
  Value blocks = arith::CeilDivUIOp::create(b, tokens, b.index(tokenBlock));
  // Alike to a tile, so that workers who get as many have as much to do.
  Value tilesOfAll = b.multiply(blocks, tokenTile);
  auto beginOf = [&](Value block) -> Value {
    Value share = arith::CeilDivUIOp::create(
        b, arith::MulIOp::create(b, block, tokens), tilesOfAll);
    return arith::MinUIOp::create(b, tokens, b.multiply(share, tokenTile));
  };
  Value count = blocks;
  if (taken)
    count = arith::SelectOp::create(b, taken, b.index(0), blocks);
  int64_t tiles =
      llvm::divideCeil(getWeight(sink).type.getDimSize(0), range.rows);
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

/// The same for the weights of experts: a parallel loop over tiles of rows and
/// the groups of tokens. Tiles come first, so that all workers get equal shares
/// however the tokens are spread.
void ProductSynthesizer::emitExpertGroups(const ProductSink &sink, Value single,
                                          bool last) {
  int64_t experts = product.getExperts(), count = getWeight(sink).getTiles();
  Value tiles = b.index(count / experts);
  // A group has at least one token.
  Value groups = arith::MinUIOp::create(b, operands.tokens, b.index(experts));
  groups = arith::SelectOp::create(b, single, b.index(0), groups);
  if (usesMatrices(sink)) {
    int64_t ratio = matrixTiles->getTile().rows / getWeight(sink).rows;
    Value larger = b.index(llvm::divideCeil(count / experts, ratio));
    emitLoop({larger, groups}, /*waits=*/false, [&](ValueRange indices) {
      emitGroup(indices[1], tiles, b.multiply(indices[0], ratio),
                [&](Value first, Value end, Value tile) {
                  auto range = matrixTiles->getTokens(first, end);
                  Value any = arith::CmpIOp::create(
                      b, arith::CmpIPredicate::ult, range.first, range.second);
                  b.branch(any, [&] {
                    emitMatrixTiles(sink, range.first, range.second, tile,
                                    indices[0]);
                  });
                });
    });
  }
  emitLoop({tiles, groups}, last, [&](ValueRange indices) {
    auto emitTokens = [&](Value first, Value end, Value tile) {
      Value count = arith::SubIOp::create(b, end, first);
      emitRegisterTiles(sink, plainWeights, first, count, tile, indices[0]);
    };
    emitGroup(indices[1], tiles, indices[0],
              [&](Value first, Value end, Value tile) {
                if (!usesMatrices(sink))
                  return emitTokens(first, end, tile);
                // What is left in front of those and behind them.
                auto range = matrixTiles->getTokens(first, end);
                b.forEach(2, [&](Value side) {
                  Value front = arith::CmpIOp::create(
                      b, arith::CmpIPredicate::eq, side, b.index(0));
                  auto choose = [&](Value before, Value behind) -> Value {
                    return arith::SelectOp::create(b, front, before, behind);
                  };
                  emitTokens(choose(first, range.second),
                             choose(range.first, end), tile);
                });
              });
  });
}

/// The tokens `first`, … (`count` of them) in register tiles of decreasing
/// numbers of tokens: the target's, then the powers of two below. `tile` is the
/// tile of the weights, `rowTile` that of the result.
void ProductSynthesizer::emitRegisterTiles(const ProductSink &sink,
                                           Weights weights, Value first,
                                           Value count, Value tile,
                                           Value rowTile) {
  Value lower = first, rest = count;
  for (int64_t tokens = getTokens(*weights[sink.products.front()]); tokens >= 1;
       tokens = llvm::bit_ceil(uint64_t(tokens)) / 2) {
    Value left = tokens == 1 ? b.index(0) : b.remainder(rest, tokens);
    Value whole = arith::SubIOp::create(b, rest, left);
    Value upper = arith::AddIOp::create(b, lower, whole);
    rest = left;
    b.forEach(lower, upper, tokens, [&](Value first) {
      emitTile(sink, weights, {first, tokens}, tile, rowTile);
    });
    lower = upper;
  }
}

LogicalResult ProductSynthesizer::run() {
  SmallVector<ProductSink> sinks;
  if (failed(collectSinks(kernel, product, sinks)))
    return failure();
  b.setInsertionPoint(kernel.getBody().front().getTerminator());
  if (failed(operands.view()))
    return failure();
  matrixTiles = MatrixTiles::create(b, operands, target, kMostRoom);
  for (const PackedWeight &weight : operands.weights) {
    plainWeights.push_back(&weight);
    scaledWeights.emplace_back();
    // Only where unsigned codes of 8 bits are as good as narrower ones.
    if (!matrixTiles && !form.signedCodes && !product.getGroups() &&
        weight.rows < shape.rows &&
        shape.rows * weight.getColumns() <= kMostRoom && product.isInteger() &&
        operands.hasIntegerScales(weight) && ScaledWeight::isPossible(weight))
      scaledWeights.back() =
          std::make_unique<ScaledWeight>(b, weight, shape.rows);
  }
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

struct SynthesizeProductPass final
    : lumen::impl::SynthesizeProductPassBase<SynthesizeProductPass> {
  using SynthesizeProductPassBase::SynthesizeProductPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    TargetAttr target = TargetAttr::lookup(module);
    if (tokens > kMostTileTokens) {
      module.emitError() << "a tile has at most " << kMostTileTokens
                         << " tokens, not " << int64_t(tokens);
      return signalPassFailure();
    }
    auto isOfKind = [](Operation *op) {
      return isa<QLinearOp>(op) || isElementwise(op);
    };
    for (func::FuncOp kernel : getKernels(module, KernelKind::Product)) {
      if (failed(verifyKernel(kernel, isOfKind)))
        return signalPassFailure();
      auto products = llvm::to_vector(kernel.getOps<QLinearOp>());
      if (products.size() != 1) {
        kernel.emitError() << "a product kernel holds one lumen.qlinear, got "
                           << products.size();
        return signalPassFailure();
      }
      TileShape shape = {0, 4};
      if (target)
        shape = {target.getRows(), target.getTokens()};
      if (tokens)
        shape.tokens = tokens;
      if (failed(ProductSynthesizer(kernel, products.front(), shape, blockBytes,
                                    target)
                     .run()))
        return signalPassFailure();
    }
  }
};

} // namespace

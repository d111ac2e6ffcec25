// SPDX-License-Identifier: Apache-2.0
//
// What reads several weights: experts, and a single token.
#include "passes/tile/product/ProductSynthesizer.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

/// How many tiles of a weight a single token reads before those of another one.
/// From as much memory in one piece the hardware reads as fast as from all of
/// it.
static constexpr int64_t kTilesTogether = 4;

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
    int64_t ratio = matrixTiles->getRows() / getWeight(sink).rows;
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

// SPDX-License-Identifier: Apache-2.0
//
// Few tokens on many workers: several share a tile of rows.
#include "passes/target/gpu/TeamOfWarps.h"
#include "passes/tile/product/ProductSynthesizer.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

/// Columns of a segment, at least: its sums are written and read once, which
/// takes as long as a few columns.
static constexpr int64_t kLeastColumns = 128;

/// From how many segments on it pays to share.
static constexpr int64_t kLeastSegments = 4;

/// The most segments: the sums of all are in registers at a time.
static constexpr int64_t kMostSegments = 32;

Segments ProductSynthesizer::getSegments(const ProductSink &sink) {
  const PackedWeight &weight = getWeight(sink);
  Segments whole = {1, weight.getColumns()};
  if (!target || target.getWorkers() == 1 || product.getGroups() ||
      sinkCount * weight.getTiles() > kCounters)
    return whole;
  int64_t unit = kLeastColumns;
  for (unsigned i : sink.products) {
    if (!operands.weights[i].format)
      return whole;
    unit = std::lcm(unit, int64_t(operands.weights[i].format.getBlock()));
  }
  // Not more pieces than workers, of which some had two then.
  int64_t units = llvm::divideCeil(weight.getColumns(), unit);
  int64_t most =
      std::min({target.getWorkers() / weight.getTiles(), units, kMostSegments});
  if (most < 2 || units < kLeastSegments)
    return whole;
  int64_t each = llvm::divideCeil(units, most);
  return {int64_t(llvm::divideCeil(units, each)), each * unit};
}

/// A loop of its own for so few tokens that they are one register tile. Every
/// worker writes the sums of a segment; the last one of a tile adds them up in
/// their order. Returns whether there are so few.
Value ProductSynthesizer::emitFewTokens(const ProductSink &sink) {
  Segments segments = getSegments(sink);
  const PackedWeight &weight = getWeight(sink);
  int64_t most = getTokens(weight), tiles = weight.getTiles();
  Value few = arith::CmpIOp::create(b, arith::CmpIPredicate::ule,
                                    operands.tokens, b.index(most));
  // Of the arena, which all workers share.
  SmallVector<Value> sums(operands.weights.size());
  for (unsigned i : sink.products)
    sums[i] = memref::AllocOp::create(
        b, MemRefType::get({segments.count, most, tiles * weight.rows},
                           b.getF32Type()));
  int64_t firstCounter = metTiles;
  metTiles += tiles;
  Value count = arith::SelectOp::create(b, few, b.index(tiles), b.index(0));
  auto forEach = [&](function_ref<void(TokenTile)> body) {
    forEachTokenTile(sink, plainWeights, b.index(0), operands.tokens, body);
  };
  SmallVector<OpFoldResult> sizes = {count, b.getIndexAttr(segments.count)};
  emitLoop(sizes, /*waits=*/false, [&](ValueRange indices) {
    Value tile = indices[0], number = indices[1];
    Value row = b.multiply(tile, weight.rows);
    auto placeOf = [&](Value segment, const TokenTile &tokens) {
      return SmallVector<OpFoldResult>{segment, tokens.first, row};
    };
    forEach([&](TokenTile tokens) {
      for (unsigned i : sink.products) {
        Value sum = emitProductSegment(b, operands, *plainWeights[i], form,
                                       tokens, tile, segments, number);
        b.storeTile(sum, b.subview(sums[i], placeOf(number, tokens),
                                   {0, tokens.count, weight.rows}));
      }
    });
    Value isLast =
        ArriveOp::create(b, b.add(tile, firstCounter), b.index(segments.count));
    b.branch(isLast, [&] {
      forEach([&](TokenTile tokens) {
        emitTile(sink, weight.rows, tokens, tile, [&](unsigned i) {
          Value all = b.toTensor(sums[i]);
          Value sum = b.zeros({tokens.count, weight.rows}, b.getF32Type());
          for (int64_t j = 0; j < segments.count; ++j)
            sum = addTiles(b, sum,
                           b.sliceOfShape(all, placeOf(b.index(j), tokens),
                                          {0, tokens.count, weight.rows}));
          return sum;
        });
      });
    });
  });
  return few;
}

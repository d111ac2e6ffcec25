// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/ExpandedTiles.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lumen;

/// From how many tokens on it pays to expand a tile of rows: that takes as long
/// as the products of eight tokens with it, which take half as long as others.
static constexpr int64_t kFewestTokens = 8;

ExpandedTiles::ExpandedTiles(TileBuilder &b, const ProductOperands &operands,
                             MatrixTile tile)
    : b(b), operands(operands), tile(tile) {}

std::unique_ptr<ExpandedTiles>
ExpandedTiles::create(TileBuilder &b, const ProductOperands &operands,
                      TargetAttr target, int64_t mostBytes) {
  MatrixTile tile(target);
  for (const PackedWeight &weight : operands.weights)
    if (weight.format && !MatrixFactors(operands, weight, tile).hasIntegerSums)
      tile.fit(kSpan >> weight.getGroupBits());
  auto isPossible = [&](const PackedWeight &weight) {
    return ExpandedWeight::isPossible(operands, weight, tile, mostBytes);
  };
  bool isNeeded = false;
  int64_t sets = 1;
  for (const PackedWeight &weight : operands.weights)
    if (isPossible(weight)) {
      isNeeded = true;
      MatrixFactors factors(operands, weight, tile);
      sets = std::max(sets, factors.countSets(operands, weight));
    }
  if (!isNeeded)
    return nullptr;
  tile.holdSets(sets);
  std::unique_ptr<ExpandedTiles> made(new ExpandedTiles(b, operands, tile));
  bool hasSums = false, hasSumCodes = false;
  for (const PackedWeight &weight : operands.weights) {
    made->weights.emplace_back();
    made->results.emplace_back();
    if (!isPossible(weight))
      continue;
    made->weights.back() =
        std::make_unique<ExpandedWeight>(b, operands, weight, tile);
    hasSums |= !!made->weights.back()->minima;
    hasSumCodes |= !!made->weights.back()->minimumCodes;
    made->results.back() =
        b.allocateScratch({tile.tokens, tile.rows}, b.getF32Type());
  }
  if (tile.getVectors() > 1)
    made->sums = b.allocateScratch({tile.getM() * tile.getN()}, b.getI32Type());
  made->activations = std::make_unique<ArrangedActivations>(
      b, operands, tile, hasSums, hasSumCodes);
  Value blocks = b.divide(operands.tokens, tile.getM());
  blocks = arith::SelectOp::create(b, made->areFew(operands.tokens), b.index(0),
                                   blocks);
  made->activations->emit(b, blocks);
  return made;
}

Value ExpandedTiles::areFew(Value tokens) const {
  return arith::CmpIOp::create(b, arith::CmpIPredicate::ult, tokens,
                               b.index(std::max(kFewestTokens, tile.tokens)));
}

std::pair<Value, Value> ExpandedTiles::getTokens(Value first, Value end) const {
  int64_t m = tile.getM();
  // Matrices begin at multiples of m.
  Value begin = b.multiply(b.divide(b.add(first, m - 1), m), m);
  begin = arith::MinUIOp::create(b, begin, end);
  Value count = arith::SubIOp::create(b, end, begin);
  Value few = areFew(count);
  Value whole = arith::SubIOp::create(
      b, count, b.remainder(count, tile.getLeastTokens()));
  begin = arith::SelectOp::create(b, few, first, begin);
  whole = arith::SelectOp::create(b, few, b.index(0), whole);
  return {begin, arith::AddIOp::create(b, begin, whole)};
}

/// (Where workers are threads, all columns are one segment.)
Value ExpandedTiles::emitTile(unsigned weight, const TokenTile &tokens,
                              const Segments & /*segments*/) {
  Value into = results[weight];
  MatrixTile ofTokens = tile;
  ofTokens.tokens = tokens.count;
  MatrixProduct(b, operands, *activations, *weights[weight], ofTokens, sums)
      .emit(tokens.first, into);
  // What follows works on linalg's tensors.
  auto first = b.getIndexAttr(0);
  Value stored = b.sliceOfShape(b.toTensor(into), {first, first},
                                {tokens.count, tile.rows});
  return b.generic(
      b.zeros({tokens.count, tile.rows}, b.getF32Type()), stored,
      {b.map(2, {0, 1}), b.map(2, {0, 1})}, 2,
      [&](KernelBuilder &, ValueRange arguments) { return arguments.front(); });
}

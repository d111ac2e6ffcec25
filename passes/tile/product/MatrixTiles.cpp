// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/MatrixTiles.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lumen;

/// From how many tiles of tokens on it pays to expand a tile of rows, which
/// takes about half as long as the products of a tile with it.
static constexpr int64_t kFewestTiles = 2;

MatrixTiles::MatrixTiles(TileBuilder &b, const ProductOperands &operands,
                         MatrixTile tile)
    : b(b), operands(operands), tile(tile) {}

std::unique_ptr<MatrixTiles>
MatrixTiles::create(TileBuilder &b, const ProductOperands &operands,
                    TargetAttr target, int64_t mostBytes) {
  // Tokens of experts stand in groups that begin anywhere. Where pairs of 16
  // bits meet scales, sums are others than here.
  if (!target || !target.getMma() || target.addsPairs() ||
      !operands.product.isInteger() || operands.product.getGroups())
    return nullptr;
  MatrixTile tile(target);
  auto isPossible = [&](const PackedWeight &weight) {
    return ExpandedWeight::isPossible(operands, weight, tile, mostBytes);
  };
  if (llvm::none_of(operands.weights, isPossible))
    return nullptr;
  std::unique_ptr<MatrixTiles> made(new MatrixTiles(b, operands, tile));
  bool hasSums = false;
  for (const PackedWeight &weight : operands.weights) {
    made->weights.emplace_back();
    made->results.emplace_back();
    if (!isPossible(weight))
      continue;
    hasSums |= weight.hasMin();
    made->weights.back() =
        std::make_unique<ExpandedWeight>(b, operands, weight, tile);
    made->results.back() =
        b.allocateScratch({tile.tokens, tile.rows}, b.getF32Type());
  }
  made->activations =
      std::make_unique<ArrangedActivations>(b, operands, tile, hasSums);
  Value few =
      arith::CmpIOp::create(b, arith::CmpIPredicate::ult, operands.tokens,
                            b.index(kFewestTiles * tile.tokens));
  Value whole = arith::SubIOp::create(
      b, operands.tokens, b.remainder(operands.tokens, tile.tokens));
  made->tokens = arith::SelectOp::create(b, few, b.index(0), whole);
  made->activations->emit(b, made->tokens);
  return made;
}

Value MatrixTiles::emitTile(unsigned weight, Value token) const {
  Value into = results[weight];
  MatrixProduct(b, operands, *activations, *weights[weight], tile)
      .emit(token, into);
  // What follows works on linalg's tensors.
  auto first = b.getIndexAttr(0);
  Value stored = b.sliceOfShape(b.toTensor(into), {first, first},
                                {tile.tokens, tile.rows});
  return b.generic(
      b.zeros({tile.tokens, tile.rows}, b.getF32Type()), stored,
      {b.map(2, {0, 1}), b.map(2, {0, 1})}, 2,
      [&](KernelBuilder &, ValueRange arguments) { return arguments.front(); });
}

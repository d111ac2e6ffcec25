// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/FragmentTiles.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::lumen;

std::unique_ptr<FragmentTiles>
FragmentTiles::create(TileBuilder &b, const ProductOperands &operands,
                      ArrayRef<ProductSink> sinks, TargetAttr target) {
  DotAttr mma = target.getMma();
  std::unique_ptr<FragmentTiles> made(new FragmentTiles(
      b, operands, mma, target.getRows(), target.getMmaTokens()));
  bool isNeeded = false;
  for (const PackedWeight &weight : operands.weights) {
    made->weights.emplace_back();
    if (!FragmentWeight::isPossible(operands, weight, mma))
      continue;
    isNeeded = true;
    made->weights.back().weight = std::make_unique<FragmentWeight>(
        b, operands, weight, mma, made->tokens);
  }
  if (!isNeeded)
    return nullptr;
  made->activations = std::make_unique<FragmentActivations>(b, operands);
  made->allocateRooms(sinks);
  return made;
}

void FragmentTiles::allocateRooms(ArrayRef<ProductSink> sinks) {
  SmallVector<Value> rooms;
  for (auto [number, weight] : llvm::enumerate(weights)) {
    if (!weight.weight)
      continue;
    // The first one that nothing has which meets this weight.
    auto isTaken = [&](Value room) {
      return llvm::any_of(sinks, [&](const ProductSink &sink) {
        return llvm::is_contained(sink.products, number) &&
               llvm::any_of(sink.products, [&](unsigned other) {
                 return other < number && weights[other].room == room;
               });
      });
    };
    auto *room = llvm::find_if_not(rooms, isTaken);
    if (room == rooms.end()) {
      rooms.push_back(b.allocateScratch({tokens * rows}, b.getF32Type()));
      room = std::prev(rooms.end());
    }
    weight.room = *room;
  }
}

std::pair<Value, Value> FragmentTiles::getTokens(Value first, Value end) const {
  Value count = arith::SubIOp::create(b, end, first);
  Value left = b.remainder(count, mma.getTokens());
  return {first, arith::SubIOp::create(b, end, left)};
}

Value FragmentTiles::emitTile(unsigned weight, const TokenTile &tokens,
                              const Segments &segments) {
  const Weight &its = weights[weight];
  b.outline([&] {
    FragmentProduct(b, operands, *activations, *its.weight, tokens)
        .emit(its.tile, its.room, segments);
  });
  // What follows works on linalg's tensors.
  SmallVector<OpFoldResult> sizes = {b.getIndexAttr(this->tokens),
                                     b.getIndexAttr(rows)};
  Value results = memref::ExpandShapeOp::create(
      b, MemRefType::get({this->tokens, rows}, b.getF32Type()), its.room,
      SmallVector<ReassociationIndices>{{0, 1}}, sizes);
  auto first = b.getIndexAttr(0);
  return b.sliceOfShape(b.toTensor(results), {first, first},
                        {tokens.count, rows});
}

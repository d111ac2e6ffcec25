// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/rows/RowEmitter.h"

#include "passes/support/Prefetch.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"

using namespace mlir;
using namespace mlir::lumen;

/// How many values ahead rows are fetched. The largest magnitude of a group
/// holds up what follows, so the core by itself looks hardly past a group.
static constexpr int64_t kFetchAhead = 1024;

RowEmitter::RowEmitter(KernelBuilder &b, const ColumnLoop &loop, Value row)
    : b(b), loop(loop), row(row) {
  for (const RowOpEmitterPtr &op : loop.ops)
    emitters[op->getOp()] = op.get();
}

void RowEmitter::emitPrologue() {
  for (const RowOpEmitterPtr &op : loop.ops)
    op->emitPrologue(*this);
}

void RowEmitter::emitTile(Value base, int64_t width) {
  ColumnTile tile(base, width);
  for (const RowOpEmitterPtr &op : loop.ops)
    op->emitStores(*this, tile);
}

SmallVector<Value> RowEmitter::emit(Value value, ColumnTile &tile) {
  if (auto found = tile.pieces.find(value); found != tile.pieces.end())
    return found->second;
  SmallVector<Value> pieces;
  if (auto tensor = value.getDefiningOp<bufferization::ToTensorOp>())
    pieces = emitLoads(tensor.getBuffer(),
                       rankedType(value).getRank() == 2 ? row : Value(), tile);
  else
    pieces = emitters.lookup(value.getDefiningOp())->emitPieces(*this, tile);
  tile.pieces[value] = pieces;
  return pieces;
}

SmallVector<Value> RowEmitter::map(Value value, ColumnTile &tile,
                                   function_ref<Value(Value)> body) {
  return llvm::map_to_vector(emit(value, tile), body);
}

SmallVector<Value>
RowEmitter::mapPieces(const ColumnTile &tile,
                      function_ref<Value(int64_t, int64_t)> body) {
  SmallVector<Value> pieces;
  for (int64_t begin = 0; begin < tile.width; begin += loop.piece)
    pieces.push_back(body(begin, std::min(loop.piece, tile.width - begin)));
  return pieces;
}

SmallVector<Value> RowEmitter::emitLoads(Value buffer, Value at,
                                         const ColumnTile &tile) {
  return mapPieces(tile, [&](int64_t begin, int64_t lanes) {
    SmallVector<Value> indices;
    if (at)
      indices.push_back(at);
    indices.push_back(b.add(tile.base, begin + kFetchAhead));
    if (at)
      emitPrefetch(b, buffer, indices, lanes);
    indices.back() = b.add(tile.base, begin);
    return b.load(lanes, buffer, indices);
  });
}

// SPDX-License-Identifier: Apache-2.0
#include "dialect/layout/FormatLayout.h"
#include "passes/support/KernelBuffers.h"
#include "passes/tile/FormatInliner.h"
#include "passes/tile/rows/RowEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

class EmbeddingEmitter final : public RowOpEmitterOf<EmbeddingOp> {
public:
  explicit EmbeddingEmitter(EmbeddingOp op)
      : RowOpEmitterOf(op), table(rankedType(op.getTable())),
        format(lookupFormat(table, op)) {}

private:
  void addWidths(ColumnWidths &widths) override {
    if (!format)
      return;
    widths.requirePiece(format.getSumGroup());
    widths.requireBlock(format.getBlock());
  }

  void emitPrologue(RowEmitter &rows) override {
    KernelBuilder &b = rows.b;
    int64_t columns = table.getDimSize(1);
    int64_t bytes = format ? format.getRowBytes(columns)
                           : columns * table.getElementTypeBitWidth() / 8;
    Value token = b.toIndex(b.load(getSourceBuffer(op.getTokens()), rows.row));
    first = b.multiply(token, bytes);
  }

  SmallVector<Value> emitPieces(RowEmitter &rows, ColumnTile &tile) override {
    return format ? emitBlocks(rows, tile) : emitFloats(rows, tile);
  }

  SmallVector<Value> emitBlocks(RowEmitter &rows, ColumnTile &tile);
  SmallVector<Value> emitFloats(RowEmitter &rows, ColumnTile &tile);

  RankedTensorType table;
  FormatOp format; // null for floats
  Value first;     // byte of the row
};

} // namespace

SmallVector<Value> EmbeddingEmitter::emitBlocks(RowEmitter &rows,
                                                ColumnTile &tile) {
  KernelBuilder &b = rows.b;
  int64_t block = format.getBlock();
  Value bytes = getSourceBuffer(op.getTable());
  Value index = b.divide(tile.base, block);
  SmallVector<Value> parts, pieces;
  for (int64_t i = 0; i < tile.width / block; ++i) {
    DecodedBlock decoded =
        inlineFormat(b, format, bytes, first, b.add(index, i));
    llvm::append_range(parts, emitDequantizedBlock(b, format, decoded));
  }
  size_t perPiece = rows.loop.piece / format.getSumGroup();
  for (size_t i = 0; i < parts.size(); i += perPiece)
    pieces.push_back(b.concatenate(ArrayRef(parts).slice(i, perPiece)));
  return pieces;
}

SmallVector<Value> EmbeddingEmitter::emitFloats(RowEmitter &rows,
                                                ColumnTile &tile) {
  KernelBuilder &b = rows.b;
  Type element = table.getElementType();
  int64_t size = element.getIntOrFloatBitWidth() / 8;
  Value bytes = getSourceBuffer(op.getTable());
  Value offset = arith::AddIOp::create(b, first, b.multiply(tile.base, size));
  return rows.mapPieces(tile, [&](int64_t begin, int64_t lanes) {
    Value raw = b.load(lanes * size, bytes, b.add(offset, begin * size));
    Value values =
        vector::BitCastOp::create(b, VectorType::get({lanes}, element), raw);
    return b.convert(values, b.getF32Type());
  });
}

RowOpEmitterPtr lumen::createEmitter(EmbeddingOp op) {
  return std::make_unique<EmbeddingEmitter>(op);
}

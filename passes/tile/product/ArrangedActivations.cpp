// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/ArrangedActivations.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::lumen;

/// Codes, scales, offsets and sums, in the order of the product's operands.
static Value getActivations(const ProductOperands &operands, unsigned number) {
  return operands.product.getActivations()[number]
      .getDefiningOp<bufferization::ToTensorOp>()
      .getBuffer();
}

static int64_t getColumns(Value activations) {
  return cast<MemRefType>(activations.getType()).getDimSize(1);
}

ArrangedActivations::ArrangedActivations(TileBuilder &b,
                                         const ProductOperands &operands,
                                         const MatrixTile &tile, bool hasSums,
                                         bool hasSumCodes)
    : operands(operands), tile(tile) {
  // A row for every token, so that the memory for them is counted.
  auto allocate = [&](unsigned number, int64_t copies, Type element) -> Value {
    int64_t columns = copies * getColumns(getActivations(operands, number));
    auto type = MemRefType::get({ShapedType::kDynamic, columns}, element);
    Value tokens =
        memref::DimOp::create(b, getActivations(operands, number), 0);
    Value rows = memref::AllocOp::create(b, type, tokens);
    return memref::CollapseShapeOp::create(
        b, rows, SmallVector<ReassociationIndices>{{0, 1}});
  };
  codes = allocate(0, 1, b.getI8Type());
  scales = allocate(1, tile.getN(), b.getF32Type());
  if (hasSums)
    sums = allocate(3, tile.getN(), b.getF32Type());
  if (hasSumCodes)
    sumCodes = allocate(3, 2, b.getI8Type());
}

void ArrangedActivations::spread(TileBuilder &b, Value from, Value into,
                                 Value part) const {
  int64_t lanes = tile.getLanes();
  Value token = b.multiply(part, tile.getM());
  Value first = b.multiply(part, getColumns(from) * lanes);
  b.forEach(getColumns(from), [&](Value column) {
    SmallVector<Value> values;
    for (int64_t i = 0; i < tile.getM(); ++i) {
      Value value = b.load(from, {b.add(token, i), column});
      values.push_back(
          b.broadcast(b.convert(value, b.getF32Type()), tile.getN()));
    }
    Value place = arith::AddIOp::create(b, first, b.multiply(column, lanes));
    b.store(b.concatenate(values), into, place);
  });
}

/// The sums of a token part.
void ArrangedActivations::splitSums(TileBuilder &b, Value from,
                                    Value part) const {
  // Both codes are signed bytes.
  static_assert(kSpan * kMostCode < int64_t(1) << (2 * kSumBits));
  int64_t m = tile.getM(), k = tile.getK();
  auto halves = VectorType::get(k, b.getI16Type()),
       bytes = VectorType::get(k, b.getI8Type());
  Value token = b.multiply(part, m);
  Value first = b.multiply(part, 2 * m * getColumns(from));
  b.forEach(getColumns(from) / k, [&](Value chunk) {
    Value place = arith::AddIOp::create(b, first, b.multiply(chunk, 2 * m * k));
    for (int64_t i = 0; i < m; ++i) {
      Value sum = b.load(k, from, {b.add(token, i), b.multiply(chunk, k)});
      Value high = arith::ShRSIOp::create(b, sum, b.integer(halves, kSumBits));
      Value low =
          arith::AndIOp::create(b, sum, b.integer(halves, (1 << kSumBits) - 1));
      b.store(arith::TruncIOp::create(b, bytes, high), sumCodes,
              b.add(place, i * k));
      b.store(arith::TruncIOp::create(b, bytes, low), sumCodes,
              b.add(place, (m + i) * k));
    }
  });
}

void ArrangedActivations::emit(TileBuilder &b, Value parts) const {
  int64_t m = tile.getM(), k = tile.getK();
  Value from = operands.splitSlots(getActivations(operands, 0)),
        scalesFrom = operands.splitSlots(getActivations(operands, 1)), sumsFrom;
  if (sums || sumCodes)
    sumsFrom = operands.splitSlots(getActivations(operands, 3));
  auto loop = b.parallel({parts}, [&](ValueRange indices) {
    Value part = indices.front(), token = b.multiply(part, m);
    Value first = b.multiply(part, m * getColumns(from));
    b.forEach(getColumns(from) / kSpan, [&](Value span) {
      Value column = b.multiply(span, kSpan);
      Value place =
          arith::AddIOp::create(b, first, b.multiply(span, m * kSpan));
      for (int64_t chunk = 0; chunk < tile.getChunks(); ++chunk)
        for (int64_t i = 0; i < m; ++i) {
          Value x =
              b.load(k, from, {b.add(token, i), b.add(column, chunk * k)});
          b.store(x, codes, b.add(place, (chunk * m + i) * k));
        }
    });
    spread(b, scalesFrom, scales, part);
    if (sums)
      spread(b, sumsFrom, sums, part);
    if (sumCodes)
      splitSums(b, sumsFrom, part);
  });
  // A single token must not wait.
  loop->setAttr(LumenDialect::kOptionalAttr, b.getUnitAttr());
}

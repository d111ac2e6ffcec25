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

/// Rows one after the other as a buffer of one dimension.
static Value flatten(TileBuilder &b, Value rows) {
  return memref::CollapseShapeOp::create(
      b, rows, SmallVector<ReassociationIndices>{{0, 1}});
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
    return flatten(b, memref::AllocOp::create(b, type, tokens));
  };
  auto view = [&](unsigned number) {
    return flatten(b, getActivations(operands, number));
  };
  int64_t copies = tile.getTokenLanes() / tile.getHeight();
  ownsCodes = tile.getM() > 1;
  codes = ownsCodes ? allocate(0, 1, b.getI8Type()) : view(0);
  scales = ownsCodes ? allocate(1, copies, b.getF32Type()) : view(1);
  if (hasSums) {
    auto type = cast<MemRefType>(getActivations(operands, 3).getType());
    ownsSums = ownsCodes || !type.getElementType().isF32();
    sums = ownsSums ? allocate(3, copies, b.getF32Type()) : view(3);
  }
  if (hasSumCodes)
    sumCodes = allocate(3, 2, b.getI8Type());
}

void ArrangedActivations::spread(TileBuilder &b, Value from, Value into,
                                 Value part) const {
  int64_t lanes = tile.getTokenLanes();
  Value token = b.multiply(part, tile.getHeight());
  Value first = b.multiply(part, getColumns(from) * lanes);
  b.forEach(getColumns(from), [&](Value column) {
    SmallVector<Value> values;
    for (int64_t i = 0; i < tile.getHeight(); ++i) {
      Value value = b.load(from, {b.add(token, i), column});
      value = b.convert(value, b.getF32Type());
      values.push_back(lanes > 1 ? b.broadcast(value, tile.getN()) : value);
    }
    Value place = arith::AddIOp::create(b, first, b.multiply(column, lanes));
    b.store(lanes > 1 ? b.concatenate(values) : values.front(), into, place);
  });
}

/// The sums of a block of m tokens.
void ArrangedActivations::splitSums(TileBuilder &b, Value from,
                                    Value block) const {
  // Both codes are signed bytes.
  static_assert(kSpan * kMostCode < int64_t(1) << (2 * kSumBits));
  int64_t m = tile.getM(), k = tile.getK();
  auto halves = VectorType::get(k, b.getI16Type()),
       bytes = VectorType::get(k, b.getI8Type());
  Value token = b.multiply(block, m);
  Value first = b.multiply(block, 2 * m * getColumns(from));
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

void ArrangedActivations::emitCodes(TileBuilder &b, Value from,
                                    Value block) const {
  int64_t m = tile.getM(), k = tile.getK();
  Value token = b.multiply(block, m);
  Value first = b.multiply(block, m * getColumns(from));
  b.forEach(getColumns(from) / kSpan, [&](Value span) {
    Value column = b.multiply(span, kSpan);
    Value place = arith::AddIOp::create(b, first, b.multiply(span, m * kSpan));
    for (int64_t chunk = 0; chunk < tile.getChunks(); ++chunk)
      for (int64_t i = 0; i < m; ++i) {
        Value x = b.load(k, from, {b.add(token, i), b.add(column, chunk * k)});
        b.store(x, codes, b.add(place, (chunk * m + i) * k));
      }
  });
}

void ArrangedActivations::emit(TileBuilder &b, Value blocks) const {
  if (!ownsCodes && !ownsSums && !sumCodes)
    return;
  auto viewOf = [&](unsigned number) {
    return operands.splitSlots(getActivations(operands, number));
  };
  Value codesFrom, scalesFrom, sumsFrom;
  if (ownsCodes) {
    codesFrom = viewOf(0);
    scalesFrom = viewOf(1);
  }
  if (ownsSums || sumCodes)
    sumsFrom = viewOf(3);
  auto loop = b.parallel({blocks}, [&](ValueRange indices) {
    Value block = indices.front();
    auto spreadAll = [&](Value from, Value into) {
      if (tile.getVectors() == 1)
        return spread(b, from, into, block);
      Value part = b.multiply(block, tile.getVectors());
      b.forEach(part, b.add(part, tile.getVectors()), 1,
                [&](Value part) { spread(b, from, into, part); });
    };
    if (ownsCodes) {
      emitCodes(b, codesFrom, block);
      spreadAll(scalesFrom, scales);
    }
    if (ownsSums)
      spreadAll(sumsFrom, sums);
    if (sumCodes)
      splitSums(b, sumsFrom, block);
  });
  // A single token must not wait.
  loop->setAttr(LumenDialect::kOptionalAttr, b.getUnitAttr());
}

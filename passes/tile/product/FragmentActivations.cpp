// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/FragmentProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

FragmentActivations::FragmentActivations(TileBuilder &b,
                                         const ProductOperands &operands)
    : b(b), operands(operands), pairs(viewCodes(8)), words(viewCodes(4)),
      scales(view(1)), sums(view(3)) {}

FragmentActivations::Rows FragmentActivations::view(unsigned activation) const {
  Value buffer =
      operands.splitSlots(operands.product.getActivations()[activation]
                              .getDefiningOp<bufferization::ToTensorOp>()
                              .getBuffer());
  int64_t columns = cast<MemRefType>(buffer.getType()).getDimSize(1);
  Value flat = memref::CollapseShapeOp::create(
      b, buffer, SmallVector<ReassociationIndices>{{0, 1}});
  return {flat, columns};
}

FragmentActivations::Rows FragmentActivations::viewCodes(unsigned bytes) const {
  Rows codes = view(0);
  int64_t columns = codes.columns / bytes;
  auto type =
      MemRefType::get({ShapedType::kDynamic}, b.getIntegerType(8 * bytes));
  Value count = b.multiply(operands.tokens, columns);
  return {memref::ViewOp::create(b, type, codes.flat, b.index(0), count),
          columns};
}

Value FragmentActivations::loadCodes(const FragmentTile &tile, Value token,
                                     Value span, int64_t chunk) const {
  constexpr int64_t quarters = FragmentTile::kQuarters;
  int64_t n = tile.shape.getTokens(), k = tile.shape.getK();
  const Rows &rows = tile.getSteps() == 2 ? pairs : words;
  int64_t chunks = kSpan / k;
  Value column = b.add(b.multiply(span, chunks * quarters), chunk * quarters);
  Value place =
      arith::AddIOp::create(b, b.multiply(token, rows.columns), column);
  Value own = b.numbers(n * quarters, [&](int64_t lane) {
    return lane / quarters * rows.columns + lane % quarters;
  });
  return vector::BitCastOp::create(b, VectorType::get(n * k, b.getI8Type()),
                                   b.gather(rows.flat, place, own));
}

Value FragmentActivations::load(const FragmentTile &tile, Rows rows,
                                Value token, Value column) const {
  Value place =
      arith::AddIOp::create(b, b.multiply(token, rows.columns), column);
  Value own = b.numbers(tile.getSize(), [&](int64_t i) {
    return i % tile.shape.getTokens() * rows.columns;
  });
  return b.gather(rows.flat, place, own);
}

Value FragmentActivations::loadScales(const FragmentTile &tile, Value token,
                                      Value column) const {
  return load(tile, scales, token, column);
}

Value FragmentActivations::loadSums(const FragmentTile &tile, Value token,
                                    Value column) const {
  Value loaded = load(tile, sums, token, column);
  if (getElementTypeOrSelf(loaded.getType()).isF32())
    return loaded;
  // As other sums, which is faster than to convert them.
  auto words = VectorType::get(tile.getSize(), b.getI32Type());
  Value sum = arith::ExtSIOp::create(b, words, loaded);
  sum = arith::AddIOp::create(b, sum, b.integer(words, kFirstFloatSum));
  return emitFloatOfSum(b, sum);
}

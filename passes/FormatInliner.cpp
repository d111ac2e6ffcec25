// SPDX-License-Identifier: Apache-2.0
#include "passes/FormatInliner.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace mlir::lumen;

/// Loads one storage field. Fields have no alignment, so all are read as bytes.
static Value loadField(OpBuilder &b, Location loc, Type type, Value bytes,
                       Value offset) {
  auto vector = dyn_cast<VectorType>(type);
  Type element = vector ? vector.getElementType() : type;
  int64_t count = vector ? vector.getNumElements() : 1;
  int64_t size = count * element.getIntOrFloatBitWidth() / 8;
  Value raw = vector::LoadOp::create(
      b, loc, VectorType::get({size}, b.getI8Type()), bytes, offset);
  if (raw.getType() == type)
    return raw;
  Value field =
      vector::BitCastOp::create(b, loc, VectorType::get({count}, element), raw);
  return vector ? field : vector::ExtractOp::create(b, loc, field, 0);
}

DecodedBlock lumen::inlineFormat(OpBuilder &b, Location loc, FormatOp format,
                                 Value bytes, Value offset) {
  Block &body = format.getBody().front();
  IRMapping mapping;
  for (BlockArgument argument : body.getArguments()) {
    int64_t begin = format.getFieldOffset(argument.getArgNumber());
    Value at = offset;
    if (begin) {
      Value constant = arith::ConstantIndexOp::create(b, loc, begin);
      at = arith::AddIOp::create(b, loc, offset, constant);
    }
    mapping.map(argument, loadField(b, loc, argument.getType(), bytes, at));
  }
  for (Operation &op : body.without_terminator())
    b.clone(op, mapping);
  DecodedOp decoded = format.getDecoded();
  DecodedBlock block;
  block.codes = mapping.lookup(decoded.getCodes());
  for (Value factor : decoded.getScale())
    block.scale.push_back(mapping.lookup(factor));
  for (Value factor : decoded.getMin())
    block.min.push_back(mapping.lookup(factor));
  return block;
}

Value lumen::emitCodeValues(OpBuilder &b, Location loc, FormatOp format,
                            Value codes) {
  auto type = cast<VectorType>(codes.getType()).clone(b.getI32Type());
  if (auto table = format.getTableAttr()) {
    Value looked = LookupOp::create(b, loc, codes.getType(), codes, table);
    return arith::ExtSIOp::create(b, loc, type, looked);
  }
  Value wide = arith::ExtUIOp::create(b, loc, type, codes);
  if (!format.getBias())
    return wide;
  Value bias = arith::ConstantOp::create(
      b, loc,
      DenseElementsAttr::get(type, b.getI32IntegerAttr(format.getBias())));
  return arith::AddIOp::create(b, loc, wide, bias);
}

Value lumen::emitGroupFactor(OpBuilder &b, Location loc,
                             ArrayRef<Value> factors, int64_t group) {
  assert(!factors.empty() && "a group factor needs at least one part");
  Type f32 = b.getF32Type();
  Value product;
  for (Value factor : factors) {
    if (isa<VectorType>(factor.getType()))
      factor = vector::ExtractOp::create(b, loc, factor, group);
    if (isa<IntegerType>(factor.getType()))
      factor = arith::SIToFPOp::create(b, loc, f32, factor);
    else if (factor.getType() != f32)
      factor = arith::ExtFOp::create(b, loc, f32, factor);
    product = product ? arith::MulFOp::create(b, loc, product, factor) : factor;
  }
  return product;
}

SmallVector<Value> lumen::emitDequantizedBlock(OpBuilder &b, Location loc,
                                               FormatOp format,
                                               const DecodedBlock &block) {
  int64_t pieceSize = format.getSumGroup();
  int64_t group = format.getGroup();
  auto type = VectorType::get({pieceSize}, b.getF32Type());
  SmallVector<Value> pieces;
  Value scale, min;
  for (int64_t k = 0; k < int64_t(format.getBlock()); k += pieceSize) {
    if (k % group == 0) {
      Value factor = emitGroupFactor(b, loc, block.scale, k / group);
      scale = vector::BroadcastOp::create(b, loc, type, factor);
      if (!block.min.empty()) {
        factor = emitGroupFactor(b, loc, block.min, k / group);
        min = vector::BroadcastOp::create(b, loc, type, factor);
      }
    }
    Value codes = vector::ExtractStridedSliceOp::create(b, loc, block.codes,
                                                        {k}, {pieceSize}, {1});
    Value values = emitCodeValues(b, loc, format, codes);
    Value weights = arith::SIToFPOp::create(b, loc, type, values);
    weights = arith::MulFOp::create(b, loc, scale, weights);
    if (min)
      weights = arith::SubFOp::create(b, loc, weights, min);
    pieces.push_back(weights);
  }
  return pieces;
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/FormatInliner.h"

#include "dialect/FormatLayout.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
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

/// A constant tensor of a format as a global of the module, made once.
static Value emitTable(OpBuilder &b, Location loc, FormatOp format,
                       arith::ConstantOp table, unsigned number) {
  auto tensor = cast<RankedTensorType>(table.getType());
  auto type = MemRefType::get(tensor.getShape(), tensor.getElementType());
  std::string name =
      (format.getSymName() + "_table" + llvm::Twine(number)).str();
  auto module = format->getParentOfType<ModuleOp>();
  if (!module.lookupSymbol<memref::GlobalOp>(name)) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointAfter(format);
    memref::GlobalOp::create(b, format.getLoc(), name,
                             b.getStringAttr("private"), type, table.getValue(),
                             /*constant=*/true,
                             b.getI64IntegerAttr(kAlignment));
  }
  return memref::GetGlobalOp::create(b, loc, type, name);
}

/// A lookup in a table as one load per element: few CPUs gather faster.
static Value emitLoads(OpBuilder &b, vector::GatherOp gather, Value table,
                       Value indices, Value mask, Value rest) {
  Location loc = gather.getLoc();
  auto type = cast<VectorType>(gather.getType());
  SmallVector<Value> elements;
  for (int64_t i = 0; i < type.getNumElements(); ++i) {
    Value index = vector::ExtractOp::create(b, loc, indices, i);
    index = arith::IndexCastUIOp::create(b, loc, b.getIndexType(), index);
    elements.push_back(memref::LoadOp::create(b, loc, table, index));
  }
  Value loaded = vector::FromElementsOp::create(b, loc, type, elements);
  return b.createOrFold<arith::SelectOp>(loc, mask, loaded, rest);
}

DecodedBlock lumen::inlineFormat(OpBuilder &b, Location loc, FormatOp format,
                                 Value bytes, Value row, Value block) {
  Block &body = format.getBody().front();
  auto constant = [&](int64_t value) -> Value {
    return arith::ConstantIndexOp::create(b, loc, value);
  };
  auto add = [&](Value base, int64_t offset) -> Value {
    return offset ? arith::AddIOp::create(b, loc, base, constant(offset))
                  : base;
  };
  Value first = b.createOrFold<arith::MulIOp>(loc, block,
                                              constant(format.getBlockBytes()));
  first = b.createOrFold<arith::AddIOp>(loc, first, row);
  first = add(first, format.getHeaderBytes());
  IRMapping mapping;
  for (BlockArgument argument : body.getArguments()) {
    unsigned number = argument.getArgNumber();
    Value at = add(number < format.getHeader() ? row : first,
                   format.getFieldOffset(number));
    mapping.map(argument, loadField(b, loc, argument.getType(), bytes, at));
  }
  unsigned tables = 0;
  for (Operation &op : body.without_terminator()) {
    if (auto stored = dyn_cast<StoredOp>(op)) {
      mapping.map(stored.getResult(), mapping.lookup(stored.getValue()));
      continue;
    }
    if (auto table = dyn_cast<arith::ConstantOp>(op);
        table && isa<RankedTensorType>(table.getType())) {
      mapping.map(table.getResult(),
                  emitTable(b, loc, format, table, tables++));
      continue;
    }
    if (auto gather = dyn_cast<vector::GatherOp>(op)) {
      Value looked = emitLoads(b, gather, mapping.lookup(gather.getBase()),
                               mapping.lookup(gather.getIndices()),
                               mapping.lookup(gather.getMask()),
                               mapping.lookup(gather.getPassThru()));
      mapping.map(gather.getResult(), looked);
      continue;
    }
    b.clone(op, mapping);
  }
  DecodedOp decoded = format.getDecoded();
  DecodedBlock result;
  result.codes = mapping.lookup(decoded.getCodes());
  for (const StoredFactor &factor : getStoredFactors(format))
    result.stored.push_back(mapping.lookup(factor.value));
  for (Value factor : decoded.getScale())
    result.scale.push_back(mapping.lookup(factor));
  for (Value factor : decoded.getMin())
    result.min.push_back(mapping.lookup(factor));
  return result;
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

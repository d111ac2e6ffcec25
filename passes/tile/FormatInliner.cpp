// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/FormatInliner.h"

#include "dialect/layout/FormatLayout.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace mlir::lumen;

/// Loads one storage field. Fields have no alignment, so all are read as bytes.
static Value loadField(KernelBuilder &b, Type type, Value bytes, Value offset) {
  auto vector = dyn_cast<VectorType>(type);
  Type element = vector ? vector.getElementType() : type;
  int64_t count = vector ? vector.getNumElements() : 1;
  int64_t size = count * element.getIntOrFloatBitWidth() / 8;
  Value raw = b.load(size, bytes, offset);
  if (raw.getType() == type)
    return raw;
  Value field =
      vector::BitCastOp::create(b, VectorType::get({count}, element), raw);
  return vector ? field : vector::ExtractOp::create(b, field, 0);
}

/// A constant tensor of a format as a global of the module, made once.
static Value emitTable(KernelBuilder &b, FormatOp format,
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
  return memref::GetGlobalOp::create(b, type, name);
}

/// A lookup in a table as one load per element: few CPUs gather faster.
static Value emitLoads(KernelBuilder &b, vector::GatherOp gather, Value table,
                       Value indices, Value mask, Value rest) {
  auto type = cast<VectorType>(gather.getType());
  SmallVector<Value> elements;
  for (int64_t i = 0; i < type.getNumElements(); ++i) {
    Value index = b.toIndex(vector::ExtractOp::create(b, indices, i));
    elements.push_back(b.load(table, index));
  }
  Value loaded = vector::FromElementsOp::create(b, type, elements);
  return b.createOrFold<arith::SelectOp>(mask, loaded, rest);
}

DecodedBlock lumen::inlineFormat(KernelBuilder &b, FormatOp format, Value bytes,
                                 Value row, Value block) {
  Block &body = format.getBody().front();
  Value first =
      b.createOrFold<arith::MulIOp>(block, b.index(format.getBlockBytes()));
  first = b.createOrFold<arith::AddIOp>(first, row);
  first = b.add(first, format.getHeaderBytes());
  IRMapping mapping;
  for (BlockArgument argument : body.getArguments()) {
    unsigned number = argument.getArgNumber();
    Value at = b.add(number < format.getHeader() ? row : first,
                     format.getFieldOffset(number));
    mapping.map(argument, loadField(b, argument.getType(), bytes, at));
  }
  unsigned tables = 0;
  for (Operation &op : body.without_terminator()) {
    if (auto stored = dyn_cast<StoredOp>(op)) {
      mapping.map(stored.getResult(), mapping.lookup(stored.getValue()));
      continue;
    }
    if (auto table = dyn_cast<arith::ConstantOp>(op);
        table && isa<RankedTensorType>(table.getType())) {
      mapping.map(table.getResult(), emitTable(b, format, table, tables++));
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

Value lumen::emitCodeValues(KernelBuilder &b, FormatOp format, Value codes) {
  auto type = cast<VectorType>(codes.getType()).clone(b.getI32Type());
  if (auto table = format.getTableAttr()) {
    Value looked = LookupOp::create(b, codes.getType(), codes, table);
    return arith::ExtSIOp::create(b, type, looked);
  }
  Value wide = arith::ExtUIOp::create(b, type, codes);
  if (!format.getBias())
    return wide;
  Value bias = b.integer(type, format.getBias());
  return arith::AddIOp::create(b, wide, bias);
}

Value lumen::emitGroupFactor(KernelBuilder &b, ArrayRef<Value> factors,
                             int64_t group) {
  assert(!factors.empty() && "a group factor needs at least one part");
  Value product;
  for (Value factor : factors) {
    if (isa<VectorType>(factor.getType()))
      factor = vector::ExtractOp::create(b, factor, group);
    factor = b.convert(factor, b.getF32Type());
    product = product ? arith::MulFOp::create(b, product, factor) : factor;
  }
  return product;
}

SmallVector<Value> lumen::emitDequantizedBlock(KernelBuilder &b,
                                               FormatOp format,
                                               const DecodedBlock &block) {
  int64_t pieceSize = format.getSumGroup();
  int64_t group = format.getGroup();
  SmallVector<Value> pieces;
  Value scale, min;
  for (int64_t k = 0; k < int64_t(format.getBlock()); k += pieceSize) {
    if (k % group == 0) {
      Value factor = emitGroupFactor(b, block.scale, k / group);
      scale = b.broadcast(factor, pieceSize);
      if (!block.min.empty()) {
        factor = emitGroupFactor(b, block.min, k / group);
        min = b.broadcast(factor, pieceSize);
      }
    }
    Value codes = b.extract(block.codes, k, pieceSize);
    Value values = emitCodeValues(b, format, codes);
    Value weights = b.convert(values, b.getF32Type());
    weights = arith::MulFOp::create(b, scale, weights);
    if (min)
      weights = arith::SubFOp::create(b, weights, min);
    pieces.push_back(weights);
  }
  return pieces;
}

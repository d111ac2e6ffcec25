// SPDX-License-Identifier: Apache-2.0
#include "dialect/LumenDialect.h"
#include "dialect/layout/FormatLayout.h"

#include "mlir/IR/Matchers.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

DecodedOp FormatOp::getDecoded() {
  return cast<DecodedOp>(getBody().front().getTerminator());
}

static int64_t getFieldBytes(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.getNumElements() * (vector.getElementTypeBitWidth() / 8);
  return type.getIntOrFloatBitWidth() / 8;
}

int64_t FormatOp::getFieldOffset(unsigned index) {
  int64_t offset = 0;
  for (unsigned i = index < getHeader() ? 0 : getHeader(); i < index; ++i)
    offset += getFieldBytes(getBody().getArgument(i).getType());
  return offset;
}

int64_t FormatOp::getHeaderBytes() {
  int64_t bytes = 0;
  for (BlockArgument argument :
       getBody().getArguments().take_front(getHeader()))
    bytes += getFieldBytes(argument.getType());
  return bytes;
}

int64_t FormatOp::getBlockBytes() {
  return getFieldOffset(getBody().getNumArguments());
}

int64_t FormatOp::getRowBytes(int64_t columns) {
  return getHeaderBytes() + columns / int64_t(getBlock()) * getBlockBytes();
}

/// Blocks, and the bytes of a storage field, are below: a block becomes a
/// vector.
static constexpr int64_t kMostBlock = 4096;

static bool isPlainVector(VectorType type) {
  return type.getRank() == 1 && !type.isScalable() &&
         type.getNumElements() <= kMostBlock;
}

/// A format's region computes with scalars and vectors alone. A constant tensor
/// is a table that vector.gather looks up.
static LogicalResult verifyDecoding(Operation *op) {
  bool isLookup = op->getName().getStringRef() == "vector.gather";
  if (op->getNumRegions() || !(isLookup || isMemoryEffectFree(op)))
    return op->emitOpError("is not allowed in a format: it has regions or "
                           "effects");
  if (!isa<DecodedOp>(op) && op->getNumResults() != 1)
    return op->emitOpError("is not allowed in a format: it has ")
           << op->getNumResults() << " results, not one";
  auto isValue = [](Type type) {
    auto vector = dyn_cast<VectorType>(type);
    return vector ? isPlainVector(vector) : type.isIntOrIndexOrFloat();
  };
  bool isTable = op->hasTrait<OpTrait::ConstantLike>() &&
                 isa<RankedTensorType>(op->getResult(0).getType());
  for (auto [i, operand] : llvm::enumerate(op->getOperands())) {
    auto table = dyn_cast<RankedTensorType>(operand.getType());
    if (table && isLookup && i == 0 && table.getRank() == 1)
      continue;
    if (!isValue(operand.getType()) || (isLookup && i == 0))
      return op->emitOpError("is not allowed in a format: operand ")
             << i << " is " << operand.getType();
  }
  if (!isTable)
    for (Type type : op->getResultTypes())
      if (!isValue(type))
        return op->emitOpError("is not allowed in a format: it gives ") << type;
  return success();
}

LogicalResult FormatOp::verify() {
  int64_t block = getBlock(), group = getGroup();
  if (block > kMostBlock)
    return emitOpError() << "block must be at most " << kMostBlock << ", got "
                         << block;
  if (int64_t(getBias()) < -255 || int64_t(getBias()) > 255)
    return emitOpError() << "bias must be -255 to 255, got "
                         << int64_t(getBias());
  if (block % kSpan)
    return emitOpError() << "block must be a multiple of " << kSpan << ", got "
                         << block;
  if (block % group)
    return emitOpError() << "group must divide the block of " << block
                         << ", got " << group;
  if (group % kSpan && (kSpan % group || group < 4))
    return emitOpError() << "group must be a multiple of " << kSpan
                         << " or one of 4, 8, 16, got " << group;
  Block &body = getBody().front();
  if (body.getNumArguments() != getStorage().size())
    return emitOpError() << "names " << getStorage().size()
                         << " storage fields, but the region has "
                         << body.getNumArguments() << " arguments";
  if (getHeader() >= body.getNumArguments())
    return emitOpError() << "header takes " << int64_t(getHeader())
                         << " storage fields, which leaves none of "
                         << body.getNumArguments() << " for the block";
  for (auto [name, argument] : llvm::zip(getStorage(), body.getArguments())) {
    Type element = getElementTypeOrSelf(argument.getType());
    auto vector = dyn_cast<VectorType>(argument.getType());
    if (!element.isIntOrFloat() || element.getIntOrFloatBitWidth() % 8 ||
        element.getIntOrFloatBitWidth() > 64 ||
        (vector && !isPlainVector(vector)))
      return emitOpError()
             << "storage field " << name
             << " must be a scalar or 1-D vector of whole bytes, got "
             << argument.getType();
  }
  int64_t codes = int64_t(1) << getBits();
  if (auto table = getTable()) {
    int64_t limit = std::min<int64_t>(codes, 16);
    if (table->empty() || int64_t(table->size()) > limit)
      return emitOpError() << "table must have 1 to " << limit
                           << " entries, got " << table->size();
    if (getBias())
      return emitOpError() << "has both a table and a bias of "
                           << int64_t(getBias());
  }
  if (body.empty() || !isa<DecodedOp>(body.back()))
    return emitOpError() << "region must end in lumen.decoded";
  for (Operation &op : body)
    if (failed(verifyDecoding(&op)))
      return failure();
  return success();
}

/// What lies between a lumen.stored and the factor works element by element.
static LogicalResult verifyCompletion(DecodedOp op, Value factor) {
  if (!dependsOnStored(factor))
    return success();
  SmallVector<Value> pending = {factor};
  DenseSet<Value> seen;
  while (!pending.empty()) {
    Value value = pending.pop_back_val();
    Operation *definition = value.getDefiningOp();
    if (!seen.insert(value).second || isa_and_nonnull<StoredOp>(definition))
      continue;
    DenseElementsAttr constant;
    if (definition && matchPattern(value, m_Constant(&constant)) &&
        constant.isSplat())
      continue;
    if (!definition || !(definition->hasTrait<OpTrait::Elementwise>() ||
                         definition->hasTrait<OpTrait::ConstantLike>())) {
      InFlightDiagnostic diag =
          op.emitOpError()
          << "factor must follow from lumen.stored element by element";
      if (definition)
        diag.attachNote(definition->getLoc()) << "this does not";
      return diag;
    }
    if (isa<VectorType>(value.getType()) &&
        definition->hasTrait<OpTrait::ConstantLike>())
      return op.emitOpError() << "factor has a constant that differs by group "
                                 "behind lumen.stored";
    llvm::append_range(pending, definition->getOperands());
  }
  return success();
}

LogicalResult DecodedOp::verify() {
  auto format = cast<FormatOp>((*this)->getParentOp());
  int64_t block = format.getBlock(), group = format.getGroup();
  int64_t codes = cast<VectorType>(getCodes().getType()).getNumElements();
  if (codes != block)
    return emitOpError()
           << "codes must have one entry per weight of the block (" << block
           << "), got " << codes;
  if (getScale().empty())
    return emitOpError() << "scale needs at least one factor";
  auto verifyFactors = [&](StringRef what,
                           OperandRange factors) -> LogicalResult {
    if (factors.size() > 2)
      return emitOpError() << what << " takes at most two factors, got "
                           << factors.size();
    bool seenScalar = false, seenVector = false;
    for (Type type : factors.getTypes()) {
      auto vector = dyn_cast<VectorType>(type);
      Type element = vector ? vector.getElementType() : type;
      bool isFloat =
          isa<FloatType>(element) && element.getIntOrFloatBitWidth() <= 32;
      bool allowed =
          isFloat ||
          (vector && (element.isInteger(8) || element.isInteger(32)));
      if (!allowed)
        return emitOpError() << what
                             << " factor must be a scalar float or a vector of "
                                "i8, i32 or floats, got "
                             << type;
      if (vector && vector.getNumElements() != block / group)
        return emitOpError()
               << what << " factor must have one entry per group ("
               << block / group << "), got " << vector.getNumElements();
      if (std::exchange(vector ? seenVector : seenScalar, true) ||
          (!vector && seenVector))
        return emitOpError()
               << what << " takes one scalar factor, then one vector factor";
    }
    return success();
  };
  if (failed(verifyFactors("scale", getScale())) ||
      failed(verifyFactors("min", getMin())))
    return failure();
  for (OperandRange factors : {getScale(), getMin()})
    for (Value factor : factors)
      if (failed(verifyCompletion(*this, factor)))
        return failure();
  return success();
}

LogicalResult StoredOp::verify() {
  Type element = getElementTypeOrSelf(getValue().getType());
  int64_t bits = getBits();
  int64_t width = element.isIntOrFloat() ? element.getIntOrFloatBitWidth() : 0;
  if (width != 8 && width != 16 && width != 32)
    return emitOpError() << "value must have elements of 8, 16 or 32 bits, got "
                         << getValue().getType();
  int64_t narrowest = isa<FloatType>(element)
                          ? bits
                          : std::max<int64_t>(8, llvm::PowerOf2Ceil(bits));
  if (width != narrowest)
    return emitOpError() << "value of " << bits
                         << " bits must have elements of " << narrowest
                         << ", got " << getValue().getType();
  if (bits > width)
    return emitOpError() << "value of " << bits
                         << " bits does not fit elements of " << width;
  return success();
}

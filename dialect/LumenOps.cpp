// SPDX-License-Identifier: Apache-2.0
#include "dialect/CacheLayout.h"
#include "dialect/FormatLayout.h"
#include "dialect/LumenDialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

#define GET_OP_CLASSES
#include "dialect/LumenOps.cpp.inc"

//===----------------------------------------------------------------------===//
// Helpers
//===----------------------------------------------------------------------===//

static RankedTensorType rankedType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

/// Dimensions agree, a dynamic one with everything.
static bool compatible(int64_t a, int64_t b) {
  return ShapedType::isDynamic(a) || ShapedType::isDynamic(b) || a == b;
}

/// How many groups a row has; dynamic for a dynamic width.
static int64_t countGroups(int64_t columns, int64_t group) {
  return ShapedType::isDynamic(columns) ? columns : columns / group;
}

/// The width of a row of `heads` heads; dynamic where a factor is.
static int64_t countColumns(int64_t heads, int64_t headDim) {
  bool dynamic = ShapedType::isDynamic(heads) || ShapedType::isDynamic(headDim);
  return dynamic ? ShapedType::kDynamic : heads * headDim;
}

static LogicalResult verifyDim(Operation *op, StringRef what, int64_t expected,
                               int64_t actual) {
  if (compatible(expected, actual))
    return success();
  return op->emitOpError() << what << " must be " << expected << ", got "
                           << actual;
}

/// The element type names a format that exists, and rows are whole blocks.
static LogicalResult verifyWeight(Operation *op, RankedTensorType type,
                                  SymbolTableCollection &symbols) {
  auto quant = dyn_cast<QuantType>(type.getElementType());
  if (!quant)
    return success();
  auto format =
      symbols.lookupNearestSymbolFrom<FormatOp>(op, quant.getFormat());
  if (!format)
    return op->emitOpError() << "uses the unknown format " << quant.getFormat();
  int64_t columns = type.getDimSize(1), block = format.getBlock();
  if (!ShapedType::isDynamic(columns) && columns % block) {
    InFlightDiagnostic diag =
        op->emitOpError()
        << "needs a weight whose columns are a multiple of the block of "
        << quant.getFormat() << " (" << block << "), got " << columns;
    diag.attachNote(format.getLoc()) << "the format is described here";
    return diag;
  }
  return success();
}

static LogicalResult verifyWeights(Operation *op, TypeRange types,
                                   SymbolTableCollection &symbols) {
  for (Type type : types)
    if (auto tensor = dyn_cast<RankedTensorType>(type))
      if (failed(verifyWeight(op, tensor, symbols)))
        return failure();
  return success();
}

//===----------------------------------------------------------------------===//
// FormatOp, DecodedOp
//===----------------------------------------------------------------------===//

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

LogicalResult FormatOp::verify() {
  int64_t block = getBlock(), group = getGroup();
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
        (vector && vector.getRank() != 1))
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
      bool allowed =
          isa<FloatType>(element) ||
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
  return success();
}

//===----------------------------------------------------------------------===//
// Model ops
//===----------------------------------------------------------------------===//

LogicalResult DequantizeOp::verify() {
  auto from = rankedType(getWeight()), to = rankedType(getResult());
  if (from.getShape() != to.getShape())
    return emitOpError() << "result must have the shape of the weight, got "
                         << to;
  if (!to.getElementType().isF32())
    return emitOpError() << "result must have f32 elements, got "
                         << to.getElementType();
  return success();
}

LogicalResult DequantizeOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyWeights(*this, (*this)->getOperandTypes(), symbols);
}

LogicalResult EmbeddingOp::verify() {
  if (rankedType(getTable()).getEncoding())
    return emitOpError() << "table must be in the file's layout, got "
                         << getTable().getType();
  if (failed(verifyDim(*this, "result rows",
                       rankedType(getTokens()).getDimSize(0),
                       rankedType(getResult()).getDimSize(0))))
    return failure();
  return verifyDim(*this, "result columns",
                   rankedType(getTable()).getDimSize(1),
                   rankedType(getResult()).getDimSize(1));
}

LogicalResult EmbeddingOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyWeights(*this, (*this)->getOperandTypes(), symbols);
}

void EmbeddingOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                              MLIRContext *) {
  // embedding(tokens, dequantize(table)) -> embedding(tokens, table)
  patterns.add(+[](EmbeddingOp op, PatternRewriter &rewriter) -> LogicalResult {
    auto dequantize = op.getTable().getDefiningOp<DequantizeOp>();
    if (!dequantize)
      return failure();
    rewriter.modifyOpInPlace(
        op, [&] { op.getTableMutable().assign(dequantize.getWeight()); });
    return success();
  });
}

LogicalResult LinearOp::verify() {
  auto x = rankedType(getX()), weight = rankedType(getWeight()),
       result = rankedType(getResult());
  if (failed(verifyDim(*this, "weight columns", x.getDimSize(1),
                       weight.getDimSize(1))) ||
      failed(verifyDim(*this, "result rows", x.getDimSize(0),
                       result.getDimSize(0))) ||
      failed(verifyDim(*this, "result columns", weight.getDimSize(0),
                       result.getDimSize(1))))
    return failure();
  if (getBias())
    return verifyDim(*this, "bias size", weight.getDimSize(0),
                     rankedType(getBias()).getDimSize(0));
  return success();
}

LogicalResult RmsNormOp::verify() {
  if (getEpsilon().isNegative())
    return emitOpError() << "epsilon must not be negative";
  int64_t columns = rankedType(getX()).getDimSize(1);
  int64_t size = rankedType(getWeight()).getDimSize(0);
  bool known = !ShapedType::isDynamic(columns) && !ShapedType::isDynamic(size);
  if (known && (size == 0 || columns % size))
    return emitOpError() << "weight size must divide the columns of x ("
                         << columns << "), got " << size;
  return success();
}

bool RmsNormOp::isPerHead() {
  return rankedType(getX()).getDimSize(1) !=
         rankedType(getWeight()).getDimSize(0);
}

LogicalResult RopeOp::verify() {
  if (getStyle() != "neox" && getStyle() != "norm")
    return emitOpError() << "style must be \"neox\" or \"norm\", got \""
                         << getStyle() << "\"";
  int64_t headDim = getHeadDim(), rot = rankedType(getTable()).getDimSize(1);
  int64_t columns = rankedType(getX()).getDimSize(1);
  if (columns % headDim)
    return emitOpError() << "columns of x must be a multiple of head_dim ("
                         << headDim << "), got " << columns;
  if (rot > headDim || rot % 2)
    return emitOpError()
           << "table must have an even number of columns of at most head_dim ("
           << headDim << "), got " << rot;
  return success();
}

/// The values of a head, of which `heads` are the columns of `x`.
static int64_t getHeadDimOf(Value x, int64_t heads) {
  return rankedType(x).getDimSize(1) / heads;
}

int64_t KvAppendOp::getHeadDim() {
  auto cache = rankedType(getCache());
  if (cache.getElementType().isInteger())
    return getHeadDimOf(getX(), cache.getDimSize(1));
  return cache.getDimSize(getKind() == "key" ? 3 : 4);
}

int64_t AttentionOp::getHeadDim() {
  auto keys = rankedType(getK());
  if (keys.getElementType().isInteger())
    return getHeadDimOf(getQ(), getHeads());
  return keys.getDimSize(3);
}

/// The pages of a cache of i8 fit heads that together are the columns of `x`.
static LogicalResult verifyPage(Operation *op, StringRef name, Value cache,
                                Value x, int64_t heads) {
  int64_t columns = rankedType(x).getDimSize(1);
  if (ShapedType::isDynamic(heads) || ShapedType::isDynamic(columns) ||
      columns % heads || columns / heads % 4)
    return op->emitOpError()
           << "with a cache of i8 needs heads of a multiple of 4 values, got "
           << rankedType(x) << " for " << heads << " heads";
  QuantizedPage page{columns / heads};
  return verifyDim(op, name, page.getBytes(), rankedType(cache).getDimSize(3));
}

LogicalResult KvAppendOp::verify() {
  auto cache = rankedType(getCache());
  bool key = getKind() == "key";
  if (!key && getKind() != "value")
    return emitOpError() << "kind must be \"key\" or \"value\", got \""
                         << getKind() << "\"";
  if (cache.getElementType().isInteger())
    return verifyPage(*this, "bytes per page", getCache(), getX(),
                      cache.getDimSize(1));
  if (failed(verifyDim(*this, "positions per cache block", 16,
                       cache.getDimSize(key ? 4 : 3))))
    return failure();
  int64_t columns =
      countColumns(cache.getDimSize(1), cache.getDimSize(key ? 3 : 4));
  return verifyDim(*this, "columns of x", columns,
                   rankedType(getX()).getDimSize(1));
}

LogicalResult AttentionOp::verify() {
  auto q = rankedType(getQ()), k = rankedType(getK()), v = rankedType(getV());
  int64_t heads = getHeads(), kvHeads = getKvHeads();
  if (heads % kvHeads)
    return emitOpError() << "heads must be a multiple of kv_heads (" << kvHeads
                         << "), got " << heads;
  if (failed(verifyDim(*this, "kv heads of k", kvHeads, k.getDimSize(1))) ||
      failed(verifyDim(*this, "kv heads of v", kvHeads, v.getDimSize(1))))
    return failure();
  if (k.getRank() != v.getRank())
    return emitOpError() << "caches must both be of i8 or both of floats, got "
                         << k << " and " << v;
  if (k.getElementType().isInteger())
    return failure(failed(verifyPage(*this, "bytes per page of k", getK(),
                                     getQ(), heads)) ||
                   failed(verifyPage(*this, "bytes per page of v", getV(),
                                     getQ(), heads)));
  if (failed(
          verifyDim(*this, "positions per block of k", 16, k.getDimSize(4))) ||
      failed(
          verifyDim(*this, "positions per block of v", 16, v.getDimSize(3))) ||
      failed(verifyDim(*this, "head dimension of v", k.getDimSize(3),
                       v.getDimSize(4))))
    return failure();
  return verifyDim(*this, "columns of q", countColumns(heads, k.getDimSize(3)),
                   q.getDimSize(1));
}

LogicalResult GateOp::verify() {
  return verifyDim(*this, "columns of gate", 1,
                   rankedType(getGate()).getDimSize(1));
}

LogicalResult RouteOp::verify() {
  if (getGating() != "softmax" && getGating() != "sigmoid")
    return emitOpError() << "gating must be \"softmax\" or \"sigmoid\", got \""
                         << getGating() << "\"";
  int64_t experts = rankedType(getLogits()).getDimSize(1);
  int64_t used = rankedType(getExperts()).getDimSize(1);
  if (ShapedType::isDynamic(experts) || ShapedType::isDynamic(used))
    return emitOpError() << "needs known numbers of experts";
  if (used < 1 || used > experts)
    return emitOpError() << "must choose 1 to " << experts
                         << " experts per token, got " << used;
  if (failed(verifyDim(*this, "columns of weights", used,
                       rankedType(getWeights()).getDimSize(1))))
    return failure();
  if (getBias())
    return verifyDim(*this, "bias size", experts,
                     rankedType(getBias()).getDimSize(0));
  return success();
}

LogicalResult GroupTokensOp::verify() {
  auto experts = rankedType(getExperts()), groups = rankedType(getGroups());
  if (getSource().getType() != experts || getPlace().getType() != experts)
    return emitOpError() << "source and place must be like experts, "
                         << experts;
  if (!groups.hasStaticShape() || groups.getDimSize(0) < 2 ||
      groups.getDimSize(1) != 2)
    return emitOpError() << "groups must have one row per expert and one more, "
                            "of two columns, got "
                         << groups;
  return success();
}

LogicalResult GatherRowsOp::verify() {
  int64_t slots = rankedType(getSource()).getDimSize(1);
  return verifyDim(*this, "result columns",
                   countColumns(slots, rankedType(getX()).getDimSize(1)),
                   rankedType(getResult()).getDimSize(1));
}

/// `rows` rows of weights of several experts, `slots` of which a row of the
/// result holds: the columns of the result.
static LogicalResult verifyExperts(Operation *op, Value groups, Value weight,
                                   Value result, int64_t slots) {
  auto type = rankedType(groups);
  if (!type.hasStaticShape() || type.getDimSize(0) < 2 ||
      type.getDimSize(1) != 2)
    return op->emitOpError() << "groups must have one row per expert and one "
                                "more, of two columns, got "
                             << type;
  int64_t experts = type.getDimSize(0) - 1;
  int64_t rows = rankedType(weight).getDimSize(0);
  if (ShapedType::isDynamic(rows) || rows % experts)
    return op->emitOpError()
           << "weight rows must be a multiple of the experts (" << experts
           << "), got " << rows;
  return verifyDim(op, "result columns", slots * (rows / experts),
                   rankedType(result).getDimSize(1));
}

/// How many rows as wide as those of `weight` a row of `x` holds.
static FailureOr<int64_t> verifySlots(Operation *op, Value x, Value weight) {
  int64_t columns = rankedType(x).getDimSize(1);
  int64_t width = rankedType(weight).getDimSize(1);
  if (ShapedType::isDynamic(columns) || ShapedType::isDynamic(width) ||
      width == 0 || columns == 0 || columns % width)
    return op->emitOpError() << "columns of x must be a multiple of the weight "
                                "columns ("
                             << width << "), got " << columns;
  return columns / width;
}

LogicalResult ExpertLinearOp::verify() {
  FailureOr<int64_t> slots = verifySlots(*this, getX(), getWeight());
  if (failed(slots))
    return failure();
  return verifyExperts(*this, getGroups(), getWeight(), getResult(), *slots);
}

LogicalResult CombineOp::verify() {
  auto weights = rankedType(getWeights()), place = rankedType(getPlace());
  int64_t slots = place.getDimSize(1);
  if (failed(
          verifyDim(*this, "columns of weights", slots, weights.getDimSize(1))))
    return failure();
  return verifyDim(*this, "columns of x",
                   countColumns(slots, rankedType(getResult()).getDimSize(1)),
                   rankedType(getX()).getDimSize(1));
}

LogicalResult LastRowsOp::verify() {
  return verifyDim(*this, "result columns", rankedType(getX()).getDimSize(1),
                   rankedType(getResult()).getDimSize(1));
}

OpFoldResult LastRowsOp::fold(FoldAdaptor adaptor) {
  if (matchPattern(getFirst(), m_Zero()) && getX().getType() == getType())
    return getX();
  return {};
}

//===----------------------------------------------------------------------===//
// Fused ops
//===----------------------------------------------------------------------===//

void QuantizeOp::build(OpBuilder &builder, OperationState &state, Value x,
                       int64_t group, int64_t sumGroup) {
  auto type = rankedType(x);
  int64_t tokens = type.getDimSize(0), columns = type.getDimSize(1);
  Type f32 = builder.getF32Type();
  build(
      builder, state,
      {RankedTensorType::get({tokens, columns}, builder.getI8Type()),
       RankedTensorType::get({tokens, countGroups(columns, group)}, f32),
       RankedTensorType::get({tokens, countGroups(columns, sumGroup)},
                             builder.getI32Type()),
       RankedTensorType::get({tokens, countGroups(columns, sumGroup)}, f32)},
      {x},
      {builder.getNamedAttr("group", builder.getI64IntegerAttr(group)),
       builder.getNamedAttr("sum_group", builder.getI64IntegerAttr(sumGroup))});
}

LogicalResult QuantizeOp::verify() {
  int64_t columns = rankedType(getX()).getDimSize(1);
  int64_t group = getGroup(), sumGroup = getSumGroup();
  if (group < 1 || columns % group)
    return emitOpError() << "group must divide the columns of x (" << columns
                         << "), got " << group;
  if (sumGroup < 1 || group % sumGroup)
    return emitOpError() << "sum_group must divide the group (" << group
                         << "), got " << sumGroup;
  if (failed(verifyDim(*this, "columns of codes", columns,
                       rankedType(getCodes()).getDimSize(1))) ||
      failed(verifyDim(*this, "columns of scales", countGroups(columns, group),
                       rankedType(getScales()).getDimSize(1))) ||
      failed(verifyDim(*this, "columns of offsets",
                       countGroups(columns, sumGroup),
                       rankedType(getOffsets()).getDimSize(1))))
    return failure();
  return verifyDim(*this, "columns of sums", countGroups(columns, sumGroup),
                   rankedType(getSums()).getDimSize(1));
}

LogicalResult PackOp::verify() {
  auto from = rankedType(getWeight()), to = rankedType(getResult());
  if (from.getShape() != to.getShape() ||
      from.getElementType() != to.getElementType())
    return emitOpError()
           << "result must have the shape and elements of the weight, got "
           << to;
  if (from.getEncoding() || !isa_and_nonnull<PackedAttr>(to.getEncoding()))
    return emitOpError()
           << "packs a weight in the file's layout into a packed one, got "
           << from << " to " << to;
  return success();
}

LogicalResult PackOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyWeights(*this, (*this)->getOperandTypes(), symbols);
}

int64_t QLinearOp::getSlots() {
  return rankedType(getActivations().front()).getDimSize(1) / getColumns();
}

LogicalResult QLinearOp::verify() {
  unsigned count = getActivations().size();
  if (count != 1 && count != 4)
    return emitOpError() << "takes one float activation or the four results of "
                            "lumen.quantize, got "
                         << count << " values";
  if (isInteger()) {
    static constexpr StringLiteral kNames[] = {"codes", "scales", "offsets",
                                               "sums"};
    for (auto [i, value] : llvm::enumerate(getActivations())) {
      Type element = rankedType(value).getElementType();
      bool fits = i == 0   ? element.isInteger(8)
                  : i == 2 ? element.isInteger(32)
                           : element.isF32();
      if (!fits)
        return emitOpError() << "activation " << kNames[i]
                             << " has the element type " << element;
    }
    int64_t columns = rankedType(getActivations().front()).getDimSize(1);
    auto columnsOf = [&](unsigned i) {
      return rankedType(getActivations()[i]).getDimSize(1);
    };
    if (!compatible(columnsOf(1), countGroups(columns, kSpan)))
      return emitOpError() << "activation scales must have one column per "
                           << kSpan << " codes, got " << columnsOf(1) << " for "
                           << columns << " codes";
    if (failed(verifyDim(*this, "columns of activation sums", columnsOf(2),
                         columnsOf(3))))
      return failure();
    int64_t groups = columnsOf(2);
    bool known =
        !ShapedType::isDynamic(columns) && !ShapedType::isDynamic(groups);
    if (known && (groups < 1 || columns % groups))
      return emitOpError() << "activation offsets must divide the codes into "
                              "equal groups, got "
                           << groups << " for " << columns << " codes";
  } else if (!rankedType(getActivations().front()).getElementType().isF32()) {
    return emitOpError() << "a single activation has f32 elements, got "
                         << getActivations().front().getType();
  }
  if (getWeights().empty() || getWeights().size() != getOutputs().size())
    return emitOpError() << "needs one result per weight, got "
                         << getWeights().size() << " weights and "
                         << getOutputs().size() << " results";
  if (!getBiases().empty() && getBiases().size() != getWeights().size())
    return emitOpError() << "needs as many biases as weights or none, got "
                         << getBiases().size() << " biases for "
                         << getWeights().size() << " weights";
  if (getGroups() && !getBiases().empty())
    return emitOpError() << "with groups takes no biases";
  int64_t rows = rankedType(getActivations().front()).getDimSize(0);
  for (Value activation : getActivations())
    if (failed(verifyDim(*this, "activation rows", rows,
                         rankedType(activation).getDimSize(0))))
      return failure();
  for (auto [i, weight] : llvm::enumerate(getWeights())) {
    auto type = rankedType(weight);
    if (failed(verifyDim(*this, "result rows", rows,
                         rankedType(getOutputs()[i]).getDimSize(0))))
      return failure();
    if (isInteger() && !isa<QuantType>(type.getElementType()))
      return emitOpError()
             << "weight " << i
             << " must be quantized to meet 8-bit activations, got " << type;
    if (getGroups()) {
      FailureOr<int64_t> slots =
          verifySlots(*this, getActivations().front(), weight);
      if (failed(slots) || failed(verifyExperts(*this, getGroups(), weight,
                                                getOutputs()[i], *slots)))
        return failure();
      continue;
    }
    if (failed(verifyDim(*this, "weight columns",
                         rankedType(getActivations().front()).getDimSize(1),
                         type.getDimSize(1))) ||
        failed(verifyDim(*this, "result columns", type.getDimSize(0),
                         rankedType(getOutputs()[i]).getDimSize(1))))
      return failure();
    if (!getBiases().empty() &&
        failed(verifyDim(*this, "bias size", type.getDimSize(0),
                         rankedType(getBiases()[i]).getDimSize(0))))
      return failure();
  }
  return success();
}

LogicalResult QLinearOp::verifySymbolUses(SymbolTableCollection &symbols) {
  if (failed(verifyWeights(*this, getWeights().getTypes(), symbols)))
    return failure();
  if (!isInteger())
    return success();
  // Sums may be finer than a format's groups, not coarser.
  int64_t columns = rankedType(getActivations().front()).getDimSize(1),
          groups = rankedType(getActivations()[2]).getDimSize(1);
  if (ShapedType::isDynamic(columns) || ShapedType::isDynamic(groups))
    return success();
  for (Value weight : getWeights()) {
    auto quant = cast<QuantType>(rankedType(weight).getElementType());
    auto format =
        symbols.lookupNearestSymbolFrom<FormatOp>(*this, quant.getFormat());
    if (format.getSumGroup() % (columns / groups))
      return emitOpError() << "activation sums must be per "
                           << format.getSumGroup()
                           << " codes or finer for the format "
                           << quant.getFormat() << ", got one per "
                           << columns / groups;
  }
  return success();
}

void QLinearOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                            MLIRContext *) {
  // A weight whose result nobody reads goes; an op without results is dead
  // anyway.
  patterns.add(+[](QLinearOp op, PatternRewriter &rewriter) -> LogicalResult {
    SmallVector<Value> weights, biases, outputs;
    for (auto [i, output] : llvm::enumerate(op.getOutputs())) {
      if (output.use_empty())
        continue;
      outputs.push_back(output);
      weights.push_back(op.getWeights()[i]);
      if (!op.getBiases().empty())
        biases.push_back(op.getBiases()[i]);
    }
    if (outputs.empty() || outputs.size() == op.getOutputs().size())
      return failure();
    auto smaller =
        QLinearOp::create(rewriter, op.getLoc(), TypeRange(ValueRange(outputs)),
                          op.getActivations(), weights, biases, op.getGroups());
    smaller->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    rewriter.replaceAllUsesWith(outputs, smaller.getOutputs());
    rewriter.eraseOp(op);
    return success();
  });
}

//===----------------------------------------------------------------------===//
// Bytes and registers
//===----------------------------------------------------------------------===//

LogicalResult FromBytesOp::verify() {
  auto type = rankedType(getWeight());
  if (int64_t(getSizes().size()) != type.getNumDynamicDims())
    return emitOpError() << "needs one size per dynamic dimension ("
                         << type.getNumDynamicDims() << "), got "
                         << getSizes().size();
  return success();
}

LogicalResult FromBytesOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto type = rankedType(getWeight());
  if (failed(verifyWeight(*this, type, symbols)))
    return failure();
  int64_t actual = cast<MemRefType>(getBytes().getType()).getDimSize(0);
  if (!type.hasStaticShape() || ShapedType::isDynamic(actual))
    return success();
  FailureOr<int64_t> expected = getWeightBytes(type, *this);
  if (succeeded(expected) && *expected != actual)
    return emitOpError() << "bytes must hold the weight exactly (" << *expected
                         << " bytes), got " << actual;
  return success();
}

LogicalResult Dot4Op::verify() {
  auto codes = cast<VectorType>(getCodes().getType()),
       x = cast<VectorType>(getX().getType()),
       acc = cast<VectorType>(getAcc().getType());
  if (x.getNumElements() != 4)
    return emitOpError() << "x must have 4 elements, got "
                         << x.getNumElements();
  if (codes.getNumElements() != 4 * acc.getNumElements())
    return emitOpError() << "codes must have four elements per lane of acc ("
                         << 4 * acc.getNumElements() << "), got "
                         << codes.getNumElements();
  return success();
}

LogicalResult LookupOp::verify() {
  if (getTable().empty() || getTable().size() > 16)
    return emitOpError() << "table must have 1 to 16 entries, got "
                         << getTable().size();
  if (!getElementTypeOrSelf(getIndex().getType()).isInteger(8))
    return emitOpError() << "index must be i8, got " << getIndex().getType();
  return success();
}

OpFoldResult LookupOp::fold(FoldAdaptor adaptor) {
  ArrayRef<int8_t> table = getTable();
  auto codes = dyn_cast_if_present<DenseIntElementsAttr>(adaptor.getIndex());
  if (!codes || !llvm::all_of(codes.getValues<APInt>(), [&](const APInt &code) {
        return code.ult(table.size());
      }))
    return {};
  return codes.mapValues(codes.getElementType(), [&](const APInt &code) {
    return APInt(8, table[code.getZExtValue()], /*isSigned=*/true);
  });
}

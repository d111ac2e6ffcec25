// SPDX-License-Identifier: Apache-2.0
#include "dialect/OpVerification.h"
#include "dialect/layout/FormatLayout.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::lumen;

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

/// `rows` rows of weights of several experts, `slots` of which a row of the
/// result holds: the columns of the result.
static LogicalResult verifyExperts(Operation *op, Value groups, Value weight,
                                   Value result, int64_t slots) {
  auto type = rankedType(groups);
  if (failed(verifyGroups(op, type)))
    return failure();
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

void QuantizeOp::build(OpBuilder &builder, OperationState &state, Value x,
                       int64_t group, int64_t sumGroup, int64_t bias,
                       bool integerSums) {
  auto type = rankedType(x);
  int64_t tokens = type.getDimSize(0), columns = type.getDimSize(1);
  Type f32 = builder.getF32Type();
  build(builder, state,
        {RankedTensorType::get({tokens, columns}, builder.getI8Type()),
         RankedTensorType::get({tokens, countGroups(columns, group)}, f32),
         RankedTensorType::get({tokens, countGroups(columns, sumGroup)},
                               builder.getI32Type()),
         RankedTensorType::get({tokens, countGroups(columns, sumGroup)},
                               integerSums ? builder.getI16Type() : f32)},
        {x},
        {builder.getNamedAttr("group", builder.getI64IntegerAttr(group)),
         builder.getNamedAttr("sum_group", builder.getI64IntegerAttr(sumGroup)),
         builder.getNamedAttr("bias", builder.getI64IntegerAttr(bias))});
}

LogicalResult QuantizeOp::verify() {
  int64_t columns = rankedType(getX()).getDimSize(1);
  int64_t group = getGroup(), sumGroup = getSumGroup();
  constexpr int64_t kMostGroup = 4096; // a group is a vector
  if (group < 1 || group > kMostGroup || columns % group)
    return emitOpError() << "group must be at most " << kMostGroup
                         << " and divide the columns of x (" << columns
                         << "), got " << group;
  if (sumGroup < 1 || group % sumGroup)
    return emitOpError() << "sum_group must divide the group (" << group
                         << "), got " << sumGroup;
  // Sums of neighbours are formed by halves.
  if (sumGroup != group && !llvm::isPowerOf2_64(sumGroup))
    return emitOpError() << "sum_group must be a power of two or the group ("
                         << group << "), got " << sumGroup;
  if (int64_t bias = getBias(); bias == 0 || bias < -255 || bias > 255)
    return emitOpError() << "bias must be -255 to 255 and not 0, got " << bias;
  constexpr int64_t kMostCode = 127;
  if (rankedType(getSums()).getElementType().isInteger(16) &&
      sumGroup * kMostCode > std::numeric_limits<int16_t>::max())
    return emitOpError() << "sums of " << sumGroup
                         << " codes do not fit 16 bits";
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

int64_t QLinearOp::getActivationGroup() {
  return rankedType(getActivations()[0]).getDimSize(1) /
         rankedType(getActivations()[1]).getDimSize(1);
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
      bool fits = i == 0 ? element.isInteger(8)
                  : i == 2
                      ? element.isInteger(32)
                      : element.isF32() || (i == 3 && element.isInteger(16));
      if (!fits)
        return emitOpError() << "activation " << kNames[i]
                             << " has the element type " << element;
    }
    if (int64_t bias = getOffsetBias(); bias == 0 || bias < -255 || bias > 255)
      return emitOpError() << "offset_bias must be -255 to 255 and not 0, got "
                           << bias;
    int64_t columns = rankedType(getActivations().front()).getDimSize(1);
    auto columnsOf = [&](unsigned i) {
      return rankedType(getActivations()[i]).getDimSize(1);
    };
    if (failed(verifyDim(*this, "columns of activation sums", columnsOf(2),
                         columnsOf(3))))
      return failure();
    for (unsigned i : {1, 2}) {
      int64_t groups = columnsOf(i);
      bool known =
          !ShapedType::isDynamic(columns) && !ShapedType::isDynamic(groups);
      if (known && (groups < 1 || columns < groups || columns % groups))
        return emitOpError() << "activation " << kNames[i]
                             << " must divide the codes into equal groups, got "
                             << groups << " for " << columns << " codes";
    }
  } else if (!isBf16() &&
             !rankedType(getActivations().front()).getElementType().isF32()) {
    return emitOpError() << "a single activation has f32 or bf16 elements, got "
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
    if (isBf16() && !type.getElementType().isBF16())
      return emitOpError() << "weight " << i
                           << " must be bf16 to meet bf16 activations, got "
                           << type;
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
  // Sums may be finer than a format's groups, not coarser, and scales finer
  // than its blocks.
  int64_t columns = rankedType(getActivations().front()).getDimSize(1),
          scales = rankedType(getActivations()[1]).getDimSize(1),
          groups = rankedType(getActivations()[2]).getDimSize(1);
  if (ShapedType::isDynamic(columns) || ShapedType::isDynamic(scales) ||
      ShapedType::isDynamic(groups))
    return success();
  int64_t perScale = columns / scales;
  if (perScale % kSpan)
    return emitOpError() << "activation scales must be per a multiple of "
                         << kSpan << " codes, got one per " << perScale;
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
    if (int64_t(format.getBlock()) % perScale)
      return emitOpError() << "activation scales must divide the blocks of "
                           << int64_t(format.getBlock())
                           << " codes of the format " << quant.getFormat()
                           << ", got one per " << perScale;
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
                          op.getActivations(), weights, biases, op.getGroups(),
                          op.getOffsetBias());
    smaller->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    rewriter.replaceAllUsesWith(outputs, smaller.getOutputs());
    rewriter.eraseOp(op);
    return success();
  });
}

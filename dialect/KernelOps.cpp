// SPDX-License-Identifier: Apache-2.0
#include "dialect/OpVerification.h"
#include "dialect/layout/PackedLayout.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::lumen;

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

/// The operands of a dot product of `ways` elements per lane of 32 bits.
template <typename DotOp>
static LogicalResult verifyDot(DotOp op, StringRef ways, int64_t count,
                               bool laneWise) {
  auto codes = cast<VectorType>(op.getCodes().getType()),
       x = cast<VectorType>(op.getX().getType()),
       acc = cast<VectorType>(op.getAcc().getType());
  if (x.getNumElements() != count && !(laneWise && x == codes))
    return op.emitOpError() << "x must have " << count << " elements, got "
                            << x.getNumElements();
  if (codes.getNumElements() != count * acc.getNumElements())
    return op.emitOpError()
           << "codes must have " << ways << " elements per lane of acc ("
           << count * acc.getNumElements() << "), got "
           << codes.getNumElements();
  return success();
}

LogicalResult Dot4Op::verify() { return verifyDot(*this, "four", 4, false); }

LogicalResult Dot2Op::verify() {
  Type codes = getElementTypeOrSelf(getCodes().getType());
  for (auto [name, type, expected] :
       {std::tuple("x", getElementTypeOrSelf(getX().getType()), codes),
        {"acc", getElementTypeOrSelf(getAcc().getType()),
         codes.isBF16() ? Type(Float32Type::get(getContext()))
                        : Type(IntegerType::get(getContext(), 32))}})
    if (type != expected)
      return emitOpError() << name << " must have " << expected
                           << " elements where codes have " << codes << ", got "
                           << type;
  return verifyDot(*this, "two", 2, true);
}

LogicalResult MmaOp::verify() {
  DotAttr shape = getShape();
  if (shape.getLhs().getWidth() != 8 || shape.getAcc().getWidth() != 32 ||
      !shape.getAccumulates())
    return emitOpError() << "shape must add products of 8-bit codes to sums of "
                            "32 bits, got "
                         << shape;
  int64_t m = shape.getM(), n = shape.getN(), k = shape.getK();
  for (auto [name, type, rows, columns] :
       {std::tuple("lhs", getLhs().getType(), m, k),
        {"rhs", getRhs().getType(), n, k},
        {"acc", getAcc().getType(), m, n}}) {
    int64_t count = cast<VectorType>(type).getNumElements();
    if (count != rows * columns)
      return emitOpError() << name << " must have " << rows << " x " << columns
                           << " elements, got " << count;
  }
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

namespace {

/// What is added to every entry the table can hold.
struct AddToTable final : OpRewritePattern<arith::AddIOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::AddIOp op,
                                PatternRewriter &rewriter) const override {
    auto lookup = op.getLhs().getDefiningOp<LookupOp>();
    APInt term;
    if (!lookup || !lookup->hasOneUse() ||
        !matchPattern(op.getRhs(), m_ConstantInt(&term)))
      return failure();
    auto table = llvm::map_to_vector(lookup.getTable(), [&](int8_t entry) {
      return int8_t(entry + term.getSExtValue());
    });
    rewriter.replaceOpWithNewOp<LookupOp>(op, op.getType(), lookup.getIndex(),
                                          table);
    return success();
  }
};

} // namespace

void LookupOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                           MLIRContext *context) {
  patterns.add<AddToTable>(context);
}

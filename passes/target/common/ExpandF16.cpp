// SPDX-License-Identifier: Apache-2.0
//
// Conversions between f16 and f32 in integer arithmetic, for targets without an
// instruction for them (LLVM would call a library function per element).
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_EXPANDF16PASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Builds arithmetic on values shaped like `model`, scalar or vector.
class BitArithmetic {
public:
  BitArithmetic(Location loc, PatternRewriter &rewriter, Type model)
      : b(loc, rewriter), model(model) {}

  Type shaped(Type element) {
    if (auto vector = dyn_cast<VectorType>(model))
      return vector.clone(element);
    return element;
  }
  Type i32() { return shaped(b.getI32Type()); }
  Value constant(uint32_t value) {
    return splat(i32(), b.getI32IntegerAttr(int32_t(value)));
  }
  Value constantF32(float value) {
    return splat(shaped(b.getF32Type()), b.getF32FloatAttr(value));
  }
  Value cast(Value value, Type element) {
    return arith::BitcastOp::create(b, shaped(element), value);
  }
  Value aboveOrEqual(Value value, uint32_t bound) {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::uge, value,
                                 constant(bound));
  }
  template <typename Op> Value make(Value lhs, Value rhs) {
    return Op::create(b, lhs, rhs);
  }
  Value select(Value condition, Value yes, Value no) {
    return arith::SelectOp::create(b, condition, yes, no);
  }
  ImplicitLocOpBuilder b;

private:
  Value splat(Type type, TypedAttr attr) {
    if (auto vector = dyn_cast<VectorType>(type))
      attr = DenseElementsAttr::get(vector, Attribute(attr));
    return arith::ConstantOp::create(b, attr);
  }
  Type model;
};

bool isScalarOrVector(Type type) {
  return !isa<ShapedType>(type) || isa<VectorType>(type);
}

struct ExpandExtF16 final : OpRewritePattern<arith::ExtFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::ExtFOp op,
                                PatternRewriter &rewriter) const override {
    if (!isScalarOrVector(op.getType()) ||
        !getElementTypeOrSelf(op.getIn().getType()).isF16() ||
        !getElementTypeOrSelf(op.getType()).isF32())
      return failure();
    BitArithmetic a(op.getLoc(), rewriter, op.getType());
    Value bits = arith::ExtUIOp::create(a.b, a.i32(),
                                        a.cast(op.getIn(), a.b.getI16Type()));
    Value sign = a.make<arith::ShLIOp>(
        a.make<arith::AndIOp>(bits, a.constant(0x8000)), a.constant(16));
    Value magnitude = a.make<arith::AndIOp>(bits, a.constant(0x7fff));
    // The f16 fields at the place of the f32 ones are too small by 2^112; the
    // product is exact, for subnormals too.
    Value scaled = a.make<arith::MulFOp>(
        a.cast(a.make<arith::ShLIOp>(magnitude, a.constant(13)),
               a.b.getF32Type()),
        a.constantF32(0x1p112f));
    Value word = a.cast(scaled, a.b.getI32Type());
    Value special =
        a.make<arith::OrIOp>(a.make<arith::ShLIOp>(magnitude, a.constant(13)),
                             a.constant(0x7f800000));
    word = a.select(a.aboveOrEqual(magnitude, 0x7c00), special, word);
    word = a.make<arith::OrIOp>(word, sign);
    rewriter.replaceOp(op, a.cast(word, a.b.getF32Type()));
    return success();
  }
};

struct ExpandTruncF16 final : OpRewritePattern<arith::TruncFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::TruncFOp op,
                                PatternRewriter &rewriter) const override {
    if (!isScalarOrVector(op.getType()) ||
        !getElementTypeOrSelf(op.getIn().getType()).isF32() ||
        !getElementTypeOrSelf(op.getType()).isF16())
      return failure();
    BitArithmetic a(op.getLoc(), rewriter, op.getType());
    Value bits = a.cast(op.getIn(), a.b.getI32Type());
    Value sign = a.make<arith::AndIOp>(
        a.make<arith::ShRUIOp>(bits, a.constant(16)), a.constant(0x8000));
    Value magnitude = a.make<arith::AndIOp>(bits, a.constant(0x7fffffff));
    // Normal numbers: move the exponent's bias and round to nearest even at
    // bit 13.
    Value odd = a.make<arith::AndIOp>(
        a.make<arith::ShRUIOp>(magnitude, a.constant(13)), a.constant(1));
    Value rounded = a.make<arith::AddIOp>(
        a.make<arith::AddIOp>(magnitude, a.constant(0xc8000fffu)), odd);
    Value normal = a.make<arith::ShRUIOp>(rounded, a.constant(13));
    // Subnormal results: the float adder rounds at the right bit next to 0.5.
    Value sum = a.make<arith::AddFOp>(a.cast(magnitude, a.b.getF32Type()),
                                      a.constantF32(0.5f));
    Value subnormal = a.make<arith::SubIOp>(a.cast(sum, a.b.getI32Type()),
                                            a.constant(0x3f000000));
    Value infinity = a.select(a.aboveOrEqual(magnitude, 0x7f800001),
                              a.constant(0x7e00), a.constant(0x7c00));
    Value word =
        a.select(a.aboveOrEqual(magnitude, 0x38800000), normal, subnormal);
    word = a.select(a.aboveOrEqual(magnitude, 0x47800000), infinity, word);
    word = a.make<arith::OrIOp>(word, sign);
    Value half = arith::TruncIOp::create(a.b, a.shaped(a.b.getI16Type()), word);
    rewriter.replaceOp(op, a.cast(half, a.b.getF16Type()));
    return success();
  }
};

struct ExpandF16Pass final : lumen::impl::ExpandF16PassBase<ExpandF16Pass> {
  using ExpandF16PassBase::ExpandF16PassBase;

  void runOnOperation() override {
    TargetAttr target = TargetAttr::lookup(getOperation());
    if (target && target.getF16() && !force)
      return;
    RewritePatternSet patterns(&getContext());
    patterns.add<ExpandExtF16, ExpandTruncF16>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace

// SPDX-License-Identifier: Apache-2.0
//
// Lowers lumen.dot4, lumen.dot2, lumen.mma and lumen.lookup: to what the
// target's architecture has, and what that leaves to plain vector arithmetic.
#include "dialect/layout/FormatLayout.h"
#include "passes/Passes.h"
#include "passes/support/KernelBuilder.h"
#include "passes/target/common/Architecture.h"
#include "passes/target/common/VectorPieces.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_LOWERDOT4PASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Element `j` of a few, as a 32-bit integer in every lane.
Value spreadElement(KernelBuilder &b, Value x, int64_t j, VectorType words) {
  x = vector::ExtractOp::create(b, x, j);
  x = arith::ExtSIOp::create(b, b.getI32Type(), x);
  return b.broadcast(x, words.getNumElements());
}

/// On 32-bit lanes, which hold four codes each.
struct ExpandDot4 final : OpRewritePattern<Dot4Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(Dot4Op op,
                                PatternRewriter &rewriter) const override {
    KernelBuilder b(op.getLoc(), rewriter);
    auto words = cast<VectorType>(op.getAcc().getType());
    Value codes = vector::BitCastOp::create(b, words, op.getCodes());
    Value result = op.getAcc();
    for (int64_t j = 0; j < 4; ++j) {
      Value code = codes;
      if (op.getSignedCodes()) {
        code = arith::ShLIOp::create(b, code, b.integer(words, 24 - 8 * j));
        code = arith::ShRSIOp::create(b, code, b.integer(words, 24));
      } else {
        if (j)
          code = arith::ShRUIOp::create(b, code, b.integer(words, 8 * j));
        code = arith::AndIOp::create(b, code, b.integer(words, 255));
      }
      Value x = spreadElement(b, op.getX(), j, words);
      result =
          arith::AddIOp::create(b, result, arith::MulIOp::create(b, code, x));
    }
    rewriter.replaceOp(op, result);
    return success();
  }
};

/// On 32-bit lanes, which hold two codes each.
struct ExpandDot2 final : OpRewritePattern<Dot2Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(Dot2Op op,
                                PatternRewriter &rewriter) const override {
    if (op.isFloat())
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    auto words = cast<VectorType>(op.getAcc().getType());
    Value half = b.integer(words, 16), result = op.getAcc();
    // Element j of every lane.
    auto extend = [&](Value pairs, int64_t j) -> Value {
      Value lanes = vector::BitCastOp::create(b, words, pairs);
      if (j == 0)
        lanes = arith::ShLIOp::create(b, lanes, half);
      return arith::ShRSIOp::create(b, lanes, half);
    };
    bool laneWise = op.getX().getType() == op.getCodes().getType();
    for (int64_t j = 0; j < 2; ++j) {
      Value x = laneWise ? extend(op.getX(), j)
                         : spreadElement(b, op.getX(), j, words);
      result = arith::AddIOp::create(
          b, result, arith::MulIOp::create(b, extend(op.getCodes(), j), x));
    }
    rewriter.replaceOp(op, result);
    return success();
  }
};

/// Where four codes of a row lie together, token by token.
struct ExpandMmaInDots final : OpRewritePattern<MmaOp> {
  ExpandMmaInDots(MLIRContext *context)
      : OpRewritePattern(context, /*benefit=*/2) {}

  LogicalResult matchAndRewrite(MmaOp op,
                                PatternRewriter &rewriter) const override {
    DotAttr shape = op.getShape();
    if (shape.getStep() != kDotStep || !shape.getLhs().isSigned())
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    int64_t n = shape.getN(), k = shape.getK();
    auto sums = VectorType::get(n, b.getI32Type());
    SmallVector<Value> rows;
    for (int64_t i = 0; i < shape.getM(); ++i) {
      Value sum = b.extract(op.getAcc(), i * n, n);
      for (int64_t l = 0; l < k; l += kDotStep)
        sum =
            Dot4Op::create(b, sums, b.extract(op.getRhs(), l * n, kDotStep * n),
                           b.extract(op.getLhs(), i * k + l, kDotStep), sum,
                           /*bits=*/8, shape.getRhs().isSigned());
      rows.push_back(sum);
    }
    rewriter.replaceOp(op, b.concatenate(rows));
    return success();
  }
};

/// On 32-bit lanes, which hold two bf16 each: the bits of bf16 are the upper
/// half of those of f32.
struct ExpandBf16Dot2 final : OpRewritePattern<Dot2Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(Dot2Op op,
                                PatternRewriter &rewriter) const override {
    if (!op.isFloat())
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    auto sums = cast<VectorType>(op.getAcc().getType());
    auto words = sums.clone(b.getI32Type());
    auto asWords = [&](Value pairs) -> Value {
      if (pairs.getType() != op.getCodes().getType())
        pairs = spread(b, pairs, cast<VectorType>(op.getCodes().getType()));
      return vector::BitCastOp::create(b, words, pairs);
    };
    Value lhs = asWords(op.getCodes()), rhs = asWords(op.getX()),
          result = op.getAcc();
    auto extend = [&](Value pairs, int64_t j) -> Value {
      Value bits =
          j ? arith::AndIOp::create(b, pairs, b.integer(words, 0xffff0000))
                  .getResult()
            : arith::ShLIOp::create(b, pairs, b.integer(words, 16));
      return arith::BitcastOp::create(b, sums, bits);
    };
    for (int64_t j : {1, 0})
      result = b.multiplyAdd(extend(lhs, j), extend(rhs, j), result);
    rewriter.replaceOp(op, result);
    return success();
  }
};

/// Column by column of the operands, spread over the lanes of the sums.
struct ExpandMma final : OpRewritePattern<MmaOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(MmaOp op,
                                PatternRewriter &rewriter) const override {
    KernelBuilder b(op.getLoc(), rewriter);
    DotAttr shape = op.getShape();
    int64_t m = shape.getM(), n = shape.getN(), k = shape.getK(),
            step = shape.getStepSize();
    Type words = op.getAcc().getType();
    // The codes at places that are a function of the lane.
    auto spread = [&](Value codes, bool isSigned,
                      function_ref<int64_t(int64_t, int64_t)> place) -> Value {
      SmallVector<int64_t> mask;
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j)
          mask.push_back(place(i, j));
      codes = vector::ShuffleOp::create(b, codes, codes, mask);
      if (isSigned)
        return arith::ExtSIOp::create(b, words, codes);
      return arith::ExtUIOp::create(b, words, codes);
    };
    Value result = op.getAcc();
    for (int64_t l = 0; l < k; ++l) {
      Value lhs = spread(op.getLhs(), shape.getLhs().isSigned(),
                         [&](int64_t i, int64_t) { return i * k + l; });
      Value rhs = spread(op.getRhs(), shape.getRhs().isSigned(),
                         [&](int64_t, int64_t j) {
                           return (l / step * n + j) * step + l % step;
                         });
      result =
          arith::AddIOp::create(b, result, arith::MulIOp::create(b, lhs, rhs));
    }
    rewriter.replaceOp(op, result);
    return success();
  }
};

/// As a chain of selections.
struct ExpandLookup final : OpRewritePattern<LookupOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LookupOp op,
                                PatternRewriter &rewriter) const override {
    KernelBuilder b(op.getLoc(), rewriter);
    Type type = op.getType();
    auto constant = [&](int64_t value) { return b.integer(type, value); };
    Value result = constant(op.getTable().back());
    for (int64_t i = int64_t(op.getTable().size()) - 2; i >= 0; --i) {
      Value here = arith::CmpIOp::create(b, arith::CmpIPredicate::eq,
                                         op.getIndex(), constant(i));
      result =
          arith::SelectOp::create(b, here, constant(op.getTable()[i]), result);
    }
    rewriter.replaceOp(op, result);
    return success();
  }
};

struct LowerDot4Pass final : lumen::impl::LowerDot4PassBase<LowerDot4Pass> {
  using LowerDot4PassBase::LowerDot4PassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    // First all that the architecture takes: the end of a chain takes along
    // what would be expanded where it stands.
    if (TargetAttr target = TargetAttr::lookup(module)) {
      RewritePatternSet patterns(&getContext());
      if (failed(Architecture::of(target).addInstructions(
              target, patterns, [&] { return module.emitError(); })) ||
          failed(applyPatternsGreedily(module, std::move(patterns))))
        return signalPassFailure();
    }
    RewritePatternSet patterns(&getContext());
    patterns.add<ExpandDot4, ExpandDot2, ExpandBf16Dot2, ExpandMmaInDots,
                 ExpandMma, ExpandLookup>(&getContext());
    if (failed(applyPatternsGreedily(module, std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace

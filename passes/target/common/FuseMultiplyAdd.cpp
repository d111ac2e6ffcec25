// SPDX-License-Identifier: Apache-2.0
//
// Says which multiplications and additions are one operation.
#include "passes/Passes.h"

#include "dialect/LumenDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/WalkPatternRewriteDriver.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_FUSEMULTIPLYADDPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

bool mayContract(arith::FastMathFlags flags) {
  return arith::bitEnumContainsAll(flags, arith::FastMathFlags::contract);
}

/// The product that an addition takes and nothing else does.
arith::MulFOp findProduct(Value addend) {
  auto product = addend.getDefiningOp<arith::MulFOp>();
  return product && product->hasOneUse() && mayContract(product.getFastmath())
             ? product
             : nullptr;
}

template <typename Sum> struct Fuse final : OpRewritePattern<Sum> {
  using OpRewritePattern<Sum>::OpRewritePattern;

  LogicalResult matchAndRewrite(Sum op,
                                PatternRewriter &rewriter) const override {
    if (!mayContract(op.getFastmath()))
      return failure();
    Value acc = op.getLhs();
    arith::MulFOp product = findProduct(op.getRhs());
    bool isRight = !!product;
    if (!product) {
      acc = op.getRhs();
      product = findProduct(op.getLhs());
    }
    if (!product)
      return failure();
    Value lhs = product.getLhs(), rhs = product.getRhs();
    if constexpr (std::is_same_v<Sum, arith::SubFOp>) {
      Value &negative = isRight ? lhs : acc;
      negative = arith::NegFOp::create(rewriter, op.getLoc(), negative);
    }
    TargetAttr target = TargetAttr::lookup(op);
    if (target && target.getArchitecture() == llvm::Triple::spirv64)
      rewriter.replaceOpWithNewOp<math::FmaOp>(op, lhs, rhs, acc);
    else if (isa<VectorType>(op.getType()))
      rewriter.replaceOpWithNewOp<vector::FMAOp>(op, lhs, rhs, acc);
    else
      rewriter.replaceOpWithNewOp<LLVM::FMulAddOp>(op, op.getType(), lhs, rhs,
                                                   acc);
    rewriter.eraseOp(product);
    return success();
  }
};

struct FuseMultiplyAddPass final
    : lumen::impl::FuseMultiplyAddPassBase<FuseMultiplyAddPass> {
  using FuseMultiplyAddPassBase::FuseMultiplyAddPassBase;

  void runOnOperation() override {
    TargetAttr target = TargetAttr::lookup(getOperation());
    if (!target || !target.getFma())
      return;
    RewritePatternSet patterns(&getContext());
    patterns.add<Fuse<arith::AddFOp>>(&getContext());
    // Of two products LLVM takes one or the other, by what stands around them.
    if (target.hasWarps())
      patterns.add<Fuse<arith::SubFOp>>(&getContext());
    walkAndApplyPatterns(getOperation(), std::move(patterns));
  }
};

} // namespace

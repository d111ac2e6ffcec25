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

struct Fuse final : OpRewritePattern<arith::AddFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::AddFOp op,
                                PatternRewriter &rewriter) const override {
    if (!mayContract(op.getFastmath()))
      return failure();
    Value acc = op.getLhs();
    arith::MulFOp product = findProduct(op.getRhs());
    if (!product) {
      acc = op.getRhs();
      product = findProduct(op.getLhs());
    }
    if (!product)
      return failure();
    TargetAttr target = TargetAttr::lookup(op);
    if (target && target.getArchitecture() == llvm::Triple::spirv64)
      rewriter.replaceOpWithNewOp<math::FmaOp>(op, product.getLhs(),
                                               product.getRhs(), acc);
    else if (isa<VectorType>(op.getType()))
      rewriter.replaceOpWithNewOp<vector::FMAOp>(op, product.getLhs(),
                                                 product.getRhs(), acc);
    else
      rewriter.replaceOpWithNewOp<LLVM::FMulAddOp>(
          op, op.getType(), product.getLhs(), product.getRhs(), acc);
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
    patterns.add<Fuse>(&getContext());
    walkAndApplyPatterns(getOperation(), std::move(patterns));
  }
};

} // namespace

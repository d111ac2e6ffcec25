// SPDX-License-Identifier: Apache-2.0
//
// What sums start from, and what is taken off them.
#include "passes/target/arm/Instructions.h"
#include "passes/target/arm/Registers.h"
#include "passes/target/common/VectorPieces.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace mlir::lumen;

/// `value` in all lanes of four, from memory. Only a volatile load is one for
/// every use.
static Value loadSplat(KernelBuilder &b, int32_t value) {
  auto type = VectorType::get(4, b.getI32Type());
  std::string name = "lumen_start_" + std::to_string(uint32_t(value));
  auto module =
      b.getInsertionBlock()->getParentOp()->getParentOfType<ModuleOp>();
  if (!module.lookupSymbol(name)) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(module.getBody());
    LLVM::GlobalOp::create(b, type, /*isConstant=*/true,
                           LLVM::Linkage::Internal, name,
                           DenseElementsAttr::get(type, value),
                           /*alignment=*/arm::kBytes);
  }
  Value address = LLVM::AddressOfOp::create(
      b, LLVM::LLVMPointerType::get(b.getContext()), name);
  return LLVM::LoadOp::create(b, type, address, /*alignment=*/arm::kBytes,
                              /*isVolatile=*/true);
}

/// The i32 that `value` has in all lanes; null where it is not known.
static Value findScalar(KernelBuilder &b, Value value) {
  auto sum = value.getDefiningOp<arith::AddIOp>();
  auto spread =
      (sum ? sum.getLhs() : value).getDefiningOp<vector::BroadcastOp>();
  if (!spread || !spread.getSource().getType().isInteger(32))
    return nullptr;
  if (!sum)
    return spread.getSource();
  std::optional<APInt> added = arm::findSplat(sum.getRhs());
  if (!added)
    return nullptr;
  Value constant = b.integer(b.getI32Type(), added->getSExtValue());
  return arith::AddIOp::create(b, spread.getSource(), constant);
}

/// The same in all lanes goes to each register by itself: a register that is
/// copied takes a pipe that multiplies.
Value arm::startSum(KernelBuilder &b, Value acc, int64_t first) {
  constexpr int64_t kLanes = 4;
  // Zero costs nothing.
  if (auto start = arm::findSplat(acc); start && !start->isZero())
    return loadSplat(b, start->getSExtValue());
  if (Value scalar = findScalar(b, acc))
    return b.broadcast(keep(b, scalar, first / kLanes), kLanes);
  return b.extract(acc, first, kLanes);
}

namespace {

/// Constants are added to what is the same in all lanes before it is spread.
struct AddBeforeSpread final : OpRewritePattern<arith::AddIOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::AddIOp op,
                                PatternRewriter &rewriter) const override {
    auto spread = op.getLhs().getDefiningOp<vector::BroadcastOp>();
    std::optional<APInt> added = arm::findSplat(op.getRhs());
    if (!spread || !added || !spread->hasOneUse() ||
        !spread.getSource().getType().isInteger())
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    Value scalar = spread.getSource();
    scalar = arith::AddIOp::create(
        b, scalar, b.integer(scalar.getType(), added->getSExtValue()));
    rewriter.replaceOpWithNewOp<vector::BroadcastOp>(op, op.getType(), scalar);
    return success();
  }
};

/// The value that `op` subtracts from sums in a register, where that is a
/// constant that they began as.
static std::optional<APInt> findBeginning(arith::SubFOp op) {
  DenseElementsAttr value;
  auto sum = op.getLhs().getDefiningOp<arith::BitcastOp>();
  auto words = sum ? dyn_cast<VectorType>(sum.getIn().getType()) : nullptr;
  if (!words || words.getNumElements() != 4 ||
      !words.getElementType().isInteger(32) ||
      !matchPattern(op.getRhs(), m_Constant(&value)) || !value.isSplat())
    return std::nullopt;
  return value.getSplatValue<APFloat>().bitcastToAPInt();
}

/// What sums began as, from memory behind the products of a group, once for
/// all: no register holds it while sums and codes take every one.
struct LoadBeginning final : OpRewritePattern<arith::SubFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::SubFOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<APInt> bits = findBeginning(op);
    if (!bits)
      return failure();
    auto isProduct = [](Operation *op) {
      return isa<MmaOp, LLVM::CallIntrinsicOp>(op);
    };
    Operation *first = op;
    while (first->getPrevNode() && !isProduct(first->getPrevNode()))
      first = first->getPrevNode();
    SmallVector<arith::SubFOp> alike;
    for (Operation *next = first; next && !isProduct(next);
         next = next->getNextNode())
      if (auto other = dyn_cast<arith::SubFOp>(next);
          other && findBeginning(other) == bits)
        alike.push_back(other);
    KernelBuilder b(op.getLoc(), rewriter);
    b.setInsertionPoint(alike.front());
    Value loaded = loadSplat(b, bits->getSExtValue());
    loaded = arith::BitcastOp::create(b, op.getType(), loaded);
    for (arith::SubFOp other : alike)
      rewriter.modifyOpInPlace(other,
                               [&] { other.getRhsMutable().assign(loaded); });
    return success();
  }
};

/// A new address for all but the first of the products that take the same
/// vector.
struct LoadAddends final : OpRewritePattern<vector::FMAOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(vector::FMAOp op,
                                PatternRewriter &rewriter) const override {
    auto load = op.getAcc().getDefiningOp<vector::LoadOp>();
    if (!load || load->hasOneUse() || !arm::isInProduct(op) ||
        getLanes(load.getResult()) * 4 != arm::kBytes)
      return failure();
    SmallVector<vector::FMAOp> products;
    for (Operation *user : load->getUsers()) {
      auto product = dyn_cast<vector::FMAOp>(user);
      if (!product || product->getBlock() != op->getBlock() ||
          product.getAcc() != load.getResult() ||
          llvm::is_contained(products, product))
        return failure();
      products.push_back(product);
    }
    llvm::sort(products, [](vector::FMAOp one, vector::FMAOp other) {
      return one->isBeforeInBlock(other);
    });
    KernelBuilder b(op.getLoc(), rewriter);
    for (size_t i = 1; i < products.size(); ++i) {
      vector::FMAOp product = products[i];
      b.setInsertionPoint(product);
      SmallVector<Value> indices(load.getIndices());
      indices.back() = arith::AddIOp::create(b, indices.back(), hideZero(b, i));
      Value again = b.load(getLanes(load.getResult()), load.getBase(), indices);
      rewriter.modifyOpInPlace(product,
                               [&] { product.getAccMutable().assign(again); });
    }
    return success();
  }

private:
  /// 0, of which LLVM does not know that; another one for each `number`.
  static Value hideZero(KernelBuilder &b, int64_t number) {
    Value known = b.integer(b.getI64Type(), number);
    Value zero = arith::SubIOp::create(b, arm::keep(b, known), known);
    return arith::IndexCastOp::create(b, b.getIndexType(), zero);
  }
};

} // namespace

void arm::addSpreading(RewritePatternSet &patterns) {
  patterns.add<AddBeforeSpread>(patterns.getContext());
}

void arm::addBeginnings(RewritePatternSet &patterns) {
  patterns.add<LoadBeginning>(patterns.getContext());
}

void arm::addAddends(RewritePatternSet &patterns) {
  patterns.add<LoadAddends>(patterns.getContext());
}

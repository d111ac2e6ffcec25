// SPDX-License-Identifier: Apache-2.0
//
// lumen.mma as x86's products of tiles (AMX). A tile is no vector: only memory
// is between both. So what loads the operands of a chain of products and stores
// its sums becomes loads and stores of tiles, too.
#include "dialect/layout/FormatLayout.h"
#include "passes/target/common/VectorPieces.h"
#include "passes/target/x86/Instructions.h"
#include "passes/target/x86/X86.h"

#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// A matrix in memory or in a tile: rows, and bytes of a row, which lie one
/// behind the other.
struct TileShape {
  int64_t rows, bytes;
};

TileShape getLhs(DotAttr shape) { return {shape.getM(), shape.getK()}; }

/// Of four codes of n rows side by side.
TileShape getRhs(DotAttr shape) {
  return {shape.getK() / kDotStep, kDotStep * shape.getN()};
}

TileShape getSums(DotAttr shape) { return {shape.getM(), 4 * shape.getN()}; }

/// Whether a tile may be loaded from there or stored to it as a whole.
bool isContiguous(Value buffer, ValueRange indices) {
  auto type = cast<MemRefType>(buffer.getType());
  return type.getLayout().isIdentity() && type.getRank() == 1 &&
         indices.size() == 1 && !type.getMemorySpace();
}

vector::LoadOp findLoad(Value value) {
  auto load = value.getDefiningOp<vector::LoadOp>();
  return load && isContiguous(load.getBase(), load.getIndices()) ? load
                                                                 : nullptr;
}

/// The products whose sums are stored.
struct LowerMma final : OpRewritePattern<vector::StoreOp> {
  LowerMma(MLIRContext *context, TargetAttr target)
      : OpRewritePattern(context), target(target) {}

  LogicalResult matchAndRewrite(vector::StoreOp op,
                                PatternRewriter &rewriter) const override {
    auto last = op.getValueToStore().getDefiningOp<MmaOp>();
    if (!last || !isContiguous(op.getBase(), op.getIndices()))
      return failure();
    DotAttr shape = last.getShape();
    StringRef name = x86::findMma(target, shape);
    // First to last.
    SmallVector<MmaOp> chain = {last};
    while (auto before = chain.back().getAcc().getDefiningOp<MmaOp>())
      chain.push_back(before);
    std::reverse(chain.begin(), chain.end());
    auto isTile = [&](MmaOp step) {
      return step.getShape() == shape && step->hasOneUse() &&
             step->getBlock() == op->getBlock() && findLoad(step.getLhs()) &&
             findLoad(step.getRhs());
    };
    Value initial = chain.front().getAcc();
    bool isZero = matchPattern(initial, m_Zero());
    if (name.empty() || !llvm::all_of(chain, isTile) ||
        !(isZero || findLoad(initial)))
      return failure();

    KernelBuilder b(chain.front().getLoc(), rewriter);
    Value sum;
    b.setInsertionPoint(chain.front());
    if (isZero)
      sum = callIntrinsic(b, x86::kTileZero, getTileType(b),
                          getSizes(b, getSums(shape)));
    else
      sum = load(b, findLoad(initial), getSums(shape));
    Value m = getSize(b, shape.getM()), n = getSize(b, 4 * shape.getN()),
          k = getSize(b, shape.getK());
    for (MmaOp step : chain) {
      Value lhs = load(b, findLoad(step.getLhs()), getLhs(shape)),
            rhs = load(b, findLoad(step.getRhs()), getRhs(shape));
      b.setInsertionPoint(step);
      sum = callIntrinsic(b, name, getTileType(b), {m, n, k, sum, lhs, rhs});
    }
    b.setInsertionPoint(op);
    Value address = getAddress(b, op.getBase(), op.getIndices().front());
    SmallVector<Value> operands = getSizes(b, getSums(shape));
    operands.append({address, getStride(b, getSums(shape)), sum});
    LLVM::CallIntrinsicOp::create(b, b.getStringAttr(x86::kTileStore),
                                  operands);
    rewriter.eraseOp(op);
    for (MmaOp step : llvm::reverse(chain))
      rewriter.eraseOp(step);
    return success();
  }

private:
  static Type getTileType(KernelBuilder &b) {
    return LLVM::LLVMX86AMXType::get(b.getContext());
  }
  static Value getSize(KernelBuilder &b, int64_t size) {
    return b.integer(b.getI16Type(), size);
  }
  static SmallVector<Value> getSizes(KernelBuilder &b, TileShape shape) {
    return {getSize(b, shape.rows), getSize(b, shape.bytes)};
  }
  static Value getStride(KernelBuilder &b, TileShape shape) {
    return b.integer(b.getI64Type(), shape.bytes);
  }
  /// A tile instead of `op`'s vector, where that is loaded.
  static Value load(KernelBuilder &b, vector::LoadOp op, TileShape shape) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(op);
    SmallVector<Value> operands = getSizes(b, shape);
    operands.append({getAddress(b, op.getBase(), op.getIndices().front()),
                     getStride(b, shape)});
    return callIntrinsic(b, x86::kTileLoad, getTileType(b), operands);
  }
  static Value getAddress(KernelBuilder &b, Value buffer, Value index);

  TargetAttr target;
};

/// Of an element. The conversion of memory takes the cast away.
Value LowerMma::getAddress(KernelBuilder &b, Value buffer, Value index) {
  auto type = cast<MemRefType>(buffer.getType());
  LLVMTypeConverter converter(b.getContext());
  Value descriptor =
      UnrealizedConversionCastOp::create(b, converter.convertType(type), buffer)
          .getResult(0);
  Value base = LLVM::ExtractValueOp::create(b, descriptor, 1);
  Value offset = arith::IndexCastOp::create(b, b.getI64Type(), index);
  return LLVM::GEPOp::create(b, base.getType(), type.getElementType(), base,
                             ArrayRef<LLVM::GEPArg>{offset});
}

} // namespace

void x86::addTiles(RewritePatternSet &patterns, TargetAttr target) {
  patterns.add<LowerMma>(patterns.getContext(), target);
}

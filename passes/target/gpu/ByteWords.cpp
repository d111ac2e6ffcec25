// SPDX-License-Identifier: Apache-2.0
#include "passes/target/gpu/ByteWords.h"

#include "passes/target/common/VectorPieces.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace mlir::lumen;

bool mlir::lumen::isByteDot(DotAttr dot, int64_t warp) {
  return dot.getM() == 1 && dot.getN() == warp && dot.getK() == kByteWord &&
         dot.getLhs().isSignedInteger(8) && dot.getRhs().isSignedInteger(8) &&
         dot.getAcc().isInteger(32) && dot.getAccumulates();
}

bool mlir::lumen::isByteWords(Type type) {
  auto vector = dyn_cast<VectorType>(type);
  return vector && vector.getRank() == 1 &&
         vector.getElementType().isInteger(8) &&
         vector.getNumElements() % kByteWord == 0;
}

Value mlir::lumen::asWord(KernelBuilder &b, Value bytes) {
  auto word = VectorType::get(1, b.getI32Type());
  return vector::ExtractOp::create(b, vector::BitCastOp::create(b, word, bytes),
                                   0);
}

Value mlir::lumen::asBytes(KernelBuilder &b, Value word) {
  return vector::BitCastOp::create(b, VectorType::get(kByteWord, b.getI8Type()),
                                   b.broadcast(word, 1));
}

Value mlir::lumen::mapByteWords(KernelBuilder &b, VectorType type,
                                ArrayRef<Value> operands,
                                function_ref<Value(ArrayRef<Value>)> emit) {
  return splitVector(b, type, kByteWord, [&](int64_t first) {
    SmallVector<Value> words;
    for (Value operand : operands)
      words.push_back(asWord(b, b.extract(operand, first, kByteWord)));
    return asBytes(b, emit(words));
  });
}

SmallVector<Value> mlir::lumen::getTableWords(KernelBuilder &b,
                                              ArrayRef<int8_t> table) {
  SmallVector<int8_t> bytes(table);
  bytes.resize(16, 0);
  SmallVector<Value> words;
  for (int64_t i = 0; i < 4; ++i) {
    uint32_t word = 0;
    for (int64_t j = 0; j < kByteWord; ++j)
      word |= uint32_t(uint8_t(bytes[kByteWord * i + j])) << (8 * j);
    words.push_back(b.integer(b.getI32Type(), int32_t(word)));
  }
  return words;
}

namespace {

/// LLVM, for one, would shift bytes one by one.
template <typename Shift>
struct LowerByteShift final : OpRewritePattern<Shift> {
  using OpRewritePattern<Shift>::OpRewritePattern;

  LogicalResult matchAndRewrite(Shift op,
                                PatternRewriter &rewriter) const override {
    DenseIntElementsAttr by;
    if (!isByteWords(op.getType()) ||
        !matchPattern(op.getRhs(), m_Constant(&by)) || !by.isSplat())
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    auto number = [&](uint32_t value) {
      return b.integer(b.getI32Type(), int32_t(value));
    };
    uint32_t bits = by.getSplatValue<APInt>().getZExtValue();
    constexpr bool isLeft = std::is_same_v<Shift, arith::ShLIOp>;
    uint32_t kept = isLeft ? (0xffu << bits) & 0xffu : 0xffu >> bits;
    rewriter.replaceOp(
        op, mapByteWords(b, cast<VectorType>(op.getType()), {op.getLhs()},
                         [&](ArrayRef<Value> word) {
                           Value shifted =
                               Shift::create(b, word[0], number(bits));
                           return arith::AndIOp::create(
                                      b, shifted, number(kept * 0x01010101u))
                               .getResult();
                         }));
    return success();
  }
};

} // namespace

void mlir::lumen::addByteShifts(RewritePatternSet &patterns) {
  patterns.add<LowerByteShift<arith::ShLIOp>, LowerByteShift<arith::ShRUIOp>>(
      patterns.getContext());
}

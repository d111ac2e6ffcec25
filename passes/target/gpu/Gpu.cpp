// SPDX-License-Identifier: Apache-2.0
//
// lumen.dot4 and lumen.lookup as NVIDIA's instructions, and shifts of bytes as
// those of words.
#include "passes/target/gpu/Gpu.h"

#include "passes/target/common/VectorPieces.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Codes in a word of 32 bits.
constexpr int64_t kCodes = 4;

// LLVM's intrinsics.
/// Four unsigned or signed bytes times four signed ones, added to a sum.
constexpr StringLiteral kDotUnsigned = "llvm.nvvm.idp4a.u.s",
                        kDotSigned = "llvm.nvvm.idp4a.s.s";
/// Four of the eight bytes of two words, chosen by the nibbles of a third.
constexpr StringLiteral kPermute = "llvm.nvvm.prmt";

Type getWord(KernelBuilder &b) { return b.getI32Type(); }

Value asWord(KernelBuilder &b, Value bytes) {
  auto word = VectorType::get(1, getWord(b));
  return vector::ExtractOp::create(b, vector::BitCastOp::create(b, word, bytes),
                                   0);
}

Value asBytes(KernelBuilder &b, Value word) {
  return vector::BitCastOp::create(b, VectorType::get(kCodes, b.getI8Type()),
                                   b.broadcast(word, 1));
}

Value number(KernelBuilder &b, uint32_t value) {
  return b.integer(getWord(b), int32_t(value));
}

/// Applies `emit` to the words of a vector of bytes.
Value mapWords(KernelBuilder &b, VectorType type, ArrayRef<Value> operands,
               function_ref<Value(ArrayRef<Value>)> emit) {
  return splitVector(b, type, kCodes, [&](int64_t first) {
    SmallVector<Value> words;
    for (Value operand : operands)
      words.push_back(asWord(b, b.extract(operand, first, kCodes)));
    return asBytes(b, emit(words));
  });
}

bool isWords(Type type) {
  auto vector = dyn_cast<VectorType>(type);
  return vector && vector.getRank() == 1 &&
         vector.getElementType().isInteger(8) &&
         vector.getNumElements() % kCodes == 0;
}

struct LowerDot4 final : OpRewritePattern<Dot4Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(Dot4Op op,
                                PatternRewriter &rewriter) const override {
    KernelBuilder b(op.getLoc(), rewriter);
    auto type = cast<VectorType>(op.getAcc().getType());
    Value x = asWord(b, op.getX());
    rewriter.replaceOp(
        op, splitVector(b, type, 1, [&](int64_t i) {
          Value codes = asWord(b, b.extract(op.getCodes(), kCodes * i, kCodes));
          Value acc = vector::ExtractOp::create(b, op.getAcc(), i);
          Value sum =
              callIntrinsic(b, op.getSignedCodes() ? kDotSigned : kDotUnsigned,
                            getWord(b), {codes, x, acc});
          return b.broadcast(sum, 1);
        }));
    return success();
  }
};

/// A table of 16 bytes lies in four words: of each eight, the lower three bits
/// of an index choose one, and its fourth bit chooses between the two.
struct LowerLookup final : OpRewritePattern<LookupOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LookupOp op,
                                PatternRewriter &rewriter) const override {
    if (!isWords(op.getType()))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    SmallVector<int8_t> table(op.getTable());
    table.resize(16, 0);
    SmallVector<Value> words;
    for (int64_t i = 0; i < 4; ++i) {
      uint32_t word = 0;
      for (int64_t j = 0; j < 4; ++j)
        word |= uint32_t(uint8_t(table[4 * i + j])) << (8 * j);
      words.push_back(number(b, word));
    }
    auto permute = [&](Value low, Value high, Value selector) {
      return callIntrinsic(b, kPermute, getWord(b), {low, high, selector});
    };
    auto type = cast<VectorType>(op.getType());
    rewriter.replaceOp(
        op, mapWords(b, type, {op.getIndex()}, [&](ArrayRef<Value> index) {
          // The nibbles of a selector are the lower halves of four bytes.
          auto orShifted = [&](Value value, int64_t bits) -> Value {
            Value shifted = arith::ShRUIOp::create(b, value, number(b, bits));
            return arith::OrIOp::create(b, value, shifted);
          };
          Value low = arith::AndIOp::create(b, index[0], number(b, 0x07070707));
          low = arith::AndIOp::create(b, orShifted(low, 4),
                                      number(b, 0x00ff00ff));
          low = orShifted(low, 8);
          Value first = permute(words[0], words[1], low),
                second = permute(words[2], words[3], low);
          // The fourth bits: bytes 4 to 7 of the pair in place of 0 to 3.
          Value high =
              arith::AndIOp::create(b, index[0], number(b, 0x08080808));
          high = arith::ShRUIOp::create(b, high, number(b, 1));
          high = arith::AndIOp::create(b, orShifted(high, 4),
                                       number(b, 0x00ff00ff));
          high = arith::OrIOp::create(b, orShifted(high, 8), number(b, 0x3210));
          return permute(first, second, high);
        }));
    return success();
  }
};

/// LLVM would shift bytes one by one.
template <typename Shift>
struct LowerByteShift final : OpRewritePattern<Shift> {
  using OpRewritePattern<Shift>::OpRewritePattern;

  LogicalResult matchAndRewrite(Shift op,
                                PatternRewriter &rewriter) const override {
    DenseIntElementsAttr by;
    if (!isWords(op.getType()) || !matchPattern(op.getRhs(), m_Constant(&by)) ||
        !by.isSplat())
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    uint32_t bits = by.getSplatValue<APInt>().getZExtValue();
    constexpr bool isLeft = std::is_same_v<Shift, arith::ShLIOp>;
    uint32_t kept = isLeft ? (0xffu << bits) & 0xffu : 0xffu >> bits;
    rewriter.replaceOp(
        op, mapWords(b, cast<VectorType>(op.getType()), {op.getLhs()},
                     [&](ArrayRef<Value> word) {
                       Value shifted =
                           Shift::create(b, word[0], number(b, bits));
                       return arith::AndIOp::create(
                                  b, shifted, number(b, kept * 0x01010101u))
                           .getResult();
                     }));
    return success();
  }
};

} // namespace

LogicalResult
Gpu::addInstructions(TargetAttr target, RewritePatternSet &patterns,
                     function_ref<InFlightDiagnostic()> emitError) const {
  DotAttr dot = target.getDot();
  bool isKnown = dot && dot.getM() == 1 && dot.getN() == target.getWarp() &&
                 dot.getK() == kCodes && dot.getLhs().isSignedInteger(8) &&
                 dot.getRhs().isSignedInteger(8) &&
                 dot.getAcc().isInteger(32) && dot.getAccumulates();
  // Of lumen.mma, lanes have their parts already.
  DotAttr mma = target.getMma();
  bool isWarpMma = mma && mma.getM() == 16 && mma.getN() == 8 &&
                   mma.getK() == 32 && mma.getStepSize() == 32;
  for (auto [each, known] :
       {std::pair(dot, isKnown), std::pair(target.getPairDot(), false),
        std::pair(mma, isWarpMma)})
    if (each && !known)
      return emitError() << "no instruction of GPUs is known for " << each;
  MLIRContext *context = patterns.getContext();
  if (dot)
    patterns.add<LowerDot4>(context);
  patterns.add<LowerLookup, LowerByteShift<arith::ShLIOp>,
               LowerByteShift<arith::ShRUIOp>>(context);
  return success();
}

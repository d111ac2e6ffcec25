// SPDX-License-Identifier: Apache-2.0
//
// lumen.dot4 and lumen.lookup as NVIDIA's instructions.
#include "passes/target/gpu/Gpu.h"

#include "passes/target/common/VectorPieces.h"
#include "passes/target/gpu/ByteWords.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

// LLVM's intrinsics.
/// Four unsigned or signed bytes times four signed ones, added to a sum.
constexpr StringLiteral kDotUnsigned = "llvm.nvvm.idp4a.u.s",
                        kDotSigned = "llvm.nvvm.idp4a.s.s";
/// Four of the eight bytes of two words, chosen by the nibbles of a third.
constexpr StringLiteral kPermute = "llvm.nvvm.prmt";

Type getWord(KernelBuilder &b) { return b.getI32Type(); }

Value number(KernelBuilder &b, uint32_t value) {
  return b.integer(getWord(b), int32_t(value));
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
          Value codes =
              asWord(b, b.extract(op.getCodes(), kByteWord * i, kByteWord));
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
    if (!isByteWords(op.getType()))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    SmallVector<Value> words = getTableWords(b, op.getTable());
    auto permute = [&](Value low, Value high, Value selector) {
      return callIntrinsic(b, kPermute, getWord(b), {low, high, selector});
    };
    auto type = cast<VectorType>(op.getType());
    rewriter.replaceOp(
        op, mapByteWords(b, type, {op.getIndex()}, [&](ArrayRef<Value> index) {
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

} // namespace

LogicalResult
Gpu::addInstructions(TargetAttr target, RewritePatternSet &patterns,
                     function_ref<InFlightDiagnostic()> emitError) const {
  DotAttr dot = target.getDot();
  bool isKnown = dot && isByteDot(dot, target.getWarp());
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
  patterns.add<LowerLookup>(context);
  addByteShifts(patterns);
  return success();
}

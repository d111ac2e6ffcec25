// SPDX-License-Identifier: Apache-2.0
//
// Codes on their way from packed bytes to a product.
#include "passes/target/arm/Instructions.h"
#include "passes/target/arm/Registers.h"
#include "passes/target/common/DotChain.h"
#include "passes/target/common/VectorPieces.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <map>

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Codes of two planes: (upper << k) | lower, where `upper` takes the bits from
/// k on and `lower` those below. LLVM knows an instruction for lower bits that
/// are shifted, and no instruction for those of either end.
struct JoinPlanes final : OpRewritePattern<arith::OrIOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::OrIOp op,
                                PatternRewriter &rewriter) const override {
    auto type = dyn_cast<VectorType>(op.getType());
    if (!type || type.getRank() != 1 || !type.getElementType().isInteger(8) ||
        type.getNumElements() % arm::kBytes)
      return failure();
    auto shift = op.getRhs().getDefiningOp<arith::ShLIOp>();
    std::optional<APInt> amount =
        shift ? arm::findSplat(shift.getRhs()) : std::nullopt;
    if (!amount || amount->uge(8))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    unsigned bits = amount->getZExtValue();
    Value joined = joinLow(b, type, op.getLhs(), shift.getLhs(), bits);
    if (!joined)
      joined = joinHigh(b, type, op.getLhs(), shift.getLhs(), bits);
    if (!joined)
      return failure();
    rewriter.replaceOp(op, joined);
    return success();
  }

private:
  /// What an instruction makes of the registers of `into` and `from`.
  static Value insert(KernelBuilder &b, VectorType type, StringRef name,
                      Value into, Value from, unsigned bits) {
    auto bytes = VectorType::get(arm::kBytes, b.getI8Type());
    Value amount = b.integer(b.getI32Type(), bits);
    return splitVector(b, type, arm::kBytes, [&](int64_t first) {
      return callIntrinsic(b, name, bytes,
                           {b.extract(into, first, arm::kBytes),
                            b.extract(from, first, arm::kBytes), amount});
    });
  }

  /// Both at the lower end of their bytes: (high & mask) << bits | (low &
  /// mask).
  static Value joinLow(KernelBuilder &b, VectorType type, Value lower,
                       Value upper, unsigned bits) {
    auto low = lower.getDefiningOp<arith::AndIOp>(),
         high = upper.getDefiningOp<arith::AndIOp>();
    // Another shift would cost what the instruction saves.
    if (!low || !high || low.getLhs().getDefiningOp<arith::ShRUIOp>() ||
        high.getLhs().getDefiningOp<arith::ShRUIOp>())
      return nullptr;
    std::optional<APInt> lowMask = arm::findSplat(low.getRhs()),
                         highMask = arm::findSplat(high.getRhs());
    if (!lowMask || !highMask || !lowMask->isMask(bits))
      return nullptr;
    Value joined =
        insert(b, type, arm::kSli, low.getLhs(), high.getLhs(), bits);
    APInt mask = *lowMask | highMask->shl(bits);
    return arith::AndIOp::create(b, joined,
                                 b.integer(type, mask.getSExtValue()));
  }

  /// The bytes whose upper bits `value` has at the lower end, and how many
  /// bits.
  static std::optional<std::pair<Value, unsigned>> findUpper(Value value) {
    std::optional<APInt> mask;
    if (auto masked = value.getDefiningOp<arith::AndIOp>()) {
      mask = arm::findSplat(masked.getRhs());
      if (!mask)
        return std::nullopt;
      value = masked.getLhs();
    }
    auto shift = value.getDefiningOp<arith::ShRUIOp>();
    std::optional<APInt> amount =
        shift ? arm::findSplat(shift.getRhs()) : std::nullopt;
    if (!amount || amount->isZero() || amount->uge(8))
      return std::nullopt;
    unsigned bits = 8 - amount->getZExtValue();
    if (mask && !mask->isMask(bits))
      return std::nullopt;
    return std::pair(shift.getLhs(), bits);
  }

  /// Both at the upper end: (high >> (8 - n)) << bits | low >> (8 - bits).
  static Value joinHigh(KernelBuilder &b, VectorType type, Value lower,
                        Value upper, unsigned bits) {
    auto low = findUpper(lower), high = findUpper(upper);
    if (!low || !high || low->second != bits || bits + high->second > 8)
      return nullptr;
    unsigned count = high->second;
    Value joined = insert(b, type, arm::kSri, high->first, low->first, count);
    return arith::ShRUIOp::create(b, joined, b.integer(type, 8 - bits - count));
  }
};

/// Codes that are shifted and masked, (bytes >> n) & mask, in a chain of
/// products: those with the same n are masked where they are and have a sum of
/// their own, which is shifted in their place. One shift instead of several.
struct ShiftSums final : OpRewritePattern<Dot4Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(Dot4Op op,
                                PatternRewriter &rewriter) const override {
    if (!findCode(op))
      return failure();
    Dot4Op last = op;
    while (isLink(last))
      last = cast<Dot4Op>(*last->user_begin());
    SmallVector<Dot4Op> chain = collectChain(last);
    // How many codes a shift has.
    std::map<unsigned, int64_t> counts;
    for (Dot4Op step : chain)
      if (auto code = findCode(step))
        ++counts[code->shift];
    if (llvm::none_of(counts, [](auto count) { return count.second > 1; }))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    Type type = op.getType();
    Value sum = chain.front().getAcc();
    std::map<unsigned, Value> shifted;
    for (Dot4Op step : chain) {
      b.setInsertionPoint(step);
      std::optional<Code> code = findCode(step);
      if (!code || counts[code->shift] == 1) {
        sum = Dot4Op::create(b, type, step.getCodes(), step.getX(), sum,
                             step.getBits(), step.getSignedCodes());
        continue;
      }
      Value &ofShift = shifted[code->shift];
      if (!ofShift)
        ofShift = b.zero(type);
      APInt mask = code->mask.shl(code->shift);
      Value codes = arith::AndIOp::create(
          b, code->bytes,
          b.integer(code->bytes.getType(), mask.getSExtValue()));
      ofShift = Dot4Op::create(b, type, codes, step.getX(), ofShift,
                               mask.getActiveBits(), /*signed_codes=*/false);
    }
    for (auto [shift, more] : shifted) {
      more = arith::ShRSIOp::create(b, more, b.integer(type, shift));
      sum = arith::AddIOp::create(b, sum, more);
    }
    rewriter.replaceOp(last, sum);
    return success();
  }

private:
  struct Code {
    Value bytes;
    unsigned shift;
    APInt mask;
  };

  /// The codes of `op` where nothing else takes them and those of a sum of
  /// their own are signed bytes.
  static std::optional<Code> findCode(Dot4Op op) {
    auto masked = op.getCodes().getDefiningOp<arith::AndIOp>();
    auto shift =
        masked ? masked.getLhs().getDefiningOp<arith::ShRUIOp>() : nullptr;
    if (!shift || !masked->hasOneUse() || !shift->hasOneUse())
      return std::nullopt;
    std::optional<APInt> mask = arm::findSplat(masked.getRhs()),
                         amount = arm::findSplat(shift.getRhs());
    if (!mask || !amount || amount->uge(8) ||
        mask->getActiveBits() + amount->getZExtValue() > 7)
      return std::nullopt;
    return Code{shift.getLhs(), unsigned(amount->getZExtValue()), *mask};
  }
};

} // namespace

void arm::addPlanes(RewritePatternSet &patterns) {
  patterns.add<JoinPlanes>(patterns.getContext());
}

void arm::addShiftedSums(RewritePatternSet &patterns) {
  // Before the products become instructions one by one.
  patterns.add<ShiftSums>(patterns.getContext(), /*benefit=*/2);
}

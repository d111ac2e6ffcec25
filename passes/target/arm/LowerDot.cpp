// SPDX-License-Identifier: Apache-2.0
//
// lumen.dot4, lumen.mma and lumen.lookup as AArch64's instructions.
#include "passes/target/arm/Arm.h"
#include "passes/target/arm/Instructions.h"
#include "passes/target/arm/Registers.h"
#include "passes/target/common/Bf16Dot.h"
#include "passes/target/common/DotChain.h"
#include "passes/target/common/VectorPieces.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Sums of 32 bits in a register.
constexpr int64_t kLanes = arm::kBytes / 4;

bool fit(VectorType sums) { return sums.getNumElements() % kLanes == 0; }

/// Whether instructions for signed codes take those of `op` as they are.
bool isSigned(Dot4Op op) { return op.getSignedCodes() || op.getBits() < 8; }

/// Unsigned codes of 8 bits as signed ones, which are less by 128: that goes in
/// two codes of 64.
struct SignCodes final : OpRewritePattern<Dot4Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(Dot4Op op,
                                PatternRewriter &rewriter) const override {
    if (isSigned(op))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    auto bytes = cast<VectorType>(op.getCodes().getType());
    Value sum = op.getAcc(), half = b.integer(bytes, 64);
    auto add = [&](Value codes, bool isSigned) {
      sum = Dot4Op::create(b, op.getType(), codes, op.getX(), sum,
                           isSigned ? 8 : 7, isSigned);
    };
    add(half, false);
    add(half, false);
    add(arith::XOrIOp::create(b, op.getCodes(), b.integer(bytes, -128)), true);
    rewriter.replaceOp(op, sum);
    return success();
  }
};

/// Four products of bytes, added to 32-bit lanes by one instruction, which
/// takes the four activations from any lane of a register.
struct LowerDot4 final : OpRewritePattern<Dot4Op> {
  LowerDot4(MLIRContext *context, bool hasUsdot)
      : OpRewritePattern(context), hasUsdot(hasUsdot) {}

  LogicalResult matchAndRewrite(Dot4Op op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<VectorType>(op.getAcc().getType());
    if (!fit(type) || !(isSigned(op) || hasUsdot))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    auto words = VectorType::get(kLanes, b.getI32Type());
    Value x = arm::spreadStep(b, op.getX());
    StringRef name = isSigned(op) ? arm::kSdot : arm::kUsdot;
    rewriter.replaceOp(
        op, splitVector(b, type, kLanes, [&](int64_t first) -> Value {
          Value codes = b.extract(op.getCodes(), 4 * first, arm::kBytes);
          Value acc = arm::startSum(b, op.getAcc(), first);
          return callIntrinsic(b, name, words, {acc, codes, x});
        }));
    return success();
  }

private:
  bool hasUsdot;
};

/// Products of 16 bits, of which as many steps are added up there as fit, then
/// pairs of them in 32 bits.
struct LowerDot4InProducts final : OpRewritePattern<Dot4Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(Dot4Op op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<VectorType>(op.getAcc().getType());
    if (!fit(type) || isLink(op))
      return failure();
    SmallVector<Dot4Op> chain = collectChain(op);
    if (!llvm::all_of(chain, isSigned))
      return failure(); // until they are
    KernelBuilder b(op.getLoc(), rewriter);
    auto activations = spreadActivations(
        b, chain, [&](Value x) { return arm::keep(b, arm::spreadStep(b, x)); });
    rewriter.replaceOp(op, splitVector(b, type, kLanes, [&](int64_t first) {
                         return emit(b, chain, activations, first);
                       }));
    return success();
  }

private:
  /// The sums in the lanes from `first` on. A row has four products in
  /// consecutive lanes, so two registers hold those of four rows.
  static Value emit(KernelBuilder &b, ArrayRef<Dot4Op> chain,
                    const DenseMap<Operation *, Value> &activations,
                    int64_t first);
};

Value LowerDot4InProducts::emit(KernelBuilder &b, ArrayRef<Dot4Op> chain,
                                const DenseMap<Operation *, Value> &activations,
                                int64_t first) {
  auto words = VectorType::get(kLanes, b.getI32Type()),
       halves = VectorType::get(2 * kLanes, b.getI16Type());
  NarrowSums sums = {1, llvm::maxIntN(16)};
  auto add = [&](Value sum, Value more) {
    return sum ? arith::AddIOp::create(b, sum, more).getResult() : more;
  };
  // Sums of rows, and of the pairs of both registers.
  Value acc, pairs[2];
  Dot4Op start = chain.front();
  for (ArrayRef<Dot4Op> run : sums.splitRuns(chain)) {
    Value products[2];
    int64_t most = 0;
    for (Dot4Op step : run) {
      b.setInsertionPoint(step);
      most += sums.getMost(step);
      for (int64_t i : {0, 1}) {
        // The upper halves of both, which another instruction takes.
        int64_t half = arm::kBytes / 2, begin = i * half;
        Value codes = b.extract(step.getCodes(), 4 * first + begin, half);
        Value x = b.extract(activations.at(step), begin, half);
        products[i] =
            add(products[i], callIntrinsic(b, arm::kSmull, halves, {codes, x}));
      }
    }
    if (2 * most <= sums.limit) {
      // Pairs fit 16 bits too.
      Value both = callIntrinsic(b, arm::kAddp16, halves, products);
      if (!acc)
        acc = b.extract(start.getAcc(), first, kLanes);
      acc = add(acc, callIntrinsic(b, arm::kSaddlp, words, both));
      continue;
    }
    for (int64_t i : {0, 1})
      pairs[i] =
          add(pairs[i], callIntrinsic(b, arm::kSaddlp, words, products[i]));
  }
  if (!acc)
    acc = b.extract(start.getAcc(), first, kLanes);
  if (pairs[0])
    acc = add(acc, callIntrinsic(b, arm::kAddp32, words, pairs));
  return acc;
}

/// Matrices of 2 x 8 bytes, or of 1 x 4 and 4 x 4, by one instruction.
struct LowerMma final : OpRewritePattern<MmaOp> {
  LowerMma(MLIRContext *context, TargetAttr target)
      : OpRewritePattern(context), target(target) {}

  LogicalResult matchAndRewrite(MmaOp op,
                                PatternRewriter &rewriter) const override {
    StringRef name = arm::findMma(target, op.getShape());
    if (name.empty())
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    Value sum = arm::startSum(b, op.getAcc(), 0);
    SmallVector<Value> operands = {sum, op.getLhs(), op.getRhs()};
    if (op.getShape().getM() == 1)
      operands = {sum, op.getRhs(), arm::spreadStep(b, op.getLhs())};
    rewriter.replaceOp(op, callIntrinsic(b, name, op.getType(), operands));
    return success();
  }

private:
  TargetAttr target;
};

struct LowerLookup final : OpRewritePattern<LookupOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LookupOp op,
                                PatternRewriter &rewriter) const override {
    auto type = dyn_cast<VectorType>(op.getType());
    if (!type || type.getRank() != 1 || type.getNumElements() % arm::kBytes)
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    SmallVector<int8_t> entries(op.getTable());
    entries.resize(arm::kBytes, 0);
    auto bytes = VectorType::get(arm::kBytes, b.getI8Type());
    Value table = arith::ConstantOp::create(
        b, DenseElementsAttr::get(bytes, ArrayRef(entries)));
    rewriter.replaceOp(
        op, splitVector(b, type, arm::kBytes, [&](int64_t first) {
          return callIntrinsic(
              b, arm::kTbl, bytes,
              {table, b.extract(op.getIndex(), first, arm::kBytes)});
        }));
    return success();
  }
};

} // namespace

LogicalResult
Arm::addInstructions(TargetAttr target, RewritePatternSet &patterns,
                     function_ref<InFlightDiagnostic()> emitError) const {
  std::optional<arm::DotForm> form = arm::findDot(target);
  if (!form)
    return emitError() << "no instruction of aarch64 is known for "
                       << target.getDot();
  if (target.getPairDot())
    return emitError() << "no instruction of aarch64 is known for "
                       << target.getPairDot();
  MLIRContext *context = patterns.getContext();
  patterns.add<LowerLookup>(context);
  patterns.add<LowerMma>(context, target);
  if (target.getBf16Dot() && target.hasFeature("bf16"))
    patterns.add<LowerBf16Dot2>(context, arm::kBfdot, kLanes, arm::spreadPair);
  arm::addPlanes(patterns);
  arm::addFactors(patterns);
  arm::addNarrowBits(patterns);
  arm::addAddends(patterns);
  arm::addExtensions(patterns);
  arm::addInvariantReads(patterns);
  arm::addPrefetches(patterns, target.getCacheLine());
  switch (*form) {
  case arm::DotForm::None:
    break;
  case arm::DotForm::Products:
    patterns.add<SignCodes, LowerDot4InProducts>(context);
    break;
  case arm::DotForm::Dots:
    patterns.add<LowerDot4>(context, arm::hasUsdot(target));
    arm::addShiftedSums(patterns);
    arm::addSpreading(patterns);
    arm::addLaneFactors(patterns);
    if (!arm::hasUsdot(target))
      patterns.add<SignCodes>(context);
    if (!arm::hasUsdot(target))
      arm::addBeginnings(patterns);
    break;
  }
  return success();
}

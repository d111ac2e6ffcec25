// SPDX-License-Identifier: Apache-2.0
//
// lumen.dot4, lumen.dot2 and lumen.lookup as WebAssembly's instructions, and
// what LLVM would call a library for.
#include "passes/target/common/DotChain.h"
#include "passes/target/common/VectorPieces.h"
#include "passes/target/wasm/Wasm.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Bytes of a vector register, and sums of 32 bits in it.
constexpr int64_t kBytes = 16, kLanes = 4;

// LLVM's intrinsics.
/// Pairs of 16 bits, each to a sum of 32.
constexpr StringLiteral kDot = "llvm.wasm.dot";
/// Four signed bytes times bytes of 7 bits, added to a sum of 32 bits.
constexpr StringLiteral kRelaxedDot =
    "llvm.wasm.relaxed.dot.i8x16.i7x16.add.signed";
/// The bytes of a table of 16 at indices; 0 for indices behind its end.
constexpr StringLiteral kSwizzle = "llvm.wasm.swizzle";
/// The same, where indices behind its end give what the engine likes.
constexpr StringLiteral kRelaxedSwizzle = "llvm.wasm.relaxed.swizzle";

bool isWhole(VectorType sums) { return sums.getNumElements() % kLanes == 0; }

Value addTo(KernelBuilder &b, Value sum, Value more) {
  return sum ? arith::AddIOp::create(b, sum, more).getResult() : more;
}

/// Codes and activations of 16 bits, of which an instruction adds the products
/// of two. A row has two of these sums, which meet behind the chain.
struct LowerDot4InPairs final : OpRewritePattern<Dot4Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(Dot4Op op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<VectorType>(op.getAcc().getType());
    if (!isWhole(type) || isLink(op))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    SmallVector<Dot4Op> chain = collectChain(op);
    auto halves = VectorType::get(2 * kLanes, b.getI16Type());
    auto activations = spreadActivations(b, chain, [&](Value x) -> Value {
      x = spread(b, x, VectorType::get(kBytes, b.getI8Type()));
      return arith::ExtSIOp::create(b, halves, b.extract(x, 0, kBytes / 2));
    });
    rewriter.replaceOp(op, splitVector(b, type, kLanes, [&](int64_t first) {
                         return emit(b, chain, activations, first);
                       }));
    return success();
  }

private:
  static Value emit(KernelBuilder &b, ArrayRef<Dot4Op> chain,
                    const DenseMap<Operation *, Value> &activations,
                    int64_t first);
};

Value LowerDot4InPairs::emit(KernelBuilder &b, ArrayRef<Dot4Op> chain,
                             const DenseMap<Operation *, Value> &activations,
                             int64_t first) {
  auto halves = VectorType::get(2 * kLanes, b.getI16Type()),
       words = VectorType::get(kLanes, b.getI32Type());
  // Of the first two rows, and of the others.
  Value sums[2];
  for (Dot4Op step : chain) {
    b.setInsertionPoint(step);
    for (int64_t i : {0, 1}) {
      Value codes =
          b.extract(step.getCodes(), 4 * first + i * kBytes / 2, kBytes / 2);
      codes = step.getSignedCodes()
                  ? arith::ExtSIOp::create(b, halves, codes).getResult()
                  : arith::ExtUIOp::create(b, halves, codes).getResult();
      sums[i] =
          addTo(b, sums[i],
                callIntrinsic(b, kDot, words, {codes, activations.at(step)}));
    }
  }
  Dot4Op start = chain.front();
  Value acc = b.extract(start.getAcc(), first, kLanes);
  for (int64_t i : {0, 1}) {
    int64_t ofPair[] = {i, i + 2, i + 4, i + 6};
    acc = arith::AddIOp::create(
        b, acc, vector::ShuffleOp::create(b, sums[0], sums[1], ofPair));
  }
  return acc;
}

/// What the relaxed instruction takes: unsigned codes of at most 7 bits.
struct LowerDot4Relaxed final : OpRewritePattern<Dot4Op> {
  LowerDot4Relaxed(MLIRContext *context)
      : OpRewritePattern(context, /*benefit=*/2) {}

  LogicalResult matchAndRewrite(Dot4Op op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<VectorType>(op.getAcc().getType());
    if (!isWhole(type) || op.getSignedCodes() || op.getBits() == 8)
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    auto words = VectorType::get(kLanes, b.getI32Type());
    Value x = spread(b, op.getX(), VectorType::get(kBytes, b.getI8Type()));
    rewriter.replaceOp(
        op, splitVector(b, type, kLanes, [&](int64_t first) -> Value {
          Value codes = b.extract(op.getCodes(), 4 * first, kBytes);
          Value acc = b.extract(op.getAcc(), first, kLanes);
          return callIntrinsic(b, kRelaxedDot, words, {x, codes, acc});
        }));
    return success();
  }
};

struct LowerDot2 final : OpRewritePattern<Dot2Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(Dot2Op op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<VectorType>(op.getAcc().getType());
    if (!isWhole(type))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    auto words = VectorType::get(kLanes, b.getI32Type());
    auto halves = VectorType::get(2 * kLanes, b.getI16Type());
    bool laneWise = op.getX().getType() == op.getCodes().getType();
    Value same = laneWise ? Value() : spread(b, op.getX(), halves);
    rewriter.replaceOp(
        op, splitVector(b, type, kLanes, [&](int64_t first) -> Value {
          Value codes = b.extract(op.getCodes(), 2 * first, 2 * kLanes);
          Value x =
              laneWise ? b.extract(op.getX(), 2 * first, 2 * kLanes) : same;
          return arith::AddIOp::create(
              b, b.extract(op.getAcc(), first, kLanes),
              callIntrinsic(b, kDot, words, {codes, x}));
        }));
    return success();
  }
};

struct LowerLookup final : OpRewritePattern<LookupOp> {
  LowerLookup(MLIRContext *context, StringRef swizzle)
      : OpRewritePattern(context), swizzle(swizzle) {}

  LogicalResult matchAndRewrite(LookupOp op,
                                PatternRewriter &rewriter) const override {
    auto type = dyn_cast<VectorType>(op.getType());
    if (!type || type.getRank() != 1 || type.getNumElements() % kBytes)
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    SmallVector<int8_t> entries(op.getTable());
    entries.resize(kBytes, 0);
    auto bytes = VectorType::get(kBytes, b.getI8Type());
    Value table = arith::ConstantOp::create(
        b, DenseElementsAttr::get(bytes, ArrayRef(entries)));
    rewriter.replaceOp(op, splitVector(b, type, kBytes, [&](int64_t first) {
                         return callIntrinsic(
                             b, swizzle, bytes,
                             {table, b.extract(op.getIndex(), first, kBytes)});
                       }));
    return success();
  }

private:
  StringRef swizzle;
};

/// The largest lane, or NaN where all are. LLVM would call fmaxf for lanes.
struct ExpandMaximum final : OpRewritePattern<vector::ReductionOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(vector::ReductionOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getKind() != vector::CombiningKind::MAXNUMF || op.getAcc())
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    bool noNan =
        arith::bitEnumContainsAll(op.getFastmath(), arith::FastMathFlags::nnan);
    auto compare = [&](arith::CmpFPredicate predicate, Value x, Value y) {
      return arith::CmpFOp::create(b, predicate, x, y).getResult();
    };
    auto larger = [&](Value x, Value y) -> Value {
      Value isX = compare(arith::CmpFPredicate::OGT, x, y);
      if (!noNan)
        isX = arith::OrIOp::create(b, isX,
                                   compare(arith::CmpFPredicate::UNO, y, y));
      return arith::SelectOp::create(b, isX, x, y);
    };
    Value most = op.getVector(), odd;
    for (int64_t lanes = getLanes(most); lanes > 1; lanes /= 2) {
      if (lanes % 2) {
        Value last = b.extract(most, lanes - 1, 1);
        odd = odd ? larger(odd, last) : last;
      }
      most = larger(b.extract(most, 0, lanes / 2),
                    b.extract(most, lanes / 2, lanes / 2));
    }
    if (odd)
      most = larger(most, odd);
    rewriter.replaceOpWithNewOp<vector::ExtractOp>(op, most, 0);
    return success();
  }
};

/// bf16, whose bits are the upper ones of f32. LLVM cannot load single values.
struct ExpandBf16 final : OpRewritePattern<arith::ExtFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::ExtFOp op,
                                PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getIn().getType()).isBF16() ||
        !getElementTypeOrSelf(op.getType()).isF32())
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    auto shaped = [&](Type element) -> Type {
      auto vector = dyn_cast<VectorType>(op.getType());
      return vector ? vector.clone(element) : element;
    };
    Type words = shaped(b.getI32Type());
    Value bits =
        arith::BitcastOp::create(b, shaped(b.getI16Type()), op.getIn());
    bits = arith::ExtUIOp::create(b, words, bits);
    bits = arith::ShLIOp::create(b, bits, b.integer(words, 16));
    rewriter.replaceOpWithNewOp<arith::BitcastOp>(op, op.getType(), bits);
    return success();
  }
};

} // namespace

static bool isPairs(DotAttr dot) {
  return dot.getM() == 1 && dot.getN() == kLanes && dot.getK() == 2 &&
         dot.getLhs().isSignedInteger(16) && dot.getRhs().isSignedInteger(16) &&
         dot.getAcc().isInteger(32) && !dot.getAccumulates();
}

static bool hasRelaxed(TargetAttr target) {
  SmallVector<StringRef> features;
  target.getFeatures().split(features, ',');
  return llvm::is_contained(features, "+relaxed-simd");
}

/// Whether the instruction of LowerDot4Relaxed computes it.
static bool isRelaxed(TargetAttr target, DotAttr dot) {
  return hasRelaxed(target) && dot.getM() == 1 && dot.getN() == kLanes &&
         dot.getK() == 4 && dot.getLhs().isSignedInteger(8) &&
         dot.getRhs().isUnsignedInteger(8) && dot.getAcc().isInteger(32) &&
         dot.getAccumulates();
}

LogicalResult
Wasm::addInstructions(TargetAttr target, RewritePatternSet &patterns,
                      function_ref<InFlightDiagnostic()> emitError) const {
  DotAttr dot = target.getDot(), pairDot = target.getPairDot();
  for (auto [each, known] : {std::pair(dot, dot && isRelaxed(target, dot)),
                             std::pair(pairDot, pairDot && isPairs(pairDot))})
    if (each && !known)
      return emitError() << "no instruction of wasm32 is known for " << each;
  MLIRContext *context = patterns.getContext();
  patterns.add<LowerLookup>(context,
                            hasRelaxed(target) ? kRelaxedSwizzle : kSwizzle);
  patterns.add<ExpandMaximum, ExpandBf16>(context);
  if (dot)
    patterns.add<LowerDot4Relaxed>(context);
  if (pairDot)
    patterns.add<LowerDot2, LowerDot4InPairs>(context);
  return success();
}

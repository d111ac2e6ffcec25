// SPDX-License-Identifier: Apache-2.0
//
// lumen.dot4, lumen.dot2 and lumen.lookup as x86's instructions.
#include "passes/target/common/Bf16Dot.h"
#include "passes/target/common/DotChain.h"
#include "passes/target/common/VectorPieces.h"
#include "passes/target/x86/Instructions.h"
#include "passes/target/x86/X86.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// What the target's dot products and byte vectors are on x86.
struct Instructions {
  TargetAttr target;
  /// Intrinsics of `dot` and `pair_dot`; empty where the target has none.
  StringRef dot, pairDot;
  x86::ByteInstructions bytes;

  /// Lanes of 32 bits.
  int64_t getLanes() const { return target.getLanes(); }
  bool fit(VectorType sums) const {
    return sums.getNumElements() % getLanes() == 0;
  }
};

template <typename Op> struct Lowering : OpRewritePattern<Op> {
  Lowering(MLIRContext *context, const Instructions &instructions)
      : OpRewritePattern<Op>(context), instructions(instructions) {}
  const Instructions instructions;
};

/// Four products of bytes, added to 32-bit lanes by one instruction.
struct LowerDot4 final : Lowering<Dot4Op> {
  using Lowering::Lowering;

  LogicalResult matchAndRewrite(Dot4Op op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<VectorType>(op.getAcc().getType());
    if (!instructions.fit(type))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    int64_t size = instructions.getLanes();
    auto words = VectorType::get(size, b.getI32Type());
    auto bytes = VectorType::get(4 * size, b.getI8Type());
    Value x = spread(b, op.getX(), bytes);
    Value result = splitVector(b, type, size, [&](int64_t first) -> Value {
      Value codes = b.extract(op.getCodes(), 4 * first, 4 * size);
      Value acc = b.extract(op.getAcc(), first, size);
      if (!op.getSignedCodes())
        return callIntrinsic(b, instructions.dot, words, {acc, codes, x});
      // The instruction takes them with 128 added, which is subtracted again.
      Value bias = b.integer(bytes, -128);
      codes = arith::XOrIOp::create(b, codes, bias);
      Value sum = callIntrinsic(b, instructions.dot, words, {acc, codes, x});
      Value added = callIntrinsic(b, instructions.dot, words,
                                  {b.integer(words, 0), bias, x});
      return arith::SubIOp::create(b, sum, added);
    });
    rewriter.replaceOp(op, result);
    return success();
  }
};

/// Bytes to pairs of 16 bits to words. As many steps are added up in 16 bits
/// as fit there, and no sum waits there for longer than that: of each token
/// it would take a register. A pair of unsigned 8-bit codes does not fit
/// (255 * 127 * 2 > 32767), so their top bit goes its own way. Signed ones
/// do: the sign moves to the activations (128 * 127 * 2 < 32768).
struct LowerDot4InPairs final : Lowering<Dot4Op> {
  using Lowering::Lowering;

  LogicalResult matchAndRewrite(Dot4Op op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<VectorType>(op.getAcc().getType());
    if (!instructions.fit(type) || isLink(op))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    rewriter.replaceOp(op, emit(b, collectChain(op), type));
    return success();
  }

private:
  Value emit(KernelBuilder &b, ArrayRef<Dot4Op> chain,
             VectorType accType) const;
  Value negateWhere(KernelBuilder &b, Value x, Value codes) const;
};

/// Moves what only spreads `value` over the lanes to `op`, so that it needs
/// no register before. The load follows when instructions are selected.
void sink(Value value, Operation *op) {
  Operation *maker = value.getDefiningOp();
  if (!maker || !maker->hasOneUse() || maker->getBlock() != op->getBlock() ||
      !isMemoryEffectFree(maker))
    return;
  maker->moveBefore(op);
  for (Value operand : maker->getOperands())
    sink(operand, maker);
}

Value LowerDot4InPairs::emit(KernelBuilder &b, ArrayRef<Dot4Op> chain,
                             VectorType accType) const {
  int64_t size = instructions.getLanes();
  auto words = VectorType::get(size, b.getI32Type());
  auto bytes = VectorType::get(4 * size, b.getI8Type());
  auto halves = VectorType::get(2 * size, b.getI16Type());
  DotAttr dot = instructions.target.getDot();
  NarrowSums sums = {dot.getK(), llvm::maxIntN(dot.getAcc().getWidth())};
  // Each step stays where it is, so that the steps of several tokens, which
  // share their codes, stay interleaved.
  DenseMap<Operation *, Value> activations;
  for (Dot4Op op : chain) {
    b.setInsertionPoint(op);
    activations[op] = spread(b, op.getX(), bytes);
  }
  SmallVector<ArrayRef<Dot4Op>> runs = sums.splitRuns(chain);
  Dot4Op start = chain.front();
  Value initial = start.getAcc();
  sink(initial, runs.front().back());
  return splitVector(b, accType, size, [&](int64_t first) -> Value {
    Value acc;
    auto multiply = [&](Value codes, Value x) {
      return callIntrinsic(b, instructions.dot, halves, {codes, x});
    };
    auto addPairs = [&](Value pairs, int64_t weight) {
      if (!acc)
        acc = b.extract(initial, first, size);
      Value sum = callIntrinsic(b, instructions.pairDot, words,
                                {pairs, b.integer(halves, weight)});
      acc = arith::AddIOp::create(b, acc, sum);
    };
    for (ArrayRef<Dot4Op> run : runs) {
      Value pairs;
      for (Dot4Op op : run) {
        b.setInsertionPoint(op);
        Value x = activations[op];
        Value codes = b.extract(op.getCodes(), 4 * first, 4 * size);
        if (op.getSignedCodes()) {
          // -128 becomes 128, as an unsigned byte.
          Value negated = arith::SubIOp::create(b, b.integer(bytes, 0), codes);
          Value magnitude = arith::MaxSIOp::create(b, codes, negated);
          x = negateWhere(b, x, codes);
          codes = magnitude;
        } else if (!sums.hold(op)) {
          Value top = arith::ShRUIOp::create(b, codes, b.integer(bytes, 7));
          addPairs(multiply(top, x), 128);
          codes = arith::AndIOp::create(b, codes, b.integer(bytes, 127));
        }
        Value more = multiply(codes, x);
        pairs =
            pairs ? arith::AddIOp::create(b, pairs, more).getResult() : more;
      }
      addPairs(pairs, 1);
    }
    return acc;
  });
}

/// `x`, negated where `codes` are negative.
Value LowerDot4InPairs::negateWhere(KernelBuilder &b, Value x,
                                    Value codes) const {
  if (!instructions.bytes.negate.empty())
    return callIntrinsic(b, instructions.bytes.negate, x.getType(), {x, codes});
  Value zero = b.integer(cast<VectorType>(x.getType()), 0);
  Value isNegative =
      arith::CmpIOp::create(b, arith::CmpIPredicate::slt, codes, zero);
  return arith::SelectOp::create(b, isNegative,
                                 arith::SubIOp::create(b, zero, x), x);
}

struct LowerDot2 final : Lowering<Dot2Op> {
  using Lowering::Lowering;

  LogicalResult matchAndRewrite(Dot2Op op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<VectorType>(op.getAcc().getType());
    if (!instructions.fit(type) || op.isFloat())
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    int64_t size = instructions.getLanes();
    auto words = VectorType::get(size, b.getI32Type());
    auto halves = VectorType::get(2 * size, b.getI16Type());
    bool laneWise = op.getX().getType() == op.getCodes().getType();
    bool accumulates = instructions.target.getPairDot().getAccumulates();
    Value same = laneWise ? Value() : spread(b, op.getX(), halves);
    Value result = splitVector(b, type, size, [&](int64_t first) -> Value {
      Value codes = b.extract(op.getCodes(), 2 * first, 2 * size);
      Value x = laneWise ? b.extract(op.getX(), 2 * first, 2 * size) : same;
      Value acc = b.extract(op.getAcc(), first, size);
      if (accumulates)
        return callIntrinsic(b, instructions.pairDot, words, {acc, codes, x});
      Value sums = callIntrinsic(b, instructions.pairDot, words, {codes, x});
      return arith::AddIOp::create(b, acc, sums);
    });
    rewriter.replaceOp(op, result);
    return success();
  }
};

struct LowerLookup final : Lowering<LookupOp> {
  using Lowering::Lowering;

  LogicalResult matchAndRewrite(LookupOp op,
                                PatternRewriter &rewriter) const override {
    auto type = dyn_cast<VectorType>(op.getType());
    int64_t size = 4 * instructions.getLanes();
    if (!type || type.getRank() != 1 || type.getNumElements() % size)
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    // The shuffle works inside 128-bit lanes: the table stands in each.
    SmallVector<int8_t> entries(size, 0);
    for (int64_t i = 0; i < size; ++i)
      if (i % 16 < int64_t(op.getTable().size()))
        entries[i] = op.getTable()[i % 16];
    auto bytes = VectorType::get(size, b.getI8Type());
    Value table = arith::ConstantOp::create(
        b, DenseElementsAttr::get(bytes, ArrayRef(entries)));
    Value result = splitVector(b, type, size, [&](int64_t first) {
      return callIntrinsic(b, instructions.bytes.shuffle, bytes,
                           {table, b.extract(op.getIndex(), first, size)});
    });
    rewriter.replaceOp(op, result);
    return success();
  }
};

} // namespace

LogicalResult
X86::addInstructions(TargetAttr target, RewritePatternSet &patterns,
                     function_ref<InFlightDiagnostic()> emitError) const {
  DotAttr dot = target.getDot(), pairDot = target.getPairDot();
  for (DotAttr each : {dot, pairDot})
    if (each && x86::findDot(each).empty())
      return emitError() << "no instruction of x86_64 is known for " << each;
  Instructions found = {target, dot ? x86::findDot(dot) : StringRef(),
                        pairDot ? x86::findDot(pairDot) : StringRef(),
                        x86::findBytes(target.getVectorBits())};
  MLIRContext *context = patterns.getContext();
  x86::addTiles(patterns, target);
  if (pairDot)
    patterns.add<LowerDot2>(context, found);
  if (StringRef name = x86::findBf16Dot(target); !name.empty())
    patterns.add<LowerBf16Dot2>(context, name, target.getLanes());
  if (!dot)
    return success();
  // What multiplies bytes came with what shuffles them.
  patterns.add<LowerLookup>(context, found);
  if (dot.getAcc().getWidth() == 32) {
    patterns.add<LowerDot4>(context, found);
    return success();
  }
  if (!pairDot || pairDot.getAccumulates())
    return emitError() << "sums of " << dot
                       << " need a pair_dot that does not accumulate";
  patterns.add<LowerDot4InPairs>(context, found);
  return success();
}

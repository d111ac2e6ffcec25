// SPDX-License-Identifier: Apache-2.0
//
// Lowers lumen.dot4, lumen.dot2 and lumen.lookup to what the target has. This
// file and the table of targets are all that knows instructions.
#include "passes/support/Dot4.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_LOWERDOT4PASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// The instructions of one implementation of dot4, for vectors of `bits` bits.
struct Dot4Instructions {
  StringRef name;
  int64_t bits;
  /// u8 x s8, four at a time, added to i32 lanes; empty where the target has
  /// none.
  StringRef dot;
  /// i16 x i16, two at a time, added to i32 lanes; empty where the target has
  /// none.
  StringRef dotPairs;
  /// u8 x s8 to pairs of i16 (saturating), and pairs of i16 to i32.
  StringRef multiplyBytes, addPairs;
  /// Byte shuffle inside 128-bit lanes.
  StringRef shuffle;
  /// Bytes of the first operand, negated where the second is negative; empty
  /// where a mask does it.
  StringRef negate;
};

constexpr Dot4Instructions kInstructions[] = {
    {"avx512vnni", 512, "llvm.x86.avx512.vpdpbusd.512",
     "llvm.x86.avx512.vpdpwssd.512", "llvm.x86.avx512.pmaddubs.w.512",
     "llvm.x86.avx512.pmaddw.d.512", "llvm.x86.avx512.pshuf.b.512"},
    {"avx512bw", 512, "", "", "llvm.x86.avx512.pmaddubs.w.512",
     "llvm.x86.avx512.pmaddw.d.512", "llvm.x86.avx512.pshuf.b.512"},
    {"avxvnni", 256, "llvm.x86.avx512.vpdpbusd.256",
     "llvm.x86.avx512.vpdpwssd.256", "llvm.x86.avx2.pmadd.ub.sw",
     "llvm.x86.avx2.pmadd.wd", "llvm.x86.avx2.pshuf.b",
     "llvm.x86.avx2.psign.b"},
    {"avx2", 256, "", "", "llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd",
     "llvm.x86.avx2.pshuf.b", "llvm.x86.avx2.psign.b"},
    {"ssse3", 128, "", "", "llvm.x86.ssse3.pmadd.ub.sw.128",
     "llvm.x86.sse2.pmadd.wd", "llvm.x86.ssse3.pshuf.b.128",
     "llvm.x86.ssse3.psign.b.128"},
};

const Dot4Instructions *findInstructions(StringRef name) {
  const auto *found =
      llvm::find_if(kInstructions, [&](const Dot4Instructions &entry) {
        return entry.name == name;
      });
  return found == std::end(kInstructions) ? nullptr : found;
}

const Dot4Instructions *findInstructions(TargetAttr target) {
  return target ? findInstructions(target.getDot4()) : nullptr;
}

Value callIntrinsic(ImplicitLocOpBuilder &b, StringRef name, Type type,
                    ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(b, type, b.getStringAttr(name), operands)
      .getResult(0);
}

Value splat(ImplicitLocOpBuilder &b, VectorType type, int64_t value) {
  return arith::ConstantOp::create(
      b, DenseElementsAttr::get(
             type, b.getIntegerAttr(type.getElementType(), value)));
}

/// Applies `part` to consecutive pieces of `size` elements of the result.
template <typename Part>
Value splitVector(ImplicitLocOpBuilder &b, VectorType type, int64_t size,
                  Part part) {
  int64_t elements = type.getNumElements();
  if (elements == size)
    return part(0);
  Value result = arith::ConstantOp::create(b, b.getZeroAttr(type));
  for (int64_t first = 0; first < elements; first += size)
    result = vector::InsertStridedSliceOp::create(
        b, part(first), result, ArrayRef<int64_t>{first}, ArrayRef<int64_t>{1});
  return result;
}

Value slice(ImplicitLocOpBuilder &b, Value vector, int64_t first,
            int64_t size) {
  if (cast<VectorType>(vector.getType()).getNumElements() == size)
    return vector;
  return vector::ExtractStridedSliceOp::create(
      b, vector, ArrayRef<int64_t>{first}, ArrayRef<int64_t>{size},
      ArrayRef<int64_t>{1});
}

/// What fits one 32-bit word, in every word of `type`.
Value spread(ImplicitLocOpBuilder &b, Value x, VectorType type) {
  int64_t words = type.getNumElements() * type.getElementTypeBitWidth() / 32;
  Type i32 = b.getI32Type();
  Value word = vector::BitCastOp::create(b, VectorType::get(1, i32), x);
  word = vector::ExtractOp::create(b, word, 0);
  word = vector::BroadcastOp::create(b, VectorType::get(words, i32), word);
  return vector::BitCastOp::create(b, type, word);
}

/// The largest sum that a 16-bit lane holds.
constexpr int64_t kMostPair = 32767;

struct LowerDot4 final : OpRewritePattern<Dot4Op> {
  LowerDot4(MLIRContext *context, const Dot4Instructions *instructions)
      : OpRewritePattern(context), instructions(instructions) {}

  LogicalResult matchAndRewrite(Dot4Op op,
                                PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    auto accType = cast<VectorType>(op.getAcc().getType());
    int64_t lanes = accType.getNumElements();
    Value result;
    if (!instructions || lanes % (instructions->bits / 32)) {
      result = emitGeneric(b, op, lanes);
    } else if (instructions->dot.empty()) {
      if (isLink(op))
        return failure(); // the end of its chain takes it along
      result = emitPairs(b, collectChain(op), accType);
    } else {
      result = emitNative(b, op, accType);
    }
    rewriter.replaceOp(op, result);
    return success();
  }

private:
  /// Whether the result only goes on into the accumulator of another dot4.
  static bool isLink(Dot4Op op) {
    if (!op->hasOneUse())
      return false;
    auto next = dyn_cast<Dot4Op>(*op->user_begin());
    return next && next.getAcc() == op.getResult() &&
           next->getBlock() == op->getBlock();
  }

  /// The ops that add to one accumulator, first to last.
  static SmallVector<Dot4Op> collectChain(Dot4Op op) {
    SmallVector<Dot4Op> chain = {op};
    while (auto before = chain.back().getAcc().getDefiningOp<Dot4Op>()) {
      if (!isLink(before))
        break;
      chain.push_back(before);
    }
    return llvm::to_vector(llvm::reverse(chain));
  }

  /// Plain vector arithmetic on 32-bit lanes.
  Value emitGeneric(ImplicitLocOpBuilder &b, Dot4Op op, int64_t lanes) const {
    auto words = VectorType::get(lanes, b.getI32Type());
    Value codes = vector::BitCastOp::create(b, words, op.getCodes());
    Value result = op.getAcc();
    for (int64_t j = 0; j < 4; ++j) {
      Value code = codes;
      if (op.getSignedCodes()) {
        code = arith::ShLIOp::create(b, code, splat(b, words, 24 - 8 * j));
        code = arith::ShRSIOp::create(b, code, splat(b, words, 24));
      } else {
        if (j)
          code = arith::ShRUIOp::create(b, code, splat(b, words, 8 * j));
        code = arith::AndIOp::create(b, code, splat(b, words, 255));
      }
      Value x = vector::ExtractOp::create(b, op.getX(), j);
      x = arith::ExtSIOp::create(b, b.getI32Type(), x);
      x = vector::BroadcastOp::create(b, words, x);
      result =
          arith::AddIOp::create(b, result, arith::MulIOp::create(b, code, x));
    }
    return result;
  }

  Value emitNative(ImplicitLocOpBuilder &b, Dot4Op op,
                   VectorType accType) const {
    int64_t size = instructions->bits / 32;
    auto words = VectorType::get(size, b.getI32Type());
    auto bytes = VectorType::get(4 * size, b.getI8Type());
    Value x = spread(b, op.getX(), bytes);
    return splitVector(b, accType, size, [&](int64_t first) -> Value {
      Value codes = slice(b, op.getCodes(), 4 * first, 4 * size);
      Value acc = slice(b, op.getAcc(), first, size);
      if (!op.getSignedCodes())
        return callIntrinsic(b, instructions->dot, words, {acc, codes, x});
      // The instruction takes them with 128 added, which is subtracted again.
      Value bias = splat(b, bytes, -128);
      codes = arith::XOrIOp::create(b, codes, bias);
      Value sum = callIntrinsic(b, instructions->dot, words, {acc, codes, x});
      Value added = callIntrinsic(b, instructions->dot, words,
                                  {splat(b, words, 0), bias, x});
      return arith::SubIOp::create(b, sum, added);
    });
  }

  /// The most that a step adds to a 16-bit lane: a pair of products.
  static int64_t getMostPair(Dot4Op op) {
    int64_t largest = op.getSignedCodes() ? 128 : (1 << op.getBits()) - 1;
    return largest * 127 * 2;
  }

  /// The runs of a chain whose pairs of products fit into 16 bits together; a
  /// step that does not fit alone is a run of its own.
  static SmallVector<ArrayRef<Dot4Op>> splitRuns(ArrayRef<Dot4Op> chain) {
    SmallVector<ArrayRef<Dot4Op>> runs;
    while (!chain.empty()) {
      size_t length = 1;
      int64_t most = getMostPair(chain.front());
      while (length < chain.size() &&
             (most += getMostPair(chain[length])) <= kMostPair)
        ++length;
      runs.push_back(chain.take_front(length));
      chain = chain.drop_front(length);
    }
    return runs;
  }

  /// Moves what only spreads `value` over the lanes to `op`, so that it needs
  /// no register before. The load follows when instructions are selected.
  static void sink(Value value, Operation *op) {
    Operation *maker = value.getDefiningOp();
    if (!maker || !maker->hasOneUse() || maker->getBlock() != op->getBlock() ||
        !isMemoryEffectFree(maker))
      return;
    maker->moveBefore(op);
    for (Value operand : maker->getOperands())
      sink(operand, maker);
  }

  /// Bytes to pairs of 16 bits to words. As many steps are added up in 16 bits
  /// as fit there, and no sum waits there for longer than that: of each token
  /// it would take a register. A pair of unsigned 8-bit codes does not fit
  /// (255 * 127 * 2 > 32767), so their top bit goes its own way. Signed ones
  /// do: the sign moves to the activations (128 * 127 * 2 < 32768).
  Value emitPairs(ImplicitLocOpBuilder &b, ArrayRef<Dot4Op> chain,
                  VectorType accType) const {
    int64_t size = instructions->bits / 32;
    auto words = VectorType::get(size, b.getI32Type());
    auto bytes = VectorType::get(4 * size, b.getI8Type());
    auto halves = VectorType::get(2 * size, b.getI16Type());
    // Each step stays where it is, so that the steps of several tokens, which
    // share their codes, stay interleaved.
    DenseMap<Operation *, Value> activations;
    for (Dot4Op op : chain) {
      b.setInsertionPoint(op);
      activations[op] = spread(b, op.getX(), bytes);
    }
    SmallVector<ArrayRef<Dot4Op>> runs = splitRuns(chain);
    Dot4Op start = chain.front();
    Value initial = start.getAcc();
    sink(initial, runs.front().back());
    return splitVector(b, accType, size, [&](int64_t first) -> Value {
      Value acc;
      auto multiply = [&](Value codes, Value x) {
        return callIntrinsic(b, instructions->multiplyBytes, halves,
                             {codes, x});
      };
      auto addPairs = [&](Value pairs, int64_t weight) {
        if (!acc)
          acc = slice(b, initial, first, size);
        Value sums = callIntrinsic(b, instructions->addPairs, words,
                                   {pairs, splat(b, halves, weight)});
        acc = arith::AddIOp::create(b, acc, sums);
      };
      for (ArrayRef<Dot4Op> run : runs) {
        Value pairs;
        for (Dot4Op op : run) {
          b.setInsertionPoint(op);
          Value x = activations[op];
          Value codes = slice(b, op.getCodes(), 4 * first, 4 * size);
          if (op.getSignedCodes()) {
            // -128 becomes 128, as an unsigned byte.
            Value negated = arith::SubIOp::create(b, splat(b, bytes, 0), codes);
            Value magnitude = arith::MaxSIOp::create(b, codes, negated);
            x = negateWhere(b, x, codes);
            codes = magnitude;
          } else if (getMostPair(op) > kMostPair) {
            Value top = arith::ShRUIOp::create(b, codes, splat(b, bytes, 7));
            addPairs(multiply(top, x), 128);
            codes = arith::AndIOp::create(b, codes, splat(b, bytes, 127));
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
  Value negateWhere(ImplicitLocOpBuilder &b, Value x, Value codes) const {
    if (!instructions->negate.empty())
      return callIntrinsic(b, instructions->negate, x.getType(), {x, codes});
    Value zero = splat(b, cast<VectorType>(x.getType()), 0);
    Value isNegative =
        arith::CmpIOp::create(b, arith::CmpIPredicate::slt, codes, zero);
    return arith::SelectOp::create(b, isNegative,
                                   arith::SubIOp::create(b, zero, x), x);
  }

  const Dot4Instructions *instructions;
};

struct LowerDot2 final : OpRewritePattern<Dot2Op> {
  LowerDot2(MLIRContext *context, const Dot4Instructions *instructions)
      : OpRewritePattern(context), instructions(instructions) {}

  LogicalResult matchAndRewrite(Dot2Op op,
                                PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    auto type = cast<VectorType>(op.getAcc().getType());
    bool fits =
        instructions && type.getNumElements() % (instructions->bits / 32) == 0;
    rewriter.replaceOp(op, fits ? emitNative(b, op, type)
                                : emitGeneric(b, op, type));
    return success();
  }

private:
  Value emitNative(ImplicitLocOpBuilder &b, Dot2Op op, VectorType type) const {
    int64_t size = instructions->bits / 32;
    auto words = VectorType::get(size, b.getI32Type());
    auto halves = VectorType::get(2 * size, b.getI16Type());
    bool laneWise = op.getX().getType() == op.getCodes().getType();
    Value same = laneWise ? Value() : spread(b, op.getX(), halves);
    return splitVector(b, type, size, [&](int64_t first) -> Value {
      Value codes = slice(b, op.getCodes(), 2 * first, 2 * size);
      Value x = laneWise ? slice(b, op.getX(), 2 * first, 2 * size) : same;
      Value acc = slice(b, op.getAcc(), first, size);
      if (!instructions->dotPairs.empty())
        return callIntrinsic(b, instructions->dotPairs, words, {acc, codes, x});
      Value sums = callIntrinsic(b, instructions->addPairs, words, {codes, x});
      return arith::AddIOp::create(b, acc, sums);
    });
  }

  /// Plain vector arithmetic on 32-bit lanes.
  Value emitGeneric(ImplicitLocOpBuilder &b, Dot2Op op, VectorType type) const {
    Value half = splat(b, type, 16), result = op.getAcc();
    // Element j of every lane of two.
    auto extend = [&](Value pairs, int64_t j) -> Value {
      Value words = vector::BitCastOp::create(b, type, pairs);
      if (j == 0)
        words = arith::ShLIOp::create(b, words, half);
      return arith::ShRSIOp::create(b, words, half);
    };
    for (int64_t j = 0; j < 2; ++j) {
      Value x;
      if (op.getX().getType() == op.getCodes().getType()) {
        x = extend(op.getX(), j);
      } else {
        x = vector::ExtractOp::create(b, op.getX(), j);
        x = arith::ExtSIOp::create(b, b.getI32Type(), x);
        x = vector::BroadcastOp::create(b, type, x);
      }
      result = arith::AddIOp::create(
          b, result, arith::MulIOp::create(b, extend(op.getCodes(), j), x));
    }
    return result;
  }

  const Dot4Instructions *instructions;
};

struct LowerLookup final : OpRewritePattern<LookupOp> {
  LowerLookup(MLIRContext *context, const Dot4Instructions *instructions)
      : OpRewritePattern(context), instructions(instructions) {}

  LogicalResult matchAndRewrite(LookupOp op,
                                PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    auto type = dyn_cast<VectorType>(op.getType());
    int64_t native = instructions ? instructions->bits / 8 : 0;
    bool shuffles = type && type.getRank() == 1 && native &&
                    type.getNumElements() % native == 0;
    rewriter.replaceOp(op, shuffles ? emitShuffle(b, op, type, native)
                                    : emitSelects(b, op));
    return success();
  }

private:
  Value emitShuffle(ImplicitLocOpBuilder &b, LookupOp op, VectorType type,
                    int64_t size) const {
    // The shuffle works inside 128-bit lanes: the table stands in each.
    SmallVector<int8_t> entries(size, 0);
    for (int64_t i = 0; i < size; ++i)
      if (i % 16 < int64_t(op.getTable().size()))
        entries[i] = op.getTable()[i % 16];
    auto bytes = VectorType::get(size, b.getI8Type());
    Value table = arith::ConstantOp::create(
        b, DenseElementsAttr::get(bytes, ArrayRef(entries)));
    return splitVector(b, type, size, [&](int64_t first) {
      return callIntrinsic(b, instructions->shuffle, bytes,
                           {table, slice(b, op.getIndex(), first, size)});
    });
  }

  Value emitSelects(ImplicitLocOpBuilder &b, LookupOp op) const {
    Type type = op.getType();
    auto constant = [&](int64_t value) -> Value {
      TypedAttr attr = b.getIntegerAttr(b.getI8Type(), value);
      if (auto vector = dyn_cast<VectorType>(type))
        attr = DenseElementsAttr::get(vector, Attribute(attr));
      return arith::ConstantOp::create(b, attr);
    };
    Value result = constant(op.getTable().back());
    for (int64_t i = int64_t(op.getTable().size()) - 2; i >= 0; --i) {
      Value here = arith::CmpIOp::create(b, arith::CmpIPredicate::eq,
                                         op.getIndex(), constant(i));
      result =
          arith::SelectOp::create(b, here, constant(op.getTable()[i]), result);
    }
    return result;
  }

  const Dot4Instructions *instructions;
};

struct LowerDot4Pass final : lumen::impl::LowerDot4PassBase<LowerDot4Pass> {
  using LowerDot4PassBase::LowerDot4PassBase;

  void runOnOperation() override {
    StringRef name = dot4;
    if (name.empty()) {
      auto target =
          getOperation()->getAttrOfType<TargetAttr>(LumenDialect::kTargetAttr);
      name = target ? target.getDot4() : "generic";
    }
    const Dot4Instructions *instructions = findInstructions(name);
    if (!instructions && name != "generic") {
      getOperation().emitError()
          << "unknown dot4 implementation '" << name << "'";
      return signalPassFailure();
    }
    RewritePatternSet patterns(&getContext());
    patterns.add<LowerDot4, LowerDot2, LowerLookup>(&getContext(),
                                                    instructions);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace

bool lumen::addsPairs(TargetAttr target) {
  const Dot4Instructions *instructions = findInstructions(target);
  return instructions && !instructions->dotPairs.empty() &&
         instructions->bits >= 512;
}

bool lumen::prefersSignedCodes(TargetAttr target) {
  const Dot4Instructions *instructions = findInstructions(target);
  return instructions && instructions->dot.empty();
}

// SPDX-License-Identifier: Apache-2.0
//
// Lowers lumen.dot4 and lumen.lookup to what the target has. This file and the
// table of targets are all that knows instructions.
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
  /// u8 x s8, four at a time, added to i32 lanes; empty where the target has none.
  StringRef dot;
  /// u8 x s8 to pairs of i16 (saturating), and pairs of i16 to i32.
  StringRef multiplyBytes, addPairs;
  /// Byte shuffle inside 128-bit lanes.
  StringRef shuffle;
};

constexpr Dot4Instructions kInstructions[] = {
    {"avx512vnni", 512, "llvm.x86.avx512.vpdpbusd.512", "llvm.x86.avx512.pmaddubs.w.512",
     "llvm.x86.avx512.pmaddw.d.512", "llvm.x86.avx512.pshuf.b.512"},
    {"avx512bw", 512, "", "llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512",
     "llvm.x86.avx512.pshuf.b.512"},
    {"avxvnni", 256, "llvm.x86.avx512.vpdpbusd.256", "llvm.x86.avx2.pmadd.ub.sw",
     "llvm.x86.avx2.pmadd.wd", "llvm.x86.avx2.pshuf.b"},
    {"avx2", 256, "", "llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd",
     "llvm.x86.avx2.pshuf.b"},
    {"ssse3", 128, "", "llvm.x86.ssse3.pmadd.ub.sw.128", "llvm.x86.sse2.pmadd.wd",
     "llvm.x86.ssse3.pshuf.b.128"},
};

Value callIntrinsic(ImplicitLocOpBuilder &b, StringRef name, Type type, ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(b, type, b.getStringAttr(name), operands).getResult(0);
}

Value splat(ImplicitLocOpBuilder &b, VectorType type, int64_t value) {
  return arith::ConstantOp::create(
      b, DenseElementsAttr::get(type, b.getIntegerAttr(type.getElementType(), value)));
}

/// Applies `part` to consecutive pieces of `size` elements of the result.
template <typename Part>
Value splitVector(ImplicitLocOpBuilder &b, VectorType type, int64_t size, Part part) {
  int64_t elements = type.getNumElements();
  if (elements == size)
    return part(0);
  Value result = arith::ConstantOp::create(b, b.getZeroAttr(type));
  for (int64_t first = 0; first < elements; first += size)
    result = vector::InsertStridedSliceOp::create(b, part(first), result, ArrayRef<int64_t>{first},
                                                  ArrayRef<int64_t>{1});
  return result;
}

Value slice(ImplicitLocOpBuilder &b, Value vector, int64_t first, int64_t size) {
  if (cast<VectorType>(vector.getType()).getNumElements() == size)
    return vector;
  return vector::ExtractStridedSliceOp::create(b, vector, ArrayRef<int64_t>{first},
                                               ArrayRef<int64_t>{size}, ArrayRef<int64_t>{1});
}

struct LowerDot4 final : OpRewritePattern<Dot4Op> {
  LowerDot4(MLIRContext *context, const Dot4Instructions *instructions)
      : OpRewritePattern(context), instructions(instructions) {}

  LogicalResult matchAndRewrite(Dot4Op op, PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    auto accType = cast<VectorType>(op.getAcc().getType());
    int64_t lanes = accType.getNumElements();
    Value result;
    if (!instructions || lanes % (instructions->bits / 32))
      result = emitGeneric(b, op, lanes);
    else
      result = emitNative(b, op, accType);
    rewriter.replaceOp(op, result);
    return success();
  }

private:
  /// Plain vector arithmetic on 32-bit lanes.
  Value emitGeneric(ImplicitLocOpBuilder &b, Dot4Op op, int64_t lanes) const {
    auto words = VectorType::get(lanes, b.getI32Type());
    Value codes = vector::BitCastOp::create(b, words, op.getCodes());
    Value result = op.getAcc();
    for (int64_t j = 0; j < 4; ++j) {
      Value code = codes;
      if (j)
        code = arith::ShRUIOp::create(b, code, splat(b, words, 8 * j));
      code = arith::AndIOp::create(b, code, splat(b, words, 255));
      Value x = vector::ExtractOp::create(b, op.getX(), j);
      x = arith::ExtSIOp::create(b, b.getI32Type(), x);
      x = vector::BroadcastOp::create(b, words, x);
      result = arith::AddIOp::create(b, result, arith::MulIOp::create(b, code, x));
    }
    return result;
  }

  Value emitNative(ImplicitLocOpBuilder &b, Dot4Op op, VectorType accType) const {
    int64_t size = instructions->bits / 32;
    auto words = VectorType::get(size, b.getI32Type());
    auto bytes = VectorType::get(4 * size, b.getI8Type());
    // The four activations are one 32-bit word in every lane.
    Value word = vector::BitCastOp::create(b, VectorType::get(1, b.getI32Type()), op.getX());
    word = vector::ExtractOp::create(b, word, 0);
    Value x = vector::BroadcastOp::create(b, words, word);
    x = vector::BitCastOp::create(b, bytes, x);
    return splitVector(b, accType, size, [&](int64_t first) {
      Value codes = slice(b, op.getCodes(), 4 * first, 4 * size);
      Value acc = slice(b, op.getAcc(), first, size);
      if (!instructions->dot.empty())
        return callIntrinsic(b, instructions->dot, words, {acc, codes, x});
      return emitPairs(b, op, acc, codes, x, bytes, words);
    });
  }

  /// Bytes to pairs of 16 bits to words. Pairs saturate where codes have 8 bits
  /// (255 * 127 * 2 > 32767), so their top bit goes its own way.
  Value emitPairs(ImplicitLocOpBuilder &b, Dot4Op op, Value acc, Value codes, Value x,
                  VectorType bytes, VectorType words) const {
    auto halves = VectorType::get(words.getNumElements() * 2, b.getI16Type());
    auto accumulate = [&](Value acc, Value codes, int64_t weight) -> Value {
      Value pairs = callIntrinsic(b, instructions->multiplyBytes, halves, {codes, x});
      Value sums =
          callIntrinsic(b, instructions->addPairs, words, {pairs, splat(b, halves, weight)});
      return arith::AddIOp::create(b, acc, sums);
    };
    if (op.getBits() < 8)
      return accumulate(acc, codes, 1);
    Value low = arith::AndIOp::create(b, codes, splat(b, bytes, 127));
    Value top = arith::ShRUIOp::create(b, codes, splat(b, bytes, 7));
    return accumulate(accumulate(acc, low, 1), top, 128);
  }

  const Dot4Instructions *instructions;
};

struct LowerLookup final : OpRewritePattern<LookupOp> {
  LowerLookup(MLIRContext *context, const Dot4Instructions *instructions)
      : OpRewritePattern(context), instructions(instructions) {}

  LogicalResult matchAndRewrite(LookupOp op, PatternRewriter &rewriter) const override {
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    auto type = dyn_cast<VectorType>(op.getType());
    int64_t native = instructions ? instructions->bits / 8 : 0;
    bool shuffles = type && type.getRank() == 1 && native && type.getNumElements() % native == 0;
    rewriter.replaceOp(op, shuffles ? emitShuffle(b, op, type, native) : emitSelects(b, op));
    return success();
  }

private:
  Value emitShuffle(ImplicitLocOpBuilder &b, LookupOp op, VectorType type, int64_t size) const {
    // The shuffle works inside 128-bit lanes: the table stands in each.
    SmallVector<int8_t> entries(size, 0);
    for (int64_t i = 0; i < size; ++i)
      if (i % 16 < int64_t(op.getTable().size()))
        entries[i] = op.getTable()[i % 16];
    auto bytes = VectorType::get(size, b.getI8Type());
    Value table = arith::ConstantOp::create(b, DenseElementsAttr::get(bytes, ArrayRef(entries)));
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
      Value here =
          arith::CmpIOp::create(b, arith::CmpIPredicate::eq, op.getIndex(), constant(i));
      result = arith::SelectOp::create(b, here, constant(op.getTable()[i]), result);
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
      auto target = getOperation()->getAttrOfType<TargetAttr>(LumenDialect::kTargetAttr);
      name = target ? target.getDot4() : "generic";
    }
    const auto *found = llvm::find_if(
        kInstructions, [&](const Dot4Instructions &entry) { return entry.name == name; });
    const Dot4Instructions *instructions = found == std::end(kInstructions) ? nullptr : found;
    if (!instructions && name != "generic") {
      getOperation().emitError() << "unknown dot4 implementation '" << name << "'";
      return signalPassFailure();
    }
    RewritePatternSet patterns(&getContext());
    patterns.add<LowerDot4, LowerLookup>(&getContext(), instructions);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace

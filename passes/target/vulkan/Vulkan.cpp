// SPDX-License-Identifier: Apache-2.0
//
// lumen.dot4 and lumen.lookup with the instructions of SPIR-V, and what passes
// for Vulkan have in common.
#include "passes/target/vulkan/Vulkan.h"

#include "passes/target/common/VectorPieces.h"
#include "passes/target/gpu/ByteWords.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

struct LowerDot4 final : OpRewritePattern<Dot4Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(Dot4Op op,
                                PatternRewriter &rewriter) const override {
    KernelBuilder b(op.getLoc(), rewriter);
    Type word = b.getI32Type();
    auto packed = spirv::PackedVectorFormatAttr::get(
        b.getContext(), spirv::PackedVectorFormat::PackedVectorFormat4x8Bit);
    Value x = asWord(b, op.getX());
    rewriter.replaceOp(
        op, splitVector(b, cast<VectorType>(op.getType()), 1, [&](int64_t i) {
          Value codes =
              asWord(b, b.extract(op.getCodes(), kByteWord * i, kByteWord));
          Value acc = vector::ExtractOp::create(b, op.getAcc(), i), sum;
          // (Of mixed signs, the signed ones come first.)
          if (op.getSignedCodes())
            sum = spirv::SDotOp::create(b, word, x, codes, packed);
          else
            sum = spirv::SUDotOp::create(b, word, x, codes, packed);
          return b.broadcast(arith::AddIOp::create(b, acc, sum), 1);
        }));
    return success();
  }
};

/// A table of 16 bytes lies in four words: the upper two bits of an index
/// choose the word, the lower two the byte.
struct LowerLookup final : OpRewritePattern<LookupOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LookupOp op,
                                PatternRewriter &rewriter) const override {
    if (!isByteWords(op.getType()))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    SmallVector<Value> words = getTableWords(b, op.getTable());
    rewriter.replaceOp(
        op, mapByteWords(b, cast<VectorType>(op.getType()), {op.getIndex()},
                         [&](ArrayRef<Value> index) {
                           return lookUp(b, words, index.front());
                         }));
    return success();
  }

private:
  /// Four bytes for the four indices of a word.
  static Value lookUp(KernelBuilder &b, ArrayRef<Value> table, Value indices) {
    auto number = [&](int64_t value) {
      return b.integer(b.getI32Type(), value);
    };
    Value result;
    for (int64_t i = 0; i < kByteWord; ++i) {
      Value index = arith::ShRUIOp::create(b, indices, number(8 * i));
      auto choose = [&](int64_t bit, Value one, Value zero) -> Value {
        Value masked = arith::AndIOp::create(b, index, number(bit));
        Value isOne = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, masked,
                                            number(0));
        return arith::SelectOp::create(b, isOne, one, zero);
      };
      Value word = choose(8, choose(4, table[3], table[2]),
                          choose(4, table[1], table[0]));
      Value bits = arith::AndIOp::create(b, index, number(3));
      bits = arith::MulIOp::create(b, bits, number(8));
      Value byte = arith::ShRUIOp::create(b, word, bits);
      byte = arith::AndIOp::create(b, byte, number(255));
      if (i)
        byte = arith::ShLIOp::create(b, byte, number(8 * i));
      result = result ? Value(arith::OrIOp::create(b, result, byte)) : byte;
    }
    return result;
  }
};

} // namespace

LogicalResult
Vulkan::addInstructions(TargetAttr target, RewritePatternSet &patterns,
                        function_ref<InFlightDiagnostic()> emitError) const {
  DotAttr dot = target.getDot();
  if (dot && !isByteDot(dot, target.getWarp()))
    return emitError() << "no instruction of SPIR-V is known for " << dot;
  if (DotAttr pairs = target.getPairDot())
    return emitError() << "no instruction of SPIR-V is known for " << pairs;
  MLIRContext *context = patterns.getContext();
  if (dot)
    patterns.add<LowerDot4>(context);
  patterns.add<LowerLookup>(context);
  addByteShifts(patterns);
  return success();
}

bool vulkan::isTarget(Operation *op) {
  TargetAttr target = TargetAttr::lookup(op);
  return target && target.hasWarps() &&
         target.getArchitecture() == llvm::Triple::spirv64;
}

SmallVector<func::FuncOp> vulkan::getKernels(ModuleOp module) {
  SmallVector<func::FuncOp> kernels;
  if (isTarget(module))
    for (auto function : module.getOps<func::FuncOp>())
      if (!function.isExternal() &&
          function->hasAttr(LumenDialect::kKernelAttr))
        kernels.push_back(function);
  return kernels;
}

spirv::GlobalVariableOp vulkan::makeVariable(ImplicitLocOpBuilder &b,
                                             StringRef name, Type type,
                                             spirv::StorageClass storage) {
  auto module =
      b.getInsertionBlock()->getParentOp()->getParentOfType<ModuleOp>();
  OpBuilder::InsertionGuard guard(b);
  b.clearInsertionPoint();
  auto variable = spirv::GlobalVariableOp::create(
      b, spirv::PointerType::get(type, storage), name);
  // (Which calls it otherwise where the name is taken.)
  SymbolTable(module).insert(variable, module.getBody()->begin());
  return variable;
}

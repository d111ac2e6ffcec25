// SPDX-License-Identifier: Apache-2.0
//
// Loads that fill a register, of which instructions take a part.
#include "passes/target/arm/Instructions.h"
#include "passes/target/arm/Registers.h"
#include "passes/target/common/VectorPieces.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

/// The innermost dimensions of a buffer whose elements lie one after the other
/// and fill `bytes` or a multiple of that: how many dimensions. 0 where all
/// together do not.
static int64_t countDims(MemRefType type, int64_t bytes) {
  SmallVector<int64_t> strides;
  int64_t offset;
  if (failed(type.getStridesAndOffset(strides, offset)))
    return 0;
  int64_t elements = 1;
  for (int64_t i = type.getRank(); i-- > 0;) {
    if (strides[i] != elements || type.isDynamicDim(i))
      return 0;
    elements *= type.getDimSize(i);
    if (elements % bytes == 0)
      return type.getRank() - i;
  }
  return 0;
}

static Value getBuffer(vector::LoadOp load) { return load.getBase(); }
static Value getBuffer(memref::LoadOp load) { return load.getMemref(); }

/// A load of the `bytes` that hold the four bytes that `load` takes, and at
/// which of them these begin.
template <typename Load>
static std::optional<std::pair<Value, int64_t>>
widen(KernelBuilder &b, Load load, int64_t bytes) {
  MemRefType type = load.getMemRefType();
  Type element = type.getElementType();
  if (!element.isInteger(8) && !element.isBF16() && !element.isF32())
    return std::nullopt;
  int64_t size = element.getIntOrFloatBitWidth() / 8, elements = bytes / size;
  int64_t dims = countDims(type, elements);
  if (!dims)
    return std::nullopt;
  int64_t outer = type.getRank() - dims;
  SmallVector<int64_t> place, sizes(type.getShape().drop_front(outer));
  for (Value index : load.getIndices().drop_front(outer)) {
    std::optional<int64_t> value = getConstantIntValue(index);
    if (!value)
      return std::nullopt;
    place.push_back(*value);
  }
  SmallVector<int64_t> strides = computeStrides(sizes);
  int64_t flat = linearize(place, strides);
  if (flat * size % 4)
    return std::nullopt; // no word of a register
  int64_t begin = flat - flat % elements;
  SmallVector<Value> indices(load.getIndices().take_front(outer));
  for (int64_t index : delinearize(begin, strides))
    indices.push_back(b.index(index));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointAfter(load);
  return std::pair(b.load(elements, getBuffer(load), indices),
                   (flat - begin) * size);
}

/// The register of which `x` is a word, and the word's first byte.
static std::optional<std::pair<Value, int64_t>> findWord(Value x) {
  auto slice = x.getDefiningOp<vector::ExtractStridedSliceOp>();
  if (!slice || getLanes(slice.getSource()) != arm::kBytes)
    return std::nullopt;
  int64_t first = cast<IntegerAttr>(slice.getOffsets()[0]).getInt();
  if (first % 4)
    return std::nullopt; // no word of a register
  return std::pair(slice.getSource(), first);
}

Value arm::spreadStep(KernelBuilder &b, Value x) {
  auto bytes = VectorType::get(kBytes, b.getI8Type());
  auto load = x.getDefiningOp<vector::LoadOp>();
  auto wide = load ? widen(b, load, kBytes) : findWord(x);
  if (!wide)
    return spread(b, x, bytes);
  auto [source, first] = *wide;
  int64_t words = kBytes / 4;
  source = vector::BitCastOp::create(b, VectorType::get(words, b.getI32Type()),
                                     source);
  Value word = vector::ExtractOp::create(b, source, first / 4);
  return vector::BitCastOp::create(b, bytes, b.broadcast(word, words));
}

Value arm::spreadPair(KernelBuilder &b, Value x, VectorType type) {
  auto load = x.getDefiningOp<vector::LoadOp>();
  auto wide = load ? widen(b, load, kBytes / 2) : std::nullopt;
  if (!wide)
    return spread(b, x, type);
  auto [source, first] = *wide;
  SmallVector<int64_t> mask;
  for (int64_t i = 0; i < type.getNumElements(); ++i)
    mask.push_back(first / 2 + i % 2);
  return vector::ShuffleOp::create(b, source, source, mask);
}

//===----------------------------------------------------------------------===//
// Factors
//===----------------------------------------------------------------------===//

namespace {

/// A float of a product that is the same in all lanes stays in one:
/// instructions that multiply take a factor from it. LLVM would spread it as it
/// is loaded, which takes one of the pipes that multiply.
struct LoadFactorOnce final : OpRewritePattern<vector::BroadcastOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(vector::BroadcastOp op,
                                PatternRewriter &rewriter) const override {
    auto load = op.getSource().getDefiningOp<memref::LoadOp>();
    auto kernel = op->getParentOfType<func::FuncOp>();
    auto kind =
        kernel ? kernel->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr)
               : nullptr;
    if (!load || !load.getType().isF32() || !kind ||
        symbolizeKernelKind(kind.getValue()) != KernelKind::Product ||
        !llvm::all_of(op->getUsers(),
                      llvm::IsaPred<arith::MulFOp, math::FmaOp>))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    rewriter.modifyOpInPlace(
        op, [&] { op.getSourceMutable().assign(arm::keep(b, load)); });
    return success();
  }
};

/// A float in all lanes, from a register that those beside it fill: LLVM merges
/// loads of the same place.
struct SpreadFactor final : OpRewritePattern<vector::BroadcastOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(vector::BroadcastOp op,
                                PatternRewriter &rewriter) const override {
    auto load = op.getSource().getDefiningOp<memref::LoadOp>();
    if (!load || !load.getType().isF32() || !arm::isInProduct(op) ||
        op.getResultVectorType().getRank() != 1)
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    auto wide = widen(b, load, arm::kBytes);
    if (!wide)
      return failure();
    auto [values, first] = *wide;
    int64_t lanes = op.getResultVectorType().getNumElements();
    rewriter.replaceOp(op, b.spreadLane(values, first / 4, lanes));
    return success();
  }
};

/// Four bytes as 32 bits, by way of 16 bits of all eight that those beside them
/// fill a vector of: LLVM finds what these have in common.
template <typename Op> struct ExtendTogether final : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;

  LogicalResult matchAndRewrite(Op op,
                                PatternRewriter &rewriter) const override {
    auto type = dyn_cast<VectorType>(op.getType());
    auto load = op.getIn().template getDefiningOp<vector::LoadOp>();
    if (!type || !load || type.getRank() != 1 || type.getNumElements() != 4 ||
        !type.getElementType().isInteger(32) ||
        !load.getMemRefType().getElementType().isInteger(8))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    auto wide = widen(b, load, 8);
    if (!wide)
      return failure();
    auto [bytes, first] = *wide;
    auto halves = VectorType::get(8, b.getI16Type());
    Value all = Op::create(b, halves, bytes);
    rewriter.replaceOpWithNewOp<Op>(op, type, b.extract(all, first, 4));
    return success();
  }
};

/// The same for 16 bits of four bytes, shifted to the left: what the bits of
/// small floats are made from.
struct ShiftTogether final : OpRewritePattern<arith::TruncIOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::TruncIOp op,
                                PatternRewriter &rewriter) const override {
    auto type = dyn_cast<VectorType>(op.getType());
    auto shift = op.getIn().getDefiningOp<arith::ShLIOp>();
    auto bytes =
        shift ? shift.getLhs().getDefiningOp<arith::ExtUIOp>() : nullptr;
    auto load = bytes ? bytes.getIn().getDefiningOp<vector::LoadOp>() : nullptr;
    std::optional<APInt> amount =
        shift ? arm::findSplat(shift.getRhs()) : std::nullopt;
    if (!type || !load || !amount || amount->uge(16) || type.getRank() != 1 ||
        type.getNumElements() != 4 || !type.getElementType().isInteger(16) ||
        !load.getMemRefType().getElementType().isInteger(8))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    auto wide = widen(b, load, 8);
    if (!wide)
      return failure();
    auto [all, first] = *wide;
    auto halves = VectorType::get(8, b.getI16Type());
    Value shifted = arith::ExtUIOp::create(b, halves, all);
    shifted = arith::ShLIOp::create(b, shifted,
                                    b.integer(halves, amount->getZExtValue()));
    rewriter.replaceOp(op, b.extract(shifted, first, 4));
    return success();
  }
};

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

/// Whether a loop writes no memory, as far as is known here.
bool onlyReads(scf::ForOp loop) {
  return !loop.getBody()
              ->walk([](Operation *op) {
                bool reads =
                    isa<vector::LoadOp, memref::LoadOp, memref::PrefetchOp,
                        LLVM::LoadOp, LLVM::InlineAsmOp, LLVM::CallIntrinsicOp,
                        scf::ForOp>(op) ||
                    isMemoryEffectFree(op);
                return reads ? WalkResult::advance() : WalkResult::interrupt();
              })
              .wasInterrupted();
}

/// What is read in every turn of a loop from the same place is read before it,
/// or fetched ahead: LLVM takes a prefetch for a write.
template <typename Op> struct HoistRead final : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;

  LogicalResult matchAndRewrite(Op op,
                                PatternRewriter &rewriter) const override {
    auto loop = dyn_cast<scf::ForOp>(op->getParentOp());
    if (!loop || !arm::isInProduct(op))
      return failure();
    SetVector<Operation *> moved;
    if (!collect(op, loop, moved))
      return failure();
    std::optional<int64_t> first = getConstantIntValue(loop.getLowerBound()),
                           end = getConstantIntValue(loop.getUpperBound());
    if (!first || !end || *first >= *end || !onlyReads(loop))
      return failure();
    for (Operation *each : moved)
      rewriter.moveOpBefore(each, loop);
    return success();
  }

private:
  /// `op` and what makes its operands in the loop, in order. False where that
  /// differs from turn to turn.
  static bool collect(Operation *op, scf::ForOp loop,
                      SetVector<Operation *> &moved) {
    for (Value operand : op->getOperands()) {
      if (loop.isDefinedOutsideOfLoop(operand))
        continue;
      Operation *made = operand.getDefiningOp();
      if (!made || made->getParentOp() != loop || !isPure(made) ||
          !collect(made, loop, moved))
        return false;
    }
    moved.insert(op);
    return true;
  }
};

//===----------------------------------------------------------------------===//
// Prefetches
//===----------------------------------------------------------------------===//

/// Loads are so short that several fetch the same line ahead: the one where it
/// begins is enough.
struct FetchOnce final : OpRewritePattern<memref::PrefetchOp> {
  FetchOnce(MLIRContext *context, int64_t line)
      : OpRewritePattern(context), line(line) {}

  LogicalResult matchAndRewrite(memref::PrefetchOp op,
                                PatternRewriter &rewriter) const override {
    MemRefType type = op.getMemRefType();
    if (!type.getElementType().isIntOrFloat())
      return failure();
    SmallVector<int64_t> strides;
    int64_t offset;
    if (failed(type.getStridesAndOffset(strides, offset)))
      return failure();
    // In elements, as far as places are constant: those of a load, and which
    // load it is of a span.
    int64_t begin = 0;
    for (int64_t i = type.getRank(); i-- > 0;) {
      std::optional<int64_t> index = getConstantIntValue(op.getIndices()[i]);
      if (ShapedType::isDynamic(strides[i]) || (!index && begin == 0))
        return failure();
      if (!index)
        break;
      begin += *index * strides[i];
    }
    int64_t bytes = begin * type.getElementTypeBitWidth() / 8;
    if (bytes % line == 0)
      return failure();
    rewriter.eraseOp(op);
    return success();
  }

private:
  int64_t line;
};

} // namespace

void arm::addLaneFactors(RewritePatternSet &patterns) {
  patterns.add<LoadFactorOnce>(patterns.getContext());
}

void arm::addFactors(RewritePatternSet &patterns) {
  patterns.add<SpreadFactor>(patterns.getContext());
}

void arm::addInvariantReads(RewritePatternSet &patterns) {
  patterns.add<HoistRead<vector::LoadOp>, HoistRead<memref::PrefetchOp>>(
      patterns.getContext());
}

void arm::addExtensions(RewritePatternSet &patterns) {
  patterns.add<ExtendTogether<arith::ExtSIOp>, ExtendTogether<arith::ExtUIOp>,
               ShiftTogether>(patterns.getContext());
}

void arm::addPrefetches(RewritePatternSet &patterns, int64_t line) {
  patterns.add<FetchOnce>(patterns.getContext(), line);
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/target/arm/Registers.h"

#include "passes/target/arm/Instructions.h"
#include "passes/target/common/VectorPieces.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace mlir::lumen;

std::optional<APInt> arm::findSplat(Value value) {
  DenseElementsAttr elements;
  if (!matchPattern(value, m_Constant(&elements)) || !elements.isSplat() ||
      !elements.getElementType().isInteger())
    return std::nullopt;
  return elements.getSplatValue<APInt>();
}

/// Whether `op` is in a product kernel, or in a loop of one. Attention chooses
/// its own registers.
static bool isInProduct(Operation *op) {
  auto function = op->getParentOfType<func::FuncOp>();
  if (!function)
    return false;
  auto kind = function->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr);
  return function->hasAttr(LumenDialect::kLoopAttr) ||
         (kind && kind == "product");
}

/// Code of no instruction, which asks for a general register or a vector one.
Value arm::keep(KernelBuilder &b, Value value, int64_t number) {
  bool isVector = isa<VectorType, FloatType>(value.getType());
  std::string constraints = isVector ? "=w,0" : "=r,0";
  SmallVector<Value> operands = {value};
  if (number) {
    constraints += ",i";
    operands.push_back(b.integer(b.getI64Type(), number));
  }
  return LLVM::InlineAsmOp::create(
             b, value.getType(), operands, /*asm_string=*/"", constraints,
             /*has_side_effects=*/false, /*is_align_stack=*/false,
             LLVM::tailcallkind::TailCallKind::None,
             /*asm_dialect=*/LLVM::AsmDialectAttr(),
             /*operand_attrs=*/ArrayAttr())
      .getResult(0);
}

//===----------------------------------------------------------------------===//
// Loads
//===----------------------------------------------------------------------===//

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
// Sums
//===----------------------------------------------------------------------===//

/// `value` in all lanes of four, from memory. Only a volatile load is one for
/// every use.
static Value loadSplat(KernelBuilder &b, int32_t value) {
  auto type = VectorType::get(4, b.getI32Type());
  std::string name = "lumen_start_" + std::to_string(uint32_t(value));
  auto module =
      b.getInsertionBlock()->getParentOp()->getParentOfType<ModuleOp>();
  if (!module.lookupSymbol(name)) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(module.getBody());
    LLVM::GlobalOp::create(b, type, /*isConstant=*/true,
                           LLVM::Linkage::Internal, name,
                           DenseElementsAttr::get(type, value),
                           /*alignment=*/arm::kBytes);
  }
  Value address = LLVM::AddressOfOp::create(
      b, LLVM::LLVMPointerType::get(b.getContext()), name);
  return LLVM::LoadOp::create(b, type, address, /*alignment=*/arm::kBytes,
                              /*isVolatile=*/true);
}

/// The i32 that `value` has in all lanes; null where it is not known.
static Value findScalar(KernelBuilder &b, Value value) {
  auto sum = value.getDefiningOp<arith::AddIOp>();
  auto spread =
      (sum ? sum.getLhs() : value).getDefiningOp<vector::BroadcastOp>();
  if (!spread || !spread.getSource().getType().isInteger(32))
    return nullptr;
  if (!sum)
    return spread.getSource();
  std::optional<APInt> added = arm::findSplat(sum.getRhs());
  if (!added)
    return nullptr;
  Value constant = b.integer(b.getI32Type(), added->getSExtValue());
  return arith::AddIOp::create(b, spread.getSource(), constant);
}

/// The same in all lanes goes to each register by itself: a register that is
/// copied takes a pipe that multiplies.
Value arm::startSum(KernelBuilder &b, Value acc, int64_t first) {
  constexpr int64_t kLanes = 4;
  // Zero costs nothing.
  if (auto start = arm::findSplat(acc); start && !start->isZero())
    return loadSplat(b, start->getSExtValue());
  if (Value scalar = findScalar(b, acc))
    return b.broadcast(keep(b, scalar, first / kLanes), kLanes);
  return b.extract(acc, first, kLanes);
}

namespace {

struct AddBeforeSpread final : OpRewritePattern<arith::AddIOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::AddIOp op,
                                PatternRewriter &rewriter) const override {
    auto spread = op.getLhs().getDefiningOp<vector::BroadcastOp>();
    std::optional<APInt> added = arm::findSplat(op.getRhs());
    if (!spread || !added || !spread->hasOneUse() ||
        !spread.getSource().getType().isInteger())
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    Value scalar = spread.getSource();
    scalar = arith::AddIOp::create(
        b, scalar, b.integer(scalar.getType(), added->getSExtValue()));
    rewriter.replaceOpWithNewOp<vector::BroadcastOp>(op, op.getType(), scalar);
    return success();
  }
};

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

/// The value that `op` subtracts from sums in a register, where that is a
/// constant that they began as.
static std::optional<APInt> findBeginning(arith::SubFOp op) {
  DenseElementsAttr value;
  auto sum = op.getLhs().getDefiningOp<arith::BitcastOp>();
  auto words = sum ? dyn_cast<VectorType>(sum.getIn().getType()) : nullptr;
  if (!words || words.getNumElements() != 4 ||
      !words.getElementType().isInteger(32) ||
      !matchPattern(op.getRhs(), m_Constant(&value)) || !value.isSplat())
    return std::nullopt;
  return value.getSplatValue<APFloat>().bitcastToAPInt();
}

/// What sums began as, from memory behind the products of a group, once for
/// all: no register holds it while sums and codes take every one.
struct LoadBeginning final : OpRewritePattern<arith::SubFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::SubFOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<APInt> bits = findBeginning(op);
    if (!bits)
      return failure();
    auto isProduct = [](Operation *op) {
      return isa<MmaOp, LLVM::CallIntrinsicOp>(op);
    };
    Operation *first = op;
    while (first->getPrevNode() && !isProduct(first->getPrevNode()))
      first = first->getPrevNode();
    SmallVector<arith::SubFOp> alike;
    for (Operation *next = first; next && !isProduct(next);
         next = next->getNextNode())
      if (auto other = dyn_cast<arith::SubFOp>(next);
          other && findBeginning(other) == bits)
        alike.push_back(other);
    KernelBuilder b(op.getLoc(), rewriter);
    b.setInsertionPoint(alike.front());
    Value loaded = loadSplat(b, bits->getSExtValue());
    loaded = arith::BitcastOp::create(b, op.getType(), loaded);
    for (arith::SubFOp other : alike)
      rewriter.modifyOpInPlace(other,
                               [&] { other.getRhsMutable().assign(loaded); });
    return success();
  }
};

/// A new address for all but the first of the products that take the same
/// vector.
struct LoadAddends final : OpRewritePattern<vector::FMAOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(vector::FMAOp op,
                                PatternRewriter &rewriter) const override {
    auto load = op.getAcc().getDefiningOp<vector::LoadOp>();
    if (!load || load->hasOneUse() || !isInProduct(op) ||
        getLanes(load.getResult()) * 4 != arm::kBytes)
      return failure();
    SmallVector<vector::FMAOp> products;
    for (Operation *user : load->getUsers()) {
      auto product = dyn_cast<vector::FMAOp>(user);
      if (!product || product->getBlock() != op->getBlock() ||
          product.getAcc() != load.getResult() ||
          llvm::is_contained(products, product))
        return failure();
      products.push_back(product);
    }
    llvm::sort(products, [](vector::FMAOp one, vector::FMAOp other) {
      return one->isBeforeInBlock(other);
    });
    KernelBuilder b(op.getLoc(), rewriter);
    for (size_t i = 1; i < products.size(); ++i) {
      vector::FMAOp product = products[i];
      b.setInsertionPoint(product);
      SmallVector<Value> indices(load.getIndices());
      indices.back() = arith::AddIOp::create(b, indices.back(), hideZero(b, i));
      Value again = b.load(getLanes(load.getResult()), load.getBase(), indices);
      rewriter.modifyOpInPlace(product,
                               [&] { product.getAccMutable().assign(again); });
    }
    return success();
  }

private:
  /// 0, of which LLVM does not know that; another one for each `number`.
  static Value hideZero(KernelBuilder &b, int64_t number) {
    Value known = b.integer(b.getI64Type(), number);
    Value zero = arith::SubIOp::create(b, arm::keep(b, known), known);
    return arith::IndexCastOp::create(b, b.getIndexType(), zero);
  }
};

//===----------------------------------------------------------------------===//
// Factors
//===----------------------------------------------------------------------===//

/// A float in all lanes, from a register that those beside it fill: LLVM merges
/// loads of the same place.
struct SpreadFactor final : OpRewritePattern<vector::BroadcastOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(vector::BroadcastOp op,
                                PatternRewriter &rewriter) const override {
    auto load = op.getSource().getDefiningOp<memref::LoadOp>();
    if (!load || !load.getType().isF32() || !isInProduct(op) ||
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

void arm::addSpreading(RewritePatternSet &patterns) {
  patterns.add<AddBeforeSpread, LoadFactorOnce>(patterns.getContext());
}

void arm::addBeginnings(RewritePatternSet &patterns) {
  patterns.add<LoadBeginning>(patterns.getContext());
}

void arm::addFactors(RewritePatternSet &patterns) {
  patterns.add<SpreadFactor>(patterns.getContext());
}

void arm::addAddends(RewritePatternSet &patterns) {
  patterns.add<LoadAddends>(patterns.getContext());
}

void arm::addExtensions(RewritePatternSet &patterns) {
  patterns.add<ExtendTogether<arith::ExtSIOp>, ExtendTogether<arith::ExtUIOp>>(
      patterns.getContext());
}

void arm::addPrefetches(RewritePatternSet &patterns, int64_t line) {
  patterns.add<FetchOnce>(patterns.getContext(), line);
}

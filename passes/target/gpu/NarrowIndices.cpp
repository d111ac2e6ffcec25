// SPDX-License-Identifier: Apache-2.0
//
// Counts in 32 bits what cannot be more. (Registers have no more, so everything
// else takes two of them and two or more instructions.)
#include "passes/Passes.h"
#include "passes/support/Warps.h"

#include "mlir/Analysis/DataFlow/DeadCodeAnalysis.h"
#include "mlir/Analysis/DataFlow/IntegerRangeAnalysis.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "llvm/ADT/StringSwitch.h"

#include <limits>

namespace mlir::lumen {
#define GEN_PASS_DEF_NARROWINDICESPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;
using dataflow::IntegerValueRangeLattice;

namespace {

constexpr unsigned kBits = 32;
constexpr int64_t kMost = std::numeric_limits<int32_t>::max();

/// So many innermost loops stay as they are.
constexpr int64_t kPlainLoops = 2;

/// Of a buffer. A GPU has no memory for more.
constexpr int64_t kMostRows = 1 << 30;

/// Of a block, by CUDA.
constexpr int64_t kMostThreads = 1024;

/// All blocks run at the same time, one on a processor.
constexpr int64_t kMostBlocks = 1 << 16;

/// What is known besides what follows from operations.
class Ranges final : public dataflow::IntegerRangeAnalysis {
public:
  using IntegerRangeAnalysis::IntegerRangeAnalysis;

  LogicalResult
  visitOperation(Operation *op,
                 ArrayRef<const IntegerValueRangeLattice *> operands,
                 ArrayRef<IntegerValueRangeLattice *> results) override {
    std::optional<int64_t> most = getMost(op);
    if (!most && isMultiple(op) && !operands[0]->getValue().isUninitialized() &&
        operands[0]->getValue().getValue().smin().isNonNegative())
      most = operands[0]->getValue().getValue().smax().getSExtValue();
    if (!most)
      return IntegerRangeAnalysis::visitOperation(op, operands, results);
    unsigned bits =
        ConstantIntRanges::getStorageBitwidth(op->getResult(0).getType());
    IntegerValueRange range(
        ConstantIntRanges::fromSigned(APInt(bits, 0), APInt(bits, *most)));
    propagateIfChanged(results[0], results[0]->join(range));
    return success();
  }

private:
  /// A number without its remainder.
  static bool isMultiple(Operation *op) {
    auto difference = dyn_cast<arith::SubIOp>(op);
    if (!difference)
      return false;
    auto remainder = difference.getRhs().getDefiningOp<arith::RemUIOp>();
    return remainder && remainder.getLhs() == difference.getLhs();
  }

  static std::optional<int64_t> getMost(Operation *op) {
    if (auto read = dyn_cast<LLVM::CallIntrinsicOp>(op))
      return llvm::StringSwitch<std::optional<int64_t>>(read.getIntrin())
          .Case("llvm.nvvm.read.ptx.sreg.tid.x", kMostThreads - 1)
          .Case("llvm.nvvm.read.ptx.sreg.ntid.x", kMostThreads)
          .Case("llvm.nvvm.read.ptx.sreg.ctaid.x", kMostBlocks - 1)
          .Case("llvm.nvvm.read.ptx.sreg.nctaid.x", kMostBlocks)
          .Default(std::nullopt);
    // A number less what it is without its remainder is this remainder.
    auto left = dyn_cast<arith::SubIOp>(op);
    auto multiple =
        left ? left.getRhs().getDefiningOp<arith::SubIOp>() : nullptr;
    IntegerAttr by;
    if (multiple && isMultiple(multiple) &&
        multiple.getLhs() == left.getLhs() &&
        matchPattern(multiple.getRhs().getDefiningOp()->getOperand(1),
                     m_Constant(&by)) &&
        by.getValue().isStrictlyPositive())
      return by.getInt() - 1;
    // Rows are those of tokens or pages. (A buffer of one dimension may be a
    // weight, of any size.)
    auto dim = dyn_cast<memref::DimOp>(op);
    auto type = dim ? dyn_cast<MemRefType>(dim.getSource().getType()) : nullptr;
    if (type && type.getRank() > 1 && dim.getConstantIndex() == 0)
      return kMostRows;
    return std::nullopt;
  }
};

/// The lower bits of a number are those of its lower half.
struct NarrowLowerBits final : OpRewritePattern<arith::RemUIOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::RemUIOp op,
                                PatternRewriter &rewriter) const override {
    IntegerAttr by;
    if (!op.getType().isIndex() ||
        !matchPattern(op.getRhs(), m_Constant(&by)) ||
        !by.getValue().isPowerOf2() || by.getInt() > kMost)
      return failure();
    Type word = rewriter.getI32Type();
    Location loc = op.getLoc();
    Value lower = arith::IndexCastOp::create(rewriter, loc, word, op.getLhs());
    Value divisor = arith::ConstantOp::create(
        rewriter, loc, rewriter.getI32IntegerAttr(int32_t(by.getInt())));
    Value narrow = arith::RemUIOp::create(rewriter, loc, lower, divisor);
    rewriter.replaceOpWithNewOp<arith::IndexCastUIOp>(op, op.getType(), narrow);
    return success();
  }
};

/// Forgets what goes away.
struct Listener final : RewriterBase::Listener {
  explicit Listener(DataFlowSolver &solver) : solver(solver) {}
  void notifyOperationErased(Operation *op) override {
    solver.eraseState(solver.getProgramPointAfter(op));
    for (Value result : op->getResults())
      solver.eraseState(result);
  }
  DataFlowSolver &solver;
};

struct NarrowIndicesPass final
    : lumen::impl::NarrowIndicesPassBase<NarrowIndicesPass> {
  using NarrowIndicesPassBase::NarrowIndicesPassBase;

  void runOnOperation() override;

private:
  void narrow(scf::ForOp loop, DataFlowSolver &solver);
};

/// Least and most of a value that is no vector; none where nothing is known.
std::optional<std::pair<int64_t, int64_t>> getRange(DataFlowSolver &solver,
                                                    Value value) {
  auto *state = solver.lookupState<IntegerValueRangeLattice>(value);
  if (!state || state->getValue().isUninitialized())
    return std::nullopt;
  const ConstantIntRanges &range = state->getValue().getValue();
  return std::pair(range.smin().getSExtValue(), range.smax().getSExtValue());
}

/// How many loops lie in each other, this one the outermost.
int64_t getDepth(scf::ForOp loop) {
  int64_t inner = 0;
  loop.getBody()->walk(
      [&](scf::ForOp each) { inner = std::max(inner, getDepth(each)); });
  return inner + 1;
}

/// It counts up to a step beyond what is less than its end.
void NarrowIndicesPass::narrow(scf::ForOp loop, DataFlowSolver &solver) {
  Value variable = loop.getInductionVar();
  if (!variable.getType().isIndex() || loop.getUnsignedCmp())
    return;
  auto first = getRange(solver, loop.getLowerBound()),
       end = getRange(solver, loop.getUpperBound()),
       step = getRange(solver, loop.getStep());
  auto own = solver.lookupState<IntegerValueRangeLattice>(variable);
  if (!first || !end || !step || !own || first->first < -kMost ||
      first->second > kMost || end->first < -kMost || step->first < 1 ||
      step->second > kMost || end->second - 1 > kMost - step->second)
    return;
  IntegerValueRange range = own->getValue();
  OpBuilder b(loop);
  Type word = b.getI32Type();
  SmallVector<Value> bounds;
  for (Value bound :
       {loop.getLowerBound(), loop.getUpperBound(), loop.getStep()})
    bounds.push_back(arith::IndexCastOp::create(b, loop.getLoc(), word, bound));
  loop.setLowerBound(bounds[0]);
  loop.setUpperBound(bounds[1]);
  loop.setStep(bounds[2]);
  variable.setType(word);
  b.setInsertionPointToStart(loop.getBody());
  Value wide = first->first < 0
                   ? arith::IndexCastOp::create(b, loop.getLoc(),
                                                b.getIndexType(), variable)
                         .getResult()
                   : arith::IndexCastUIOp::create(b, loop.getLoc(),
                                                  b.getIndexType(), variable);
  variable.replaceAllUsesExcept(wide, wide.getDefiningOp());
  auto *state = solver.getOrCreateState<IntegerValueRangeLattice>(wide);
  (void)state->join(range);
}

void NarrowIndicesPass::runOnOperation() {
  func::FuncOp function = getOperation();
  if (!hasWarps(function) || function.isExternal())
    return;
  auto tokens =
      function->getParentOfType<ModuleOp>()->getAttrOfType<IntegerAttr>(
          LumenDialect::kMaxTokensAttr);
  if (tokens && tokens.getInt() > kMostRows) {
    function.emitError("counts at most ")
        << kMostRows << " tokens on a GPU, got " << LumenDialect::kMaxTokensAttr
        << " = " << tokens.getInt();
    return signalPassFailure();
  }
  DataFlowSolver solver;
  solver.load<dataflow::DeadCodeAnalysis>();
  solver.load<Ranges>();
  if (failed(solver.initializeAndRun(function)))
    return signalPassFailure();
  // Loops over spans and tokens are left to LLVM: of addresses that count in 64
  // bits it makes pointers, which take an addition each. Tiles need their
  // registers more.
  bool isTile = function->hasAttr(LumenDialect::kLoopAttr);
  SmallVector<scf::ForOp> loops;
  function.walk([&](scf::ForOp loop) {
    if (isTile || getDepth(loop) > kPlainLoops)
      return loops.push_back(loop);
    loop.walk([&](Operation *op) {
      for (Value result : op->getResults())
        solver.eraseState(result);
    });
  });
  for (scf::ForOp loop : loops)
    narrow(loop, solver);
  RewritePatternSet patterns(&getContext());
  arith::populateIntRangeNarrowingPatterns(patterns, solver, {kBits});
  patterns.add<NarrowLowerBits>(&getContext());
  Listener listener(solver);
  // What a pattern sees is older than what others made.
  GreedyRewriteConfig config;
  config.setListener(&listener);
  config.setUseTopDownTraversal(false);
  if (failed(applyPatternsGreedily(function, std::move(patterns), config)))
    signalPassFailure();
}

} // namespace

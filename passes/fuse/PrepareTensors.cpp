// SPDX-License-Identifier: Apache-2.0
#include "passes/Passes.h"
#include "passes/fuse/TensorOps.h"
#include "passes/support/CallOrder.h"
#include "passes/support/KernelBuffers.h"

#include "mlir/Conversion/AffineToStandard/AffineToStandard.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/Transforms/Transforms.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Tensor/Transforms/Transforms.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/Inliner.h"
#include "mlir/Transforms/InliningUtils.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_PREPARETENSORSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Ops that say themselves of which steps they are made, such as softmax.
struct DecomposeAggregated
    : OpInterfaceRewritePattern<linalg::AggregatedOpInterface> {
  using OpInterfaceRewritePattern::OpInterfaceRewritePattern;

  LogicalResult matchAndRewrite(linalg::AggregatedOpInterface op,
                                PatternRewriter &rewriter) const override {
    FailureOr<SmallVector<Value>> values = op.decomposeOperation(rewriter);
    if (failed(values))
      return failure();
    rewriter.replaceOp(op, *values);
    return success();
  }
};

/// Functions that not all targets have instructions for: a call of a library
/// would be left. In f32 polynomials take their place.
static bool needsLibrary(Operation *op) {
  bool isExact = isa<math::AbsFOp, math::CopySignOp, math::RsqrtOp,
                     math::SqrtOp, math::ClampFOp, math::IsNaNOp, math::IsInfOp,
                     math::IsFiniteOp, math::IsNormalOp>(op);
  bool isOfF64 = isa_and_nonnull<math::MathDialect>(op->getDialect()) &&
                 !isExact && llvm::any_of(op->getOperandTypes(), [](Type type) {
                   return getElementTypeOrSelf(type).isF64();
                 });
  return isOfF64 || isa<arith::RemFOp, math::IPowIOp, math::FPowIOp>(op);
}

/// The largest rank that is compiled: types may say any.
constexpr int64_t kMostRank = 16;

struct PrepareTensorsPass final
    : lumen::impl::PrepareTensorsPassBase<PrepareTensorsPass> {
  using PrepareTensorsPassBase::PrepareTensorsPassBase;

  void runOnOperation() override;

private:
  LogicalResult inlineCalls(func::FuncOp function);
  LogicalResult simplify(func::FuncOp function);
  LogicalResult verify(func::FuncOp function);
  void copyReturned(func::FuncOp function);

  /// Functions with tensor ops, their own or those of callees.
  DenseSet<Operation *> withTensors;
};

/// Kernels are formed of a function's own ops; and what a call in a loop
/// computes is part of the loop.
LogicalResult PrepareTensorsPass::inlineCalls(func::FuncOp function) {
  SmallVector<func::CallOp> calls;
  function.walk([&](func::CallOp call) {
    auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
        call, call.getCalleeAttr());
    bool isNested = call->getBlock() != &function.getBody().front();
    if (callee && !callee.isExternal() && callee.getBody().hasOneBlock() &&
        (isNested || withTensors.contains(callee)))
      calls.push_back(call);
  });
  InlinerInterface interface(&getContext());
  InlinerConfig config;
  for (func::CallOp call : calls) {
    auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
        call, call.getCalleeAttr());
    if (failed(inlineCall(interface, config.getCloneCallback(), call, callee,
                          &callee.getBody())))
      return call.emitOpError("cannot be inlined, which calls of functions "
                              "that work on tensors must be");
    call.erase();
  }
  return success();
}

/// Whether a consumer reads every element once: what it reads again and again
/// is better computed before, unless that is just a cast.
static bool isReadOnce(OpOperand *operand, Operation *producer) {
  auto consumer = dyn_cast<linalg::LinalgOp>(operand->getOwner());
  if (!consumer || consumer.getMatchingIndexingMap(operand).getNumResults() >=
                       consumer.getNumLoops())
    return true;
  auto generic = dyn_cast<linalg::GenericOp>(producer);
  return !generic ||
         llvm::all_of(generic.getBody()->without_terminator(),
                      llvm::IsaPred<arith::ExtFOp, arith::TruncFOp,
                                    arith::ExtSIOp, arith::ExtUIOp>);
}

LogicalResult PrepareTensorsPass::simplify(func::FuncOp function) {
  MLIRContext *context = &getContext();
  RewritePatternSet steps(context);
  steps.add<DecomposeAggregated>(context);
  linalg::populateDecomposePadPatterns(steps);
  tensor::populateDecomposeTensorConcatPatterns(steps);
  linalg::populateElementwiseToLinalgConversionPatterns(steps);
  linalg::populateLinalgNamedOpsGeneralizationPatterns(steps);
  if (failed(applyPatternsGreedily(function, std::move(steps))))
    return failure();

  RewritePatternSet fusion(context);
  auto readsAlone = [](OpOperand *operand) {
    Operation *producer = operand->get().getDefiningOp();
    return producer && producer->getNumResults() == 1 &&
           producer->hasOneUse() && isReadOnce(operand, producer);
  };
  linalg::populateElementwiseOpsFusionPatterns(fusion, readsAlone);
  linalg::populateConstantFoldLinalgOperations(fusion, readsAlone);
  linalg::populateEraseUnusedOperandsAndResultsPatterns(fusion);
  linalg::populateInlineConstantOperandsPatterns(fusion);
  linalg::populateFoldReshapeOpsByExpansionPatterns(fusion, readsAlone);
  memref::populateResolveRankedShapedTypeResultDimsPatterns(fusion);
  tensor::populateReassociativeReshapeFoldingPatterns(fusion);
  for (auto *dialect : context->getLoadedDialects())
    if (isa<affine::AffineDialect, arith::ArithDialect, linalg::LinalgDialect,
            scf::SCFDialect, tensor::TensorDialect>(dialect))
      dialect->getCanonicalizationPatterns(fusion);
  for (RegisteredOperationName op : context->getRegisteredOperations())
    if (isa<affine::AffineDialect, arith::ArithDialect, linalg::LinalgDialect,
            scf::SCFDialect, tensor::TensorDialect>(op.getDialect()))
      op.getCanonicalizationPatterns(fusion, context);
  if (failed(applyPatternsGreedily(function, std::move(fusion))))
    return failure();
  // Sizes and offsets as arithmetic.
  OpPassManager lower(func::FuncOp::getOperationName());
  lower.addPass(createLowerAffinePass());
  return runPipeline(lower, function);
}

/// What is not compiled is refused by name, before it is changed any further.
LogicalResult PrepareTensorsPass::verify(func::FuncOp function) {
  TargetAttr target = TargetAttr::lookup(function);
  bool isForVulkan =
      target && target.getArchitecture() == llvm::Triple::spirv64;
  WalkResult walk =
      function.walk<WalkOrder::PreOrder>([&](Operation *op) -> WalkResult {
        for (Type type : llvm::concat<const Type>(
                 SmallVector<Type>(op->getOperandTypes()),
                 SmallVector<Type>(op->getResultTypes()))) {
          auto tensor = dyn_cast<TensorType>(type);
          if (!tensor)
            continue;
          if (!tensor.hasRank())
            return op->emitOpError("works on a tensor without a rank: ")
                   << type;
          if (tensor.getRank() > kMostRank)
            return op->emitOpError("works on a tensor of more than ")
                   << kMostRank << " dimensions: " << type;
        }
        if (needsLibrary(op))
          return op->emitOpError("is not supported for ")
                 << op->getOperand(0).getType()
                 << ": not all targets have an instruction for it";
        if (!isTensorOp(op))
          return WalkResult::advance();
        if (isForVulkan)
          return op->emitOpError("is not supported on Vulkan");
        if (isa<tensor::GatherOp, tensor::ScatterOp, tensor::GenerateOp,
                scf::WhileOp, scf::ForallOp, scf::ParallelOp, scf::ReduceOp,
                scf::ExecuteRegionOp, scf::IndexSwitchOp>(op))
          return op->emitOpError("is not supported");
        return WalkResult::advance();
      });
  return failure(walk.wasInterrupted());
}

/// A result has a buffer of its own.
void PrepareTensorsPass::copyReturned(func::FuncOp function) {
  auto end =
      dyn_cast<func::ReturnOp>(function.getBody().front().getTerminator());
  if (!end)
    return;
  OpBuilder b(end);
  DenseSet<Value> seen;
  for (OpOperand &operand : end->getOpOperands()) {
    Value value = operand.get();
    auto type = dyn_cast<RankedTensorType>(value.getType());
    Operation *producer = value.getDefiningOp();
    bool isOwn = seen.insert(value).second && producer &&
                 !producer->hasTrait<OpTrait::ConstantLike>();
    if (!type || isOwn || isCache(type) ||
        !type.getElementType().isIntOrIndexOrFloat() || type.getEncoding())
      continue;
    Location loc = end.getLoc();
    Value empty = tensor::EmptyOp::create(
        b, loc, tensor::getMixedSizes(b, loc, value), type.getElementType());
    SmallVector<AffineMap> maps(2, b.getMultiDimIdentityMap(type.getRank()));
    SmallVector<utils::IteratorType> loops(type.getRank(),
                                           utils::IteratorType::parallel);
    auto copy = linalg::GenericOp::create(
        b, loc, TypeRange(type), ValueRange(value), ValueRange(empty), maps,
        loops, [](OpBuilder &nested, Location loc, ValueRange values) {
          linalg::YieldOp::create(nested, loc, values.front());
        });
    operand.set(copy.getResult(0));
  }
}

void PrepareTensorsPass::runOnOperation() {
  FailureOr<SmallVector<func::FuncOp>> order = sortCalleesFirst(getOperation());
  if (failed(order))
    return signalPassFailure();
  for (func::FuncOp function : *order) {
    bool calls =
        function
            .walk([&](func::CallOp call) {
              return withTensors.contains(SymbolTable::lookupNearestSymbolFrom(
                         call, call.getCalleeAttr()))
                         ? WalkResult::interrupt()
                         : WalkResult::advance();
            })
            .wasInterrupted();
    if (function->hasAttr(LumenDialect::kKernelAttr) ||
        !function.getBody().hasOneBlock() || !(calls || hasTensorOps(function)))
      continue;
    withTensors.insert(function);
    if (failed(inlineCalls(function)) || failed(verify(function)) ||
        failed(simplify(function)))
      return signalPassFailure();
  }
  for (func::FuncOp function : *order)
    if (function.isPublic() && function.getBody().hasOneBlock() &&
        !function->hasAttr(LumenDialect::kKernelAttr))
      copyReturned(function);
  // Inlined everywhere.
  for (func::FuncOp function : llvm::reverse(*order))
    if (withTensors.contains(function) && function.isPrivate() &&
        SymbolTable::symbolKnownUseEmpty(function, getOperation()))
      function.erase();
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
#include "dialect/layout/FormatLayout.h"
#include "passes/support/KernelBuilder.h"
#include "passes/tile/tensor/Matmul.h"
#include "passes/tile/tensor/TensorKernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Bufferization/Transforms/OneShotAnalysis.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Dominance.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "mlir/Transforms/CSE.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace mlir::lumen;

/// Marks, within this pass, loops of one iteration.
static constexpr StringLiteral kOneAttr = "lumen.one";

//===----------------------------------------------------------------------===//
// Loops and branches: their tensors have one buffer each
//===----------------------------------------------------------------------===//

/// A tensor from outside of `region` with the sizes of `value`, which it is
/// written over step by step; null where there is none.
static Value findOrigin(Value value, Region &region) {
  while (Operation *op = value.getDefiningOp()) {
    if (!region.isAncestor(op->getParentRegion()))
      return value;
    if (auto destination = dyn_cast<DestinationStyleOpInterface>(op))
      value = destination.getTiedOpOperand(cast<OpResult>(value))->get();
    else if (auto insert = dyn_cast<tensor::InsertSliceOp>(op))
      value = insert.getDest();
    else if (auto loop = dyn_cast<scf::ForOp>(op))
      value = loop.getTiedLoopInit(cast<OpResult>(value))->get();
    else if (auto insert = dyn_cast<tensor::InsertOp>(op))
      value = insert.getDest();
    else
      return {};
  }
  return region.isAncestor(value.getParentRegion()) ? Value() : value;
}

static Value copyInto(OpBuilder &b, Location loc, Value value, Value target) {
  if (value == target)
    return value;
  return bufferization::MaterializeInDestinationOp::create(b, loc, value,
                                                           target)
      .getResult();
}

/// A loop goes on in the buffers in which it begins.
static void keepBuffers(scf::ForOp loop) {
  Operation *yield = loop.getBody()->getTerminator();
  OpBuilder b(yield);
  for (auto [i, argument] : llvm::enumerate(loop.getRegionIterArgs()))
    if (isa<RankedTensorType>(argument.getType()))
      yield->setOperand(
          i, copyInto(b, loop.getLoc(), yield->getOperand(i), argument));
}

/// Both branches write the same buffer.
static LogicalResult shareBuffers(scf::IfOp op) {
  for (OpResult result : op.getResults()) {
    auto type = dyn_cast<RankedTensorType>(result.getType());
    if (!type)
      continue;
    unsigned number = result.getResultNumber();
    OpBuilder b(op);
    Value target;
    if (type.hasStaticShape()) {
      target = tensor::EmptyOp::create(b, op.getLoc(), type.getShape(),
                                       type.getElementType());
    } else {
      Value origin;
      for (Region &region : op->getRegions())
        if (!origin)
          origin = findOrigin(
              region.front().getTerminator()->getOperand(number), region);
      if (!origin)
        return op.emitOpError("gives a tensor whose size is not known: ")
               << type;
      target = tensor::EmptyOp::create(
          b, op.getLoc(), tensor::getMixedSizes(b, op.getLoc(), origin),
          type.getElementType());
    }
    for (Region &region : op->getRegions()) {
      Operation *yield = region.front().getTerminator();
      OpBuilder inner(yield);
      yield->setOperand(number, copyInto(inner, op.getLoc(),
                                         yield->getOperand(number), target));
    }
  }
  return success();
}

/// The buffers that loops and branches give are those that they were given.
static void forwardBuffers(func::FuncOp kernel) {
  kernel.walk([](Operation *op) {
    if (auto branch = dyn_cast<scf::IfOp>(op)) {
      for (OpResult result : branch.getResults())
        if (isa<MemRefType>(result.getType()))
          result.replaceAllUsesWith(
              branch.thenYield()->getOperand(result.getResultNumber()));
    } else if (auto loop = dyn_cast<scf::ForOp>(op)) {
      for (auto [argument, init, result] : llvm::zip(
               loop.getRegionIterArgs(), loop.getInitArgs(), loop.getResults()))
        if (isa<MemRefType>(argument.getType())) {
          argument.replaceAllUsesWith(init);
          result.replaceAllUsesWith(init);
        }
    }
  });
}

//===----------------------------------------------------------------------===//
// Results: computed where they are wanted
//===----------------------------------------------------------------------===//

/// The operand that an op writes over to give `value`, if there is one.
static OpOperand *getWritten(Value value) {
  Operation *op = value.getDefiningOp();
  if (auto loop = dyn_cast_or_null<scf::ForallOp>(op))
    return loop.getTiedOpOperand(cast<OpResult>(value));
  if (auto destination = dyn_cast_or_null<DestinationStyleOpInterface>(op))
    return destination.getTiedOpOperand(cast<OpResult>(value));
  if (auto insert = dyn_cast_or_null<tensor::InsertSliceOp>(op))
    return &insert.getDestMutable();
  return nullptr;
}

static bool isReadByOne(Value value) {
  return llvm::count_if(value.getUsers(), [](Operation *user) {
           return !isa<tensor::DimOp>(user);
         }) == 1;
}

/// Where a result begins as nothing and nobody else reads what it is on the
/// way, it begins in its own buffer. (Upstream's elimination of empty tensors
/// does not look who else reads.)
static void placeResults(func::FuncOp kernel) {
  for (auto store :
       kernel.getOps<bufferization::MaterializeInDestinationOp>()) {
    if (!isa<MemRefType>(store.getDest().getType()))
      continue;
    OpOperand *written = nullptr;
    Value value = store.getSource();
    while (isReadByOne(value)) {
      OpOperand *next = getWritten(value);
      if (!next)
        break;
      written = next;
      value = next->get();
      if (value.getDefiningOp<tensor::EmptyOp>())
        break;
    }
    auto empty = value.getDefiningOp<tensor::EmptyOp>();
    if (!written || !empty || empty.getType() != store.getSource().getType())
      continue;
    OpBuilder b(kernel.getContext());
    b.setInsertionPoint(empty);
    written->set(bufferization::ToTensorOp::create(
        b, empty.getLoc(), empty.getType(), store.getDest(), /*restrict=*/true,
        /*writable=*/true));
    store.setRestrict(false);
  }
}

//===----------------------------------------------------------------------===//
// Copies and memory
//===----------------------------------------------------------------------===//

static void emitCopy(KernelBuilder &b, Value from, Value to) {
  int64_t rank = cast<MemRefType>(to.getType()).getRank();
  SmallVector<AffineMap> maps(2, b.getMultiDimIdentityMap(rank));
  SmallVector<utils::IteratorType> kinds(rank, utils::IteratorType::parallel);
  linalg::GenericOp::create(
      b, ValueRange(from), ValueRange(to), maps, kinds,
      [](OpBuilder &nested, Location loc, ValueRange values) {
        linalg::YieldOp::create(nested, loc, values.front());
      });
}

/// A copy is an op like others; at the top level the team shares its rows.
static void expandCopy(memref::CopyOp copy) {
  KernelBuilder b(copy.getLoc(), copy.getContext());
  b.setInsertionPoint(copy);
  Value from = copy.getSource(), to = copy.getTarget();
  int64_t rank = cast<MemRefType>(to.getType()).getRank();
  if (from == to) {
  } else if (rank == 0 || cast<MemRefType>(to.getType()).getDimSize(0) == 1 ||
             !isa<func::FuncOp>(copy->getParentOp())) {
    emitCopy(b, from, to);
  } else {
    OpFoldResult rows = memref::getMixedSizes(b, b.getLoc(), to).front();
    auto slice = [&](Value buffer, Value row) -> Value {
      SmallVector<OpFoldResult> sizes =
          memref::getMixedSizes(b, b.getLoc(), buffer);
      SmallVector<OpFoldResult> offsets(rank, b.getIndexAttr(0));
      SmallVector<OpFoldResult> strides(rank, b.getIndexAttr(1));
      offsets[0] = row;
      sizes[0] = b.getIndexAttr(1);
      return memref::SubViewOp::create(b, buffer, offsets, sizes, strides);
    };
    b.parallel({rows}, [&](ValueRange at) {
      Value source = slice(from, at[0]);
      emitCopy(b, source, slice(to, at[0]));
    });
  }
  copy.erase();
}

/// What a tile takes is on the stack of its worker, where it is not much; what
/// one worker alone allocates can be the team's.
static LogicalResult placeBuffer(memref::AllocOp alloc, Operation *entry) {
  auto loop = alloc->getParentOfType<scf::ForallOp>();
  MemRefType type = alloc.getType();
  Operation *outer = entry->getRegion(0).front().findAncestorOpInBlock(*alloc);
  if (outer == alloc)
    return success();
  bool isSmall = type.hasStaticShape() &&
                 type.getNumElements() * getBytes(type.getElementType()) <=
                     2 * kMostTileBytes;
  if (isSmall) {
    OpBuilder b(alloc);
    if (loop)
      b.setInsertionPointToStart(loop.getBody());
    else
      b.setInsertionPoint(outer);
    Value own = memref::AllocaOp::create(b, alloc.getLoc(), type,
                                         b.getI64IntegerAttr(64));
    alloc.replaceAllUsesWith(own);
    alloc.erase();
    return success();
  }
  bool isOfOne = !loop || loop->hasAttr(kOneAttr);
  bool isKnown = llvm::all_of(alloc.getDynamicSizes(), [&](Value size) {
    Operation *op = size.getDefiningOp();
    return !op ? isa<func::FuncOp>(size.getParentBlock()->getParentOp())
               : op->getParentOp() == entry && op->isBeforeInBlock(outer);
  });
  if (!isOfOne || !isKnown)
    return alloc.emitOpError("of ")
           << type
           << " is needed in a loop: a copy of a tensor that is too "
              "large, or whose size is only known there";
  alloc->moveBefore(outer);
  return success();
}

//===----------------------------------------------------------------------===//
// What stands between loops over tiles
//===----------------------------------------------------------------------===//

static bool writes(Operation *op) {
  return op
      ->walk([](Operation *inner) {
        auto effects = dyn_cast<MemoryEffectOpInterface>(inner);
        return effects && effects.hasEffect<MemoryEffects::Write>()
                   ? WalkResult::interrupt()
                   : WalkResult::advance();
      })
      .wasInterrupted();
}

/// Ops of one run that one worker does.
static LogicalResult leaveToOne(ArrayRef<Operation *> run) {
  if (llvm::none_of(run, writes))
    return success();
  SetVector<Operation *> inside;
  bool hasWritten = false;
  for (Operation *op : run) {
    bool dependsOnRun = llvm::any_of(op->getOperands(), [&](Value operand) {
      return inside.contains(operand.getDefiningOp());
    });
    op->walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        dependsOnRun |= inside.contains(operand.getDefiningOp());
    });
    hasWritten |= writes(op);
    // What others wrote before may be read by everyone.
    if (writes(op) || dependsOnRun || (hasWritten && !isPure(op)))
      inside.insert(op);
  }
  Operation *last = inside.back();
  for (Operation *op : inside)
    for (Operation *user : op->getUsers()) {
      Operation *ancestor = op->getBlock()->findAncestorOpInBlock(*user);
      if (!inside.contains(ancestor))
        return op->emitOpError("gives a number or a view that other loops "
                               "need, behind what one worker writes");
    }
  KernelBuilder b(last->getLoc(), last->getContext());
  b.setInsertionPointAfter(run.back());
  auto loop = b.parallel({b.getIndexAttr(1)}, [&](ValueRange) {});
  loop->setAttr(kOneAttr, b.getUnitAttr());
  for (Operation *op : inside)
    op->moveBefore(loop.getTerminator());
  return success();
}

/// A loop that is known to have one iteration would be taken for none.
static void keepLoop(scf::ForallOp loop) {
  if (!loop.isNormalized() ||
      !llvm::all_of(loop.getMixedUpperBound(), isOneInteger))
    return;
  KernelBuilder b(loop.getLoc(), loop.getContext());
  b.setInsertionPoint(loop);
  Value one = arith::MinUIOp::create(
      b, WorkerCountOp::create(b, b.getIndexType()), b.index(1));
  SmallVector<OpFoldResult> sizes = loop.getMixedUpperBound();
  sizes.front() = one;
  auto kept = b.parallel(sizes, [&](ValueRange at) {
    for (auto [before, now] : llvm::zip(loop.getInductionVars(), at))
      before.replaceAllUsesWith(now);
  });
  Block *from = loop.getBody();
  kept.getBody()->getOperations().splice(kept.getTerminator()->getIterator(),
                                         from->getOperations(), from->begin(),
                                         from->getTerminator()->getIterator());
  loop.erase();
}

/// The buffers that an op, and what is inside of it, reads or writes.
template <typename Effect>
static llvm::SmallPtrSet<Value, 4> getBuffers(Operation *op) {
  llvm::SmallPtrSet<Value, 4> buffers;
  op->walk([&](MemoryEffectOpInterface inner) {
    SmallVector<MemoryEffects::EffectInstance> effects;
    inner.getEffects(effects);
    for (const MemoryEffects::EffectInstance &effect : effects) {
      Value buffer = effect.getValue();
      if (!isa<Effect>(effect.getEffect()) || !buffer)
        continue;
      while (auto view = buffer.getDefiningOp<ViewLikeOpInterface>())
        buffer = view.getViewSource();
      buffers.insert(buffer);
    }
  });
  return buffers;
}

/// What every worker reads for itself, others must not write meanwhile: they
/// wait for each other behind loops over tiles only.
static LogicalResult verifyReads(Block &body) {
  for (Operation &op : body) {
    if (isa<scf::ForallOp>(op) || isPure(&op))
      continue;
    llvm::SmallPtrSet<Value, 4> read = getBuffers<MemoryEffects::Read>(&op);
    for (Operation *later = op.getNextNode(); later;
         later = later->getNextNode())
      for (Value buffer : getBuffers<MemoryEffects::Write>(later))
        if (read.contains(buffer))
          return op.emitOpError("reads a tensor that is written over later; "
                                "only loops over tiles can do that");
  }
  return success();
}

static LogicalResult leaveRestToOne(Block &body) {
  SmallVector<SmallVector<Operation *>> runs(1);
  for (Operation &op : body.without_terminator()) {
    if (isa<scf::ForallOp>(op))
      runs.emplace_back();
    else if (!isa<memref::AllocOp, memref::AllocaOp>(op))
      runs.back().push_back(&op);
  }
  for (ArrayRef<Operation *> run : runs)
    if (failed(leaveToOne(run)))
      return failure();
  return verifyReads(body);
}

//===----------------------------------------------------------------------===//
// Bufferization
//===----------------------------------------------------------------------===//

LogicalResult lumen::bufferizeTensors(func::FuncOp kernel) {
  IRRewriter rewriter(kernel.getContext());
  placeResults(kernel);

  WalkResult walk = kernel.walk([](Operation *op) -> WalkResult {
    if (auto loop = dyn_cast<scf::ForOp>(op))
      keepBuffers(loop);
    else if (auto branch = dyn_cast<scf::IfOp>(op))
      return WalkResult(shareBuffers(branch));
    return WalkResult::advance();
  });
  if (walk.wasInterrupted())
    return failure();

  bufferization::OneShotBufferizationOptions options;
  options.allowReturnAllocsFromLoops = true;
  // Buffers of one's own are plain; others are views of these.
  options.unknownTypeConverterFn =
      [](TensorType tensor, Attribute space,
         const bufferization::BufferizationOptions &) {
        return bufferization::getMemRefTypeWithStaticIdentityLayout(tensor,
                                                                    space);
      };
  bufferization::BufferizationState state;
  if (failed(bufferization::runOneShotBufferize(kernel, options, state)))
    return failure();
  forwardBuffers(kernel);

  // Copies of a slice to itself are none.
  DominanceInfo dominance(kernel);
  eliminateCommonSubExpressions(rewriter, dominance, kernel);
  // Loops carry no buffers any more; views of views are views.
  RewritePatternSet patterns(kernel.getContext());
  for (RegisteredOperationName op :
       kernel.getContext()->getRegisteredOperations())
    if (isa<memref::MemRefDialect, scf::SCFDialect, arith::ArithDialect>(
            op.getDialect()))
      op.getCanonicalizationPatterns(patterns, kernel.getContext());
  if (failed(applyPatternsGreedily(kernel, std::move(patterns))))
    return failure();
  SmallVector<memref::CopyOp> copies;
  kernel.walk([&](memref::CopyOp copy) { copies.push_back(copy); });
  for (memref::CopyOp copy : copies)
    expandCopy(copy);
  Block &body = kernel.getBody().front();
  for (auto op : llvm::make_early_inc_range(body.getOps<linalg::LinalgOp>()))
    if (std::optional<MatmulLoops> loops = findMatmul(op)) {
      emitMatmul(op, *loops, TargetAttr::lookup(kernel));
      op->erase();
    }
  if (failed(leaveRestToOne(body)))
    return failure();
  SmallVector<memref::AllocOp> allocs;
  kernel.walk([&](memref::AllocOp alloc) { allocs.push_back(alloc); });
  for (memref::AllocOp alloc : allocs)
    if (failed(placeBuffer(alloc, kernel)))
      return failure();
  for (auto loop : llvm::make_early_inc_range(body.getOps<scf::ForallOp>())) {
    loop->removeAttr(kOneAttr);
    keepLoop(loop);
  }
  return success();
}

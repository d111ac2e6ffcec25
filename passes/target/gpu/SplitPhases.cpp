// SPDX-License-Identifier: Apache-2.0
//
// Cuts kernels where all workers wait for each other, so that a host can launch
// the parts one after the other.
#include "passes/Passes.h"
#include "passes/support/Warps.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_SPLITPHASESPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Whether the workers meet at an op of a kernel's top level, be it that they
/// only do so where there was something to do.
bool isMeeting(Operation &op) {
  if (isa<BarrierOp>(op))
    return true;
  auto branch = dyn_cast<scf::IfOp>(op);
  return branch && branch.getNumResults() == 0 &&
         branch.getElseRegion().empty() &&
         llvm::all_of(*branch.thenBlock(),
                      llvm::IsaPred<BarrierOp, scf::YieldOp>);
}

/// The phase of each op of a kernel's top level, or how it cannot be cut.
struct Phases {
  DenseMap<Operation *, unsigned> of;
  unsigned count = 1;
};

/// What an op does to memory; none where that is not known.
std::optional<SmallVector<MemoryEffects::EffectInstance>>
getEffects(Operation *op) {
  // (What was in memory of a worker's own before a kernel matters to nobody.)
  if (isa<ScratchOp, WorkerIdOp, WorkerCountOp>(op))
    return SmallVector<MemoryEffects::EffectInstance>();
  return getEffectsRecursively(op);
}

/// What stands in several phases, because it changes nothing.
bool canRepeat(Operation *op) {
  auto effects = getEffects(op);
  return effects &&
         llvm::all_of(*effects, [](const MemoryEffects::EffectInstance &each) {
           return isa<MemoryEffects::Read>(each.getEffect());
         });
}

Value getRoot(Value buffer) {
  while (auto view = buffer.getDefiningOp<ViewLikeOpInterface>())
    buffer = view.getViewSource();
  return buffer;
}

struct SplitPhasesPass final
    : lumen::impl::SplitPhasesPassBase<SplitPhasesPass> {
  using SplitPhasesPassBase::SplitPhasesPassBase;

  void runOnOperation() override;

private:
  FailureOr<Phases> findPhases(func::FuncOp kernel);
  LogicalResult checkValues(func::FuncOp kernel, const Phases &phases);
  func::FuncOp makePhase(func::FuncOp kernel, const Phases &phases,
                         unsigned number);
  LogicalResult split(func::FuncOp kernel, SymbolTable &symbols);
  void hide(func::FuncOp kernel, SymbolTable &symbols);
};

FailureOr<Phases> SplitPhasesPass::findPhases(func::FuncOp kernel) {
  Phases phases;
  bool isMet = false;
  for (Operation &op : kernel.getBody().front()) {
    if (isMeeting(op)) {
      isMet = true;
      continue;
    }
    WalkResult walk = op.walk([](BarrierOp inner) {
      inner.emitOpError("stands inside of a loop or branch, so the kernel "
                        "cannot be cut there");
      return WalkResult::interrupt();
    });
    if (walk.wasInterrupted())
      return failure();
    // (What stands between two barriers and changes nothing needs no phase.)
    if (isMet && !canRepeat(&op) && !isa<func::ReturnOp, WarpBarrierOp>(op)) {
      ++phases.count;
      isMet = false;
    }
    phases.of[&op] = phases.count - 1;
  }
  return phases;
}

/// The buffers that a kernel writes; null stands for any.
DenseSet<Value> findWritten(func::FuncOp kernel) {
  DenseSet<Value> written;
  kernel.walk([&](MemoryEffectOpInterface op) {
    SmallVector<MemoryEffects::EffectInstance> effects;
    op.getEffects<MemoryEffects::Write>(effects);
    for (const MemoryEffects::EffectInstance &each : effects)
      written.insert(each.getValue() ? getRoot(each.getValue()) : Value());
  });
  // A loop that kernels share may write whatever it is given.
  kernel.walk([&](func::CallOp call) {
    for (Value operand : call.getOperands())
      if (isa<MemRefType>(operand.getType()))
        written.insert(getRoot(operand));
  });
  return written;
}

/// A value of an earlier phase is computed again. What that reads must be what
/// it was.
LogicalResult SplitPhasesPass::checkValues(func::FuncOp kernel,
                                           const Phases &phases) {
  DenseSet<Value> written = findWritten(kernel);
  Block &body = kernel.getBody().front();
  for (Operation &op : body) {
    auto own = phases.of.find(&op);
    bool isUsedLater =
        own != phases.of.end() && llvm::any_of(op.getUsers(), [&](auto *user) {
          return phases.of.lookup(body.findAncestorOpInBlock(*user)) !=
                 own->second;
        });
    if (!isUsedLater)
      continue;
    if (!canRepeat(&op))
      return op.emitOpError("has a result that is used behind a barrier, and "
                            "cannot be computed again there");
    for (const MemoryEffects::EffectInstance &each : *getEffects(&op))
      if (!each.getValue() || written.contains(getRoot(each.getValue())) ||
          written.contains(Value()))
        return op.emitOpError("is used behind a barrier, and reads what the "
                              "kernel writes");
  }
  return success();
}

/// A copy of the kernel that has nothing of other phases but what it uses.
func::FuncOp SplitPhasesPass::makePhase(func::FuncOp kernel,
                                        const Phases &phases, unsigned number) {
  IRMapping mapping;
  auto phase = cast<func::FuncOp>(kernel->clone(mapping));
  for (Operation &op : llvm::reverse(kernel.getBody().front())) {
    Operation *copy = mapping.lookup(&op);
    auto own = phases.of.find(&op);
    bool isOwn = isa<func::ReturnOp>(op) ||
                 (own != phases.of.end() && own->second == number);
    bool isUsed = canRepeat(copy) && !copy->use_empty();
    if (!isOwn && !isUsed)
      copy->erase();
  }
  return phase;
}

LogicalResult SplitPhasesPass::split(func::FuncOp kernel,
                                     SymbolTable &symbols) {
  FailureOr<Phases> phases = findPhases(kernel);
  if (failed(phases) || failed(checkValues(kernel, *phases)))
    return failure();
  SmallVector<func::FuncOp> parts;
  for (unsigned i = 0; i < phases->count; ++i)
    parts.push_back(makePhase(kernel, *phases, i));
  std::optional<SymbolTable::UseRange> uses =
      SymbolTable::getSymbolUses(kernel, getOperation());
  if (!uses)
    return kernel.emitError("is used in a way that nobody understands");
  SmallVector<func::CallOp> calls;
  for (SymbolTable::SymbolUse use : *uses) {
    auto call = dyn_cast<func::CallOp>(use.getUser());
    if (!call)
      return use.getUser()->emitOpError("uses a kernel without calling it");
    calls.push_back(call);
  }
  Block::iterator place = std::next(kernel->getIterator());
  std::string name = kernel.getSymName().str();
  symbols.erase(kernel);
  for (auto [i, part] : llvm::enumerate(parts)) {
    if (i)
      part.setSymName(name + "_phase" + std::to_string(i));
    symbols.insert(part, place);
  }
  for (func::CallOp call : calls) {
    OpBuilder b(call);
    for (func::FuncOp part : parts)
      func::CallOp::create(b, call.getLoc(), part, call.getOperands());
    call.erase();
  }
  return success();
}

/// A function of the kernel's name calls it, so that kernels are private.
void SplitPhasesPass::hide(func::FuncOp kernel, SymbolTable &symbols) {
  ImplicitLocOpBuilder b(kernel.getLoc(), kernel);
  auto caller =
      func::FuncOp::create(b, kernel.getSymName(), kernel.getFunctionType());
  if (ArrayAttr attrs = kernel.getAllArgAttrs())
    caller.setAllArgAttrs(attrs);
  b.setInsertionPointToStart(caller.addEntryBlock());
  symbols.remove(kernel);
  kernel.setSymName((kernel.getSymName() + "_kernel").str());
  symbols.insert(caller);
  symbols.insert(kernel);
  kernel.setPrivate();
  func::CallOp::create(b, kernel, caller.getArguments());
  func::ReturnOp::create(b);
}

void SplitPhasesPass::runOnOperation() {
  ModuleOp module = getOperation();
  if (!hasWarps(module))
    return;
  SymbolTable symbols(module);
  for (auto kernel : llvm::to_vector(module.getOps<func::FuncOp>())) {
    if (kernel.isExternal() || !kernel->hasAttr(LumenDialect::kKernelAttr))
      continue;
    if (kernel.getNumResults() || !kernel.getBody().hasOneBlock()) {
      kernel.emitError("cannot be launched: a kernel is one block without "
                       "results");
      return signalPassFailure();
    }
    if (kernel.isPublic())
      hide(kernel, symbols);
    if (failed(split(kernel, symbols)))
      return signalPassFailure();
  }
}

} // namespace

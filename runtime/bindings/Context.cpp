//===- Context.cpp - Ownership of IR seen from Python ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Diagnostics.h"

#include "passes/Registration.h"

#include "mlir/IR/DialectRegistry.h"

using namespace mlir;
using namespace mlir::lumen::python;

static const DialectRegistry &getRegistry() {
  static const DialectRegistry *registry = [] {
    auto *registry = new DialectRegistry();
    mlir::lumen::registerAll(*registry);
    mlir::lumen::registerAllPasses();
    return registry;
  }();
  return *registry;
}

ContextState::ContextState()
    : context(
          *new MLIRContext(getRegistry(), MLIRContext::Threading::DISABLED)),
      threads(std::make_unique<GuardedThreadPool>()) {
  context.setThreadPool(*threads);
  // Diagnostics stand in messages: the operation's location says enough.
  context.printOpOnDiagnostic(false);
}

void ContextState::setThreaded(bool threaded) {
  if (!threaded)
    context.disableMultithreading();
  else if (!context.isMultithreadingEnabled())
    context.setThreadPool(*threads);
}

ContextState::~ContextState() {
  if (crash)
    (void)threads.release();
  else
    delete &context;
}

ContextLock::ContextLock(const ContextRef &context)
    : lock(context->mutex, std::try_to_lock) {
  if (!lock) {
    nb::gil_scoped_release release;
    lock.lock();
  }
  if (context->crash)
    throw MLIRError{"the compiler crashed in this context (" + *context->crash +
                        "): make a new one",
                    {}};
}

static void throwIfCrashed(const ContextRef &context,
                           const std::optional<std::string> &crash) {
  if (!crash)
    return;
  context->crash = crash;
  throw MLIRError{"the compiler crashed: " + *crash, {}};
}

void mlir::lumen::python::runCompiler(const ContextRef &context,
                                      llvm::function_ref<void()> work,
                                      bool keepsPython) {
  std::optional<std::string> crash;
  {
    std::optional<nb::gil_scoped_release> release;
    if (!keepsPython)
      release.emplace();
    crash = runGuarded(work);
  }
  if (!crash)
    crash = context->threads->getCrash();
  throwIfCrashed(context, crash);
}

void mlir::lumen::python::runCompilerHere(const ContextRef &context,
                                          llvm::function_ref<void()> work) {
  throwIfCrashed(context, runGuardedHere(work));
}

//===----------------------------------------------------------------------===//
// OpHandle
//===----------------------------------------------------------------------===//

OpHandle::OpHandle(ContextRef context, Operation *op, OpRef parent)
    : context(std::move(context)), op(op), parent(std::move(parent)) {
  this->context->live[op] = this;
}

OpHandle::~OpHandle() {
  if (!op)
    return;
  context->live.erase(op);
  if (parent || context->crash)
    return;
  // The root of a tree. Handles inside would hold this one, so there are none;
  // uses of its results elsewhere are left empty, which the verifier reports.
  op->dropAllUses();
  op->destroy();
}

OpRef OpHandle::get(const ContextRef &context, Operation *op) {
  if (OpHandle *handle = context->live.lookup(op))
    return handle->shared_from_this();
  Operation *parentOp = op->getParentOp();
  return std::make_shared<OpHandle>(
      context, op, parentOp ? get(context, parentOp) : OpRef());
}

Operation *OpHandle::getOp() const {
  if (!op)
    throw std::runtime_error(
        "the operation has been invalidated: it was erased, or a "
        "pass manager ran on an operation around it");
  for (const OpHandle *handle = this; handle; handle = handle->parent.get())
    if (handle->busy)
      throw std::runtime_error(
          "the operation is being transformed by another thread");
  return op;
}

void OpHandle::updateParent() {
  Operation *parentOp = op->getParentOp();
  parent = parentOp ? get(context, parentOp) : OpRef();
}

void OpHandle::invalidateInside() {
  ++generation;
  op->walk([&](Operation *inner) {
    if (inner == op)
      return;
    if (OpHandle *handle = context->live.lookup(inner)) {
      handle->op = nullptr;
      context->live.erase(inner);
    }
  });
}

void OpHandle::erase() {
  invalidateInside();
  context->live.erase(op);
  op->erase();
  op = nullptr;
  parent.reset();
}

OpHandle::Exclusive::Exclusive(OpRef handle) : root(handle) {
  handle->invalidateInside();
  while (root->parent)
    root = root->parent;
  root->busy = true;
}

OpHandle::Exclusive::~Exclusive() { root->busy = false; }

void OwnedByOp::check() const {
  owner->getOp();
  if (generation != owner->getGeneration())
    throw std::runtime_error(
        "the block or value has been invalidated by a pass manager: "
        "fetch it again from its operation");
}

void PyInsertionPoint::insert(const PyOperation &op) const {
  Operation *inserted = op.get();
  if (inserted->getBlock())
    throw nb::value_error("the operation to insert is in a block already");
  checkSameContext(block.context(), op.context(), "operation to insert");
  Block *into = block.get();
  if (inserted->isAncestor(into->getParentOp()))
    throw nb::value_error("an operation cannot be inserted into itself");
  if (before) {
    Operation *next = before->get();
    if (next->getBlock() != into)
      throw nb::value_error(
          "the operation of the insertion point is no longer in its block");
    into->getOperations().insert(next->getIterator(), inserted);
  } else {
    into->push_back(inserted);
  }
  op.handle->updateParent();
}

//===----------------------------------------------------------------------===//
// Defaults set by `with`
//===----------------------------------------------------------------------===//

std::vector<Frame> &mlir::lumen::python::frames() {
  // Never destroyed: a thread may end without Python's global lock.
  static thread_local auto *stack = new std::vector<Frame>();
  return *stack;
}

void mlir::lumen::python::pushFrame(Frame frame) {
  frames().push_back(std::move(frame));
}

void mlir::lumen::python::popFrame(const ContextRef &context) {
  std::vector<Frame> &stack = frames();
  if (stack.empty() || stack.back().context != context)
    throw std::runtime_error(
        "'with' blocks of IR objects must end in reverse order");
  stack.pop_back();
}

ContextRef
mlir::lumen::python::resolveContext(const std::optional<PyIRContext> &context) {
  if (context)
    return context->ref;
  if (frames().empty())
    throw std::runtime_error(
        "no Context was given and there is none to take as default: "
        "pass context=, or call inside 'with Context():'");
  return frames().back().context;
}

Location
mlir::lumen::python::resolveLocation(const std::optional<PyLocation> &location,
                                     const ContextRef &context) {
  if (location) {
    checkSameContext(context, location->context, "location");
    return location->loc;
  }
  for (const Frame &frame : llvm::reverse(frames()))
    if (frame.location && frame.context == context)
      return frame.location->loc;
  return UnknownLoc::get(&context->context);
}

const PyInsertionPoint *mlir::lumen::python::currentInsertionPoint() {
  for (const Frame &frame : llvm::reverse(frames()))
    if (frame.insertionPoint)
      return &*frame.insertionPoint;
  return nullptr;
}

void mlir::lumen::python::checkSameContext(const ContextRef &context,
                                           const ContextRef &other,
                                           const char *what) {
  if (context != other)
    throw nb::value_error(
        (std::string("the ") + what + " belongs to another Context").c_str());
}

nb::object mlir::lumen::python::wrapValue(const ContextRef &context,
                                          Value value) {
  if (auto result = dyn_cast<OpResult>(value))
    return nb::cast(
        PyOpResult(OpHandle::get(context, result.getOwner()), value));
  Operation *owner = cast<BlockArgument>(value).getOwner()->getParentOp();
  return nb::cast(PyBlockArgument(OpHandle::get(context, owner), value));
}

nb::list mlir::lumen::python::wrapValues(const ContextRef &context,
                                         ValueRange values) {
  nb::list list;
  for (Value value : values)
    list.append(wrapValue(context, value));
  return list;
}

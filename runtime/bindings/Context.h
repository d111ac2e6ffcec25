//===- Context.h - Ownership of IR seen from Python -------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// Who keeps what alive:
//
//   * Every Python object that shows IR holds its ContextState.
//   * An operation is shown through one OpHandle. The handle of a nested
//     operation holds the handle of its parent operation, so any part of the IR
//     keeps the whole tree alive; the handle of a root owns it.
//   * Blocks, regions and values hold the handle of the operation that owns
//     them and the handle's generation at that time.
//   * Erasing an operation, or running passes on it, invalidates the handles
//     inside. Using such an object raises instead of touching freed memory.
//
// Handles are created, used and destroyed under Python's global lock. What runs
// without it (parsing, verification, passes, code generation) holds the
// context's mutex, so that one context serves one such call at a time; contexts
// are independent of each other.
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_BINDINGS_CONTEXT_H
#define LUMEN_RUNTIME_BINDINGS_CONTEXT_H

#include "runtime/bindings/Common.h"
#include "runtime/codegen/Guard.h"

#include "mlir/IR/Block.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Operation.h"
#include "llvm/ADT/DenseMap.h"

#include <memory>
#include <mutex>
#include <optional>

namespace mlir::lumen::python {

class OpHandle;
using OpRef = std::shared_ptr<OpHandle>;

struct ContextState {
  ContextState();
  ~ContextState();

  /// Lets passes use several threads, or just the one that runs them.
  void setThreaded(bool threaded);

  /// Never destroyed where the compiler crashed in it.
  MLIRContext &context;
  /// How it did. The context can then be used no more: locks may be held, and
  /// IR may be half-done.
  std::optional<std::string> crash;
  /// Of the context, in its place.
  std::unique_ptr<GuardedThreadPool> threads;
  /// Serializes the calls that run without Python's global lock.
  std::recursive_mutex mutex;
  /// The handle of each operation that Python holds.
  llvm::DenseMap<Operation *, OpHandle *> live;
};
using ContextRef = std::shared_ptr<ContextState>;

/// Holds a context's mutex; gives up Python's global lock while it waits.
/// Throws where the compiler crashed in the context.
class ContextLock {
public:
  explicit ContextLock(const ContextRef &context);

private:
  std::unique_lock<std::recursive_mutex> lock;
};

/// Runs `work`, which must not touch Python, guarded: throws MLIRError where it
/// crashes. Under the context's lock, and without Python's global lock unless
/// `keepsPython`: where nothing else keeps Python from changing the IR.
void runCompiler(const ContextRef &context, llvm::function_ref<void()> work,
                 bool keepsPython = false);
/// The same under the global lock and on this thread, for short work.
void runCompilerHere(const ContextRef &context,
                     llvm::function_ref<void()> work);

class OpHandle : public std::enable_shared_from_this<OpHandle> {
public:
  /// The handle of `op`; creates it, and those of its ancestors, at need.
  static OpRef get(const ContextRef &context, Operation *op);

  OpHandle(ContextRef context, Operation *op, OpRef parent);
  ~OpHandle();

  const ContextRef &getContext() const { return context; }
  const OpRef &getParent() const { return parent; }
  unsigned getGeneration() const { return generation; }
  bool isValid() const { return op != nullptr; }

  /// The operation; throws when it was erased or is being transformed.
  Operation *getOp() const;

  /// Follows a move of the operation: ownership goes to its new parent, or back
  /// to this handle where it has none.
  void updateParent();

  /// Makes all handles inside the operation, and the blocks and values shown
  /// of it, unusable.
  void invalidateInside();

  /// Erases the operation and makes everything inside unusable.
  void erase();

  /// While it lives, no other thread can reach the tree the operation is in;
  /// what Python held inside the operation is invalid from then on.
  class Exclusive {
  public:
    explicit Exclusive(OpRef handle);
    ~Exclusive();

  private:
    OpRef root;
  };

private:
  ContextRef context;
  Operation *op;
  OpRef parent;
  unsigned generation = 0;
  bool busy = false;
};

/// A block or region: where it lives, and whether it still does.
struct OwnedByOp {
  OwnedByOp(OpRef owner)
      : owner(std::move(owner)), generation(this->owner->getGeneration()) {}

  /// Throws when the owning operation was erased or transformed since.
  void check() const;
  const ContextRef &context() const { return owner->getContext(); }

  OpRef owner;
  unsigned generation;
};

//===----------------------------------------------------------------------===//
// Python's view
//===----------------------------------------------------------------------===//

struct PyIRContext {
  ContextRef ref;
  MLIRContext *operator->() const { return &ref->context; }
};

struct PyLocation {
  ContextRef context;
  Location loc;
};

struct PyOperation {
  OpRef handle;
  Operation *get() const { return handle->getOp(); }
  const ContextRef &context() const { return handle->getContext(); }
};

struct PyModule {
  OpRef handle;
};

/// What functions take that work on modules and other operations.
using OpOrModule = std::variant<PyOperation, PyModule>;
inline OpRef handleOf(const OpOrModule &op) {
  return std::visit([](const auto &value) { return value.handle; }, op);
}

struct PyRegion : OwnedByOp {
  PyRegion(OpRef owner, Region *region)
      : OwnedByOp(std::move(owner)), region(region) {}
  Region *get() const {
    check();
    return region;
  }
  Region *region;
};

struct PyBlock : OwnedByOp {
  PyBlock(OpRef owner, Block *block)
      : OwnedByOp(std::move(owner)), block(block) {}
  Block *get() const {
    check();
    return block;
  }
  Block *block;
};

struct PyValue : OwnedByOp {
  PyValue(OpRef owner, Value value)
      : OwnedByOp(std::move(owner)), value(value) {}
  Value get() const {
    check();
    return value;
  }
  Value value;
};
struct PyOpResult : PyValue {
  using PyValue::PyValue;
};
struct PyBlockArgument : PyValue {
  using PyValue::PyValue;
};

/// A place to insert operations: before `before`, or at the block's end.
struct PyInsertionPoint {
  PyBlock block;
  std::optional<PyOperation> before;
  /// Moves a detached operation here.
  void insert(const PyOperation &op) const;
};

//===----------------------------------------------------------------------===//
// Defaults set by `with`
//===----------------------------------------------------------------------===//

/// One `with` of this thread.
struct Frame {
  ContextRef context;
  std::optional<PyLocation> location;
  std::optional<PyInsertionPoint> insertionPoint;
};
std::vector<Frame> &frames();
void pushFrame(Frame frame);
void popFrame(const ContextRef &context);

/// The given context, else the one of the innermost `with`; throws if none.
ContextRef resolveContext(const std::optional<PyIRContext> &context);
/// The given location, else the innermost one of the same context, else
/// unknown.
Location resolveLocation(const std::optional<PyLocation> &location,
                         const ContextRef &context);
/// The innermost insertion point of this thread, if any.
const PyInsertionPoint *currentInsertionPoint();

/// Throws unless both are the same context.
void checkSameContext(const ContextRef &context, const ContextRef &other,
                      const char *what);

/// The Python object of a value: an OpResult or a BlockArgument.
nb::object wrapValue(const ContextRef &context, Value value);
/// The Python objects of values.
nb::list wrapValues(const ContextRef &context, ValueRange values);

} // namespace mlir::lumen::python

#endif // LUMEN_RUNTIME_BINDINGS_CONTEXT_H

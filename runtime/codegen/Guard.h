//===- Guard.h - Crashes of the compiler as errors --------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// MLIR and LLVM take what they are given for granted in more places than
// Lumen's own verifiers can know: IR that somebody wrote may end in a signal,
// in a fatal error or in recursion without end. Whoever hands them such IR does
// so in here, so that the process goes on.
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_CODEGEN_GUARD_H
#define LUMEN_RUNTIME_CODEGEN_GUARD_H

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/ThreadPool.h"

#include <mutex>
#include <optional>
#include <string>

namespace mlir::lumen {

/// Runs `work` on a thread with a stack for deep recursion, and waits for it.
/// Returns nothing, or how it crashed. What a crash leaves half-done, locks
/// included, must not be used again, nor destroyed. `dumpStack` writes where it
/// crashed to stderr.
std::optional<std::string> runGuarded(llvm::function_ref<void()> work,
                                      bool dumpStack = false);

/// The same on this thread, for what goes at most some hundred calls deep.
std::optional<std::string> runGuardedHere(llvm::function_ref<void()> work);

/// The threads of a context, guarded task by task.
class GuardedThreadPool final : public llvm::ThreadPoolInterface {
public:
  void wait() override { pool.wait(); }
  void wait(llvm::ThreadPoolTaskGroup &group) override { pool.wait(group); }
  unsigned getMaxConcurrency() const override {
    return pool.getMaxConcurrency();
  }

  /// How the first task crashed, if any did.
  std::optional<std::string> getCrash();

private:
  void asyncEnqueue(llvm::unique_function<void()> task,
                    llvm::ThreadPoolTaskGroup *group) override;

  llvm::DefaultThreadPool pool;
  std::mutex mutex;
  std::optional<std::string> crash;
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_CODEGEN_GUARD_H

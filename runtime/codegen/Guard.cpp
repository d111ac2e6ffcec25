//===- Guard.cpp - Crashes of the compiler as errors ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/codegen/Guard.h"

#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/raw_ostream.h"

#include <csignal>
#include <memory>
#include <pthread.h>

using namespace mlir::lumen;

/// Of which only what is used takes memory.
static constexpr size_t kStackBytes = size_t(256) << 20;

/// Where a fatal error of LLVM on this thread leaves its message.
static thread_local std::string *fatalMessage = nullptr;

/// LLVM reports for instance that an operation cannot be selected, and ends the
/// process when this returns.
static void handleFatalError(void *, const char *reason, bool) {
  if (fatalMessage)
    *fatalMessage = llvm::StringRef(reason).trim().str();
  else
    llvm::errs() << "LLVM error: " << reason << "\n";
  constexpr int kInternalError = 70; // EX_SOFTWARE
  if (auto *context = llvm::CrashRecoveryContext::GetCurrent())
    context->HandleExit(kInternalError);
}

static constexpr int kSignals[] = {SIGABRT, SIGBUS,  SIGFPE,
                                   SIGILL,  SIGSEGV, SIGTRAP};

/// By the signal: what handled it before, and LLVM's handler.
static struct sigaction previousActions[NSIG], recoveryActions[NSIG];

/// A crash of guarded work ends that work. Any other one goes to whoever
/// handled it before, with the address and all.
static void handleSignal(int number, siginfo_t *info, void *context) {
  const struct sigaction &previous = previousActions[number];
  if (llvm::CrashRecoveryContext::GetCurrent())
    recoveryActions[number].sa_handler(number);
  else if (previous.sa_flags & SA_SIGINFO)
    previous.sa_sigaction(number, info, context);
  else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
    previous.sa_handler(number);
  else {
    signal(number, SIG_DFL);
    raise(number);
  }
}

static void initialize() {
  static std::once_flag once;
  std::call_once(once, [] {
    for (int number : kSignals)
      sigaction(number, nullptr, &previousActions[number]);
    llvm::CrashRecoveryContext::Enable();
    llvm::install_fatal_error_handler(handleFatalError);
    // LLVM's handlers run on the stack that has just overflowed, and take the
    // crashes of others; ours have a stack of their own.
    for (int number : kSignals) {
      sigaction(number, nullptr, &recoveryActions[number]);
      struct sigaction action = {};
      action.sa_sigaction = handleSignal;
      action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
      sigemptyset(&action.sa_mask);
      sigaction(number, &action, nullptr);
    }
  });
}

namespace {
/// The stack of a thread's signal handlers.
class SignalStack {
public:
  SignalStack() : memory(new char[kBytes]) {
    stack_t stack{memory.get(), 0, kBytes};
    sigaltstack(&stack, &before);
  }
  ~SignalStack() { sigaltstack(&before, nullptr); }

private:
  static constexpr size_t kBytes = 64 << 10;
  std::unique_ptr<char[]> memory;
  stack_t before;
};
} // namespace

static std::string describe(const std::string &fatal, int code) {
  if (!fatal.empty())
    return fatal;
  constexpr int kSignal = 128; // what CrashRecoveryContext adds
  if (code > kSignal)
    if (const char *name = strsignal(code - kSignal))
      return name;
  return "it ended early";
}

/// On this thread.
static std::optional<std::string> guard(llvm::function_ref<void()> work,
                                        bool dumpStack) {
  thread_local SignalStack stack;
  (void)stack;
  std::string fatal;
  std::string *outer = std::exchange(fatalMessage, &fatal);
  llvm::CrashRecoveryContext context;
  context.DumpStackAndCleanupOnFailure = dumpStack;
  bool finished = context.RunSafely([&] {
    try {
      work();
    } catch (const std::bad_alloc &) {
      fatal = "out of memory";
    }
  });
  fatalMessage = outer;
  if (finished && fatal.empty())
    return std::nullopt;
  return describe(fatal, context.RetCode);
}

std::optional<std::string>
mlir::lumen::runGuarded(llvm::function_ref<void()> work, bool dumpStack) {
  initialize();
  struct Call {
    llvm::function_ref<void()> work;
    bool dumpStack;
    std::optional<std::string> crash;
  } call{work, dumpStack, {}};
  auto run = [](void *data) -> void * {
    Call &call = *static_cast<Call *>(data);
    call.crash = guard(call.work, call.dumpStack);
    return nullptr;
  };
  pthread_attr_t attributes;
  pthread_t thread;
  bool hasThread = !pthread_attr_init(&attributes) &&
                   !pthread_attr_setstacksize(&attributes, kStackBytes) &&
                   !pthread_create(&thread, &attributes, run, &call);
  // Where there is no room for its stack, this one must do.
  if (hasThread)
    pthread_join(thread, nullptr);
  else
    run(&call);
  pthread_attr_destroy(&attributes);
  return call.crash;
}

std::optional<std::string>
mlir::lumen::runGuardedHere(llvm::function_ref<void()> work) {
  initialize();
  return guard(work, /*dumpStack=*/false);
}

std::optional<std::string> GuardedThreadPool::getCrash() {
  std::lock_guard<std::mutex> lock(mutex);
  return crash;
}

void GuardedThreadPool::asyncEnqueue(llvm::unique_function<void()> task,
                                     llvm::ThreadPoolTaskGroup *group) {
  initialize();
  auto guarded = [this, task = std::move(task)]() mutable {
    std::optional<std::string> happened =
        guard([&] { task(); }, /*dumpStack=*/false);
    if (!happened)
      return;
    std::lock_guard<std::mutex> lock(mutex);
    if (!crash)
      crash = std::move(happened);
    // Nothing that it left may be freed.
    new llvm::unique_function<void()>(std::move(task));
  };
  if (group)
    pool.async(*group, std::move(guarded));
  else
    pool.async(std::move(guarded));
}

//===- FileGuard.cpp - Mapped files that others cut short -----------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/FileGuard.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace mlir::lumen;

/// What the handler reads. Ranges are used again, but never freed: it may look
/// at one at any time.
struct FileGuard::Range {
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> lost{false};
  Range *next = nullptr;
};

static std::atomic<FileGuard::Range *> first{nullptr};
static std::mutex changes;
static struct sigaction before;
static uintptr_t pageBytes;

/// Makes the pages that hold `address` and follow it zeros. Only calls what a
/// handler may call.
static bool replaceLostPages(uintptr_t address) {
  FileGuard::Range *range = first.load(std::memory_order_acquire);
  for (; range; range = range->next) {
    uintptr_t begin = range->begin.load(std::memory_order_acquire);
    uintptr_t end = range->end.load(std::memory_order_acquire);
    if (!begin || address < begin || address >= end)
      continue;
    uintptr_t page = address & ~(pageBytes - 1);
    range->lost.store(true, std::memory_order_release);
    return mmap(reinterpret_cast<void *>(page), end - page, PROT_READ,
                MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                0) != MAP_FAILED;
  }
  return false;
}

/// Ends the process as the signal does where nobody handles it.
static void endProcess(int signal) {
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  sigaction(signal, &standard, nullptr);
  raise(signal);
}

/// A signal for another address goes to the handler before this one. That may
/// know this one as the handler before itself, and pass the signal back: by
/// raising it again, or by returning, after which the access fails again. Both
/// mean that it has given up.
static void passOn(int signal, siginfo_t *info, void *context) {
  static std::atomic<pthread_t> passing{};
  static std::atomic<void *> passed{nullptr};
  bool failedAgain =
      info->si_code > 0 && passed.exchange(info->si_addr) == info->si_addr;
  if (passing.load() == pthread_self() || failedAgain)
    return endProcess(signal);
  pthread_t outer = passing.exchange(pthread_self());
  if (before.sa_flags & SA_SIGINFO)
    before.sa_sigaction(signal, info, context);
  else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
    before.sa_handler(signal);
  else
    endProcess(signal);
  passing.store(outer);
}

static void handleBusError(int signal, siginfo_t *info, void *context) {
  int saved = errno;
  if (info->si_code <= 0 ||
      !replaceLostPages(reinterpret_cast<uintptr_t>(info->si_addr)))
    passOn(signal, info, context);
  errno = saved;
}

/// Others may have set a handler of theirs in the meantime, which is then the
/// one to ask for other addresses.
static void installHandler() {
  struct sigaction current, own = {};
  own.sa_sigaction = handleBusError;
  // What the handler before raises again comes at once, see passOn.
  own.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&own.sa_mask);
  sigaction(SIGBUS, nullptr, &current);
  if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == handleBusError)
    return;
  before = current;
  sigaction(SIGBUS, &own, nullptr);
}

FileGuard::FileGuard(const void *begin, size_t size) {
  std::lock_guard<std::mutex> lock(changes);
  pageBytes = sysconf(_SC_PAGESIZE);
  installHandler();
  range = first.load(std::memory_order_relaxed);
  while (range && range->begin.load(std::memory_order_relaxed))
    range = range->next;
  if (!range) {
    range = new Range;
    range->next = first.load(std::memory_order_relaxed);
    first.store(range, std::memory_order_release);
  }
  uintptr_t address = reinterpret_cast<uintptr_t>(begin);
  uintptr_t end = (address + size + pageBytes - 1) & ~(pageBytes - 1);
  range->lost.store(false, std::memory_order_relaxed);
  range->end.store(end, std::memory_order_release);
  range->begin.store(address, std::memory_order_release);
}

bool FileGuard::lost() const {
  return range ? range->lost.load(std::memory_order_acquire) : wasLost;
}

void FileGuard::release() {
  std::lock_guard<std::mutex> lock(changes);
  if (!range)
    return;
  wasLost = range->lost.load(std::memory_order_acquire);
  range->begin.store(0, std::memory_order_release);
  range = nullptr;
}

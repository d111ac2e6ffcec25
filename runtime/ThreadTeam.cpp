//===- ThreadTeam.cpp - Threads that run one function together ------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/ThreadTeam.h"

#include <chrono>
#include <climits>
#include <csignal>
#include <string>

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace mlir::lumen;

/// How long a waiter stays awake. Longer than the gaps between the steps of one
/// sequence of calls, in which Python picks a token, far shorter than anyone
/// would notice as CPU use. Waking a thread up costs a virtual machine more.
static constexpr std::chrono::microseconds awakeTime(1000);
/// How much of that it keeps the processor to itself, if it has one.
static constexpr std::chrono::microseconds spinTime(20);

static void pauseProcessor() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

static void futex(std::atomic<uint32_t> &word, int operation, uint32_t value) {
  syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), operation, value,
          nullptr, nullptr, 0);
}

//===----------------------------------------------------------------------===//
// WaitWord
//===----------------------------------------------------------------------===//

void WaitWord::advance() {
  // Sequentially consistent, here and in waitWhile: either this thread sees the
  // sleeper or the sleeper sees the new value.
  value.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers.load(std::memory_order_seq_cst) != 0)
    futex(value, FUTEX_WAKE_PRIVATE, INT_MAX);
}

void WaitWord::waitWhile(uint32_t old, bool ownProcessor) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point start;
  auto awake = Clock::duration::zero();
  for (bool first = true; awake < awakeTime; first = false) {
    for (unsigned i = 0, checks = ownProcessor ? 64 : 8; i < checks; ++i) {
      if (load() != old)
        return;
      pauseProcessor();
    }
    if (first)
      start = Clock::now();
    awake = Clock::now() - start;
    if (!ownProcessor || awake > spinTime)
      sched_yield();
  }
  sleepers.fetch_add(1, std::memory_order_seq_cst);
  while (value.load(std::memory_order_seq_cst) == old)
    futex(value, FUTEX_WAIT_PRIVATE, old);
  sleepers.fetch_sub(1, std::memory_order_relaxed);
}

void WaitWord::reset() {
  value.store(0);
  sleepers.store(0);
}

//===----------------------------------------------------------------------===//
// ThreadTeam
//===----------------------------------------------------------------------===//

static unsigned countProcessors() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof(set), &set) == 0
             ? CPU_COUNT(&set)
             : std::thread::hardware_concurrency();
}

ThreadTeam::ThreadTeam(unsigned count)
    : count(count), ownProcessors(count <= countProcessors()),
      process(getpid()), shares(count), caller(makeWorker(0)) {
  startThreads();
}

ThreadTeam::~ThreadTeam() {
  if (process != getpid()) {
    // After a fork the threads exist in the parent only.
    new std::vector<std::thread>(std::move(threads));
    return;
  }
  stopThreads();
}

void ThreadTeam::startThreads() {
  // Signals are for the threads that Python knows.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  try {
    for (unsigned id = 1; id < count; ++id) {
      threads.emplace_back(&ThreadTeam::workerLoop, this, id, epoch.load());
      pthread_setname_np(threads.back().native_handle(),
                         ("lumen-" + std::to_string(id)).c_str());
    }
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    stopThreads();
    throw;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void ThreadTeam::stopThreads() {
  stopping.store(true);
  epoch.advance();
  for (std::thread &thread : threads)
    thread.join();
  threads.clear();
}

void ThreadTeam::workerLoop(unsigned id, uint32_t epochBefore) {
  lumen_worker worker = makeWorker(id);
  while (true) {
    epoch.waitWhile(epochBefore, ownProcessors);
    // Only after all workers have met does the epoch advance again.
    ++epochBefore;
    if (stopping.load())
      return;
    entry(slots, &worker);
    barrier();
  }
}

void ThreadTeam::run(Entry newEntry, uint64_t *newSlots) {
  std::lock_guard<std::mutex> lock(running);
  if (process != getpid()) {
    new std::vector<std::thread>(std::move(threads));
    threads.clear();
    epoch.reset();
    phase.reset();
    arrived.store(0);
    for (lumen_share &share : shares)
      share.taken = 0;
    caller = makeWorker(0);
    process = getpid();
    startThreads();
  }
  entry = newEntry;
  slots = newSlots;
  if (count > 1)
    epoch.advance();
  entry(slots, &caller);
  barrier();
}

void ThreadTeam::barrier() {
  if (count == 1)
    return;
  uint32_t current = phase.load();
  if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
    arrived.store(0, std::memory_order_relaxed);
    phase.advance();
  } else {
    phase.waitWhile(current, ownProcessors);
  }
}

/// So many pieces of what is left are one: they become smaller towards the end,
/// where workers that finish at different times would wait for each other.
static constexpr uint64_t piecesLeft = 8;

// Calls nothing, not even a function of std::atomic that is not inlined: that
// might use other registers.
lumen_piece lumen_claim(lumen_worker *worker, uint64_t total) {
  const uint64_t count = worker->count;
  if (count == 1) {
    // Everything at once, then nothing.
    if (total && (worker->exhausted ^= 1))
      return {0, total};
    return {total, total};
  }
  for (; worker->exhausted < count; ++worker->exhausted) {
    uint64_t owner = (worker->id + worker->exhausted) % count;
    uint64_t first = owner * total / count;
    uint64_t size = (owner + 1) * total / count - first;
    uint64_t *share = &worker->shares[owner].taken;
    uint64_t seen = __atomic_load_n(share, __ATOMIC_RELAXED);
    while (true) {
      int32_t ahead = int32_t(uint32_t(seen >> 32) - worker->loops);
      // Whoever goes on to another loop has left nothing of this one.
      uint64_t taken = ahead < 0 ? 0 : ahead > 0 ? size : uint32_t(seen);
      if (taken >= size)
        break;
      uint64_t piece = (size - taken + piecesLeft - 1) / piecesLeft;
      uint64_t wanted = uint64_t(worker->loops) << 32 | (taken + piece);
      if (__atomic_compare_exchange_n(share, &seen, wanted, /*weak=*/true,
                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return {first + taken, first + taken + piece};
    }
  }
  worker->exhausted = 0;
  ++worker->loops;
  return {total, total};
}

void lumen_barrier(lumen_worker *worker) {
  if (worker->count > 1)
    static_cast<ThreadTeam *>(worker->team)->barrier();
}

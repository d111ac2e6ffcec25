//===- ThreadTeam.cpp - Threads that run one function together ------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/ThreadTeam.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <csetjmp>
#include <csignal>
#include <ctime>
#include <mutex>
#include <string>
#include <utility>

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace mlir::lumen;
using Clock = TeamSize::Clock;
using std::chrono::nanoseconds;

/// How long a waiter stays awake. Longer than the gaps between the steps of one
/// sequence of calls, in which Python picks a token, far shorter than anyone
/// would notice as CPU use. Waking a thread up costs a virtual machine more.
static constexpr std::chrono::microseconds awakeTime(1000);
/// How much of that it keeps the processor to itself, if it has one.
static constexpr std::chrono::microseconds spinTime(20);
/// Waking a thread up takes less where a processor is free for it.
static constexpr std::chrono::microseconds wakingTime(250);

static void pauseProcessor() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// The kernel looks at 32 bits, the lower half of a longer word.
template <typename Word>
static void futex(std::atomic<Word> &word, int operation, uint32_t value) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
  syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), operation, value,
          nullptr, nullptr, 0);
}

static nanoseconds readClock() { return Clock::now().time_since_epoch(); }

namespace {
/// When a thread was without a processor.
struct Absence {
  /// How often another thread took its processor.
  long switches;
  /// All the time in which it did not run; only differences mean something.
  nanoseconds time;

  static Absence measure();
};
} // namespace

static long countSwitches() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

Absence Absence::measure() {
  timespec ran{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ran);
  return {countSwitches(), readClock() - std::chrono::seconds(ran.tv_sec) -
                               nanoseconds(ran.tv_nsec)};
}

/// What needs no explanation any more, as it is past or was meant.
static thread_local Absence knownAbsence = Absence::measure();

//===----------------------------------------------------------------------===//
// WaitWord
//===----------------------------------------------------------------------===//

void WaitWord::set(uint64_t next) {
  // Sequentially consistent, here and in sleepWhile: either this thread sees
  // the sleeper or the sleeper sees the new value.
  value.store(next, std::memory_order_seq_cst);
  if (sleepers.load(std::memory_order_seq_cst) != 0) {
    wokenAt.store(readClock().count(), std::memory_order_relaxed);
    futex(value, FUTEX_WAKE_PRIVATE, INT_MAX);
  }
}

void WaitWord::waitWhile(uint64_t old, bool ownProcessor,
                         std::atomic<int64_t> *since) {
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
    if (ownProcessor && awake <= spinTime)
      continue;
    // Others may have the processor for long, so this comes first.
    if (since && since->load(std::memory_order_relaxed) == 0)
      since->store(nanoseconds(start.time_since_epoch()).count(),
                   std::memory_order_relaxed);
    sched_yield();
  }
  sleepWhile(old);
}

void WaitWord::sleepWhile(uint64_t old) {
  nanoseconds asleep{};
  sleepers.fetch_add(1, std::memory_order_seq_cst);
  while (value.load(std::memory_order_seq_cst) == old) {
    asleep = readClock();
    futex(value, FUTEX_WAIT_PRIVATE, uint32_t(old));
  }
  sleepers.fetch_sub(1, std::memory_order_relaxed);
  if (asleep == nanoseconds::zero())
    return;
  // To sleep was meant. To wait for a processor after that was not.
  knownAbsence = Absence::measure();
  nanoseconds woken(wokenAt.load(std::memory_order_relaxed));
  nanoseconds late = readClock() - woken;
  if (woken > asleep && late > wakingTime) {
    knownAbsence.switches -= 1;
    knownAbsence.time -= late;
  }
}

void WaitWord::reset() {
  value.store(0);
  sleepers.store(0);
}

//===----------------------------------------------------------------------===//
// ProcessLock
//===----------------------------------------------------------------------===//

/// No id of a process is that large.
static constexpr uint32_t contended = 1u << 31;

void ProcessLock::lock() {
  const uint32_t process = getpid();
  uint32_t seen = 0, wanted = process;
  // Where it is not open, either somebody of this process holds it, or nobody.
  while (
      !word.compare_exchange_strong(seen, wanted, std::memory_order_acquire)) {
    wanted = process | contended;
    if (seen == process &&
        word.compare_exchange_strong(seen, wanted, std::memory_order_relaxed))
      seen = wanted;
    if (seen == wanted) {
      futex(word, FUTEX_WAIT_PRIVATE, wanted);
      seen = 0;
    }
  }
}

void ProcessLock::unlock() {
  if (word.exchange(0, std::memory_order_release) & contended)
    futex(word, FUTEX_WAKE_PRIVATE, 1);
}

uint32_t ProcessLock::getProcess() const {
  return word.load(std::memory_order_relaxed) & ~contended;
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

/// The words for runs and barriers: a number that changes each time, and the
/// members.
static uint64_t followedBy(uint64_t word, uint64_t members) {
  return members << 32 | uint32_t(word + 1);
}
static uint64_t membersOf(uint64_t word) { return word >> 32; }

ThreadTeam::ThreadTeam(unsigned count)
    : count(count), processors(countProcessors()), process(getpid()),
      shares(count), teamSize(count), lastMembers(count),
      caller(makeWorker(0)) {
  startThreads();
}

ThreadTeam::~ThreadTeam() {
  if (process != uint32_t(getpid())) {
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
  // Less those of what a worker does itself: a mapped file may lose pages
  // (FileGuard), and what is an error shall be reported as one.
  for (int own : {SIGBUS, SIGFPE, SIGILL, SIGSEGV})
    sigdelset(&all, own);
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
  epoch.set(followedBy(epoch.load(), count));
  admission.advance();
  for (std::thread &thread : threads)
    thread.join();
  threads.clear();
}

void ThreadTeam::restartAfterFork() {
  new std::vector<std::thread>(std::move(threads));
  threads.clear();
  stopping.store(false);
  for (WaitWord *word : {&epoch, &admission, &phase})
    word->reset();
  arrived.store(0);
  for (lumen_share &share : shares)
    share.taken = 0;
  caller = makeWorker(0);
  teamSize = TeamSize(count);
  startThreads();
  process = getpid();
}

void ThreadTeam::workerLoop(unsigned id, uint64_t lastRun) {
  lumen_worker worker = makeWorker(id);
  while (true) {
    epoch.waitWhile(lastRun, spins(worker.members));
    // A run does not end without its members. So what is read here is a new run
    // that this worker is a member of, or one that it is not.
    while (id >= membersOf(lastRun = epoch.load())) {
      uint64_t before = admission.load();
      if (id >= membersOf(epoch.load()))
        admission.sleepWhile(before);
    }
    if (stopping.load())
      return;
    worker.count = worker.members = membersOf(lastRun);
    worker.loops = firstLoop;
    worker.exhausted = 0;
    takePart(&worker);
  }
}

void ThreadTeam::takePart(lumen_worker *worker) {
  jmp_buf leave;
  worker->leave = &leave;
  if (_setjmp(leave) == 0) {
    entry(slots, worker);
    barrier(worker);
  }
}

/// Prepares for so many members in the next run.
void ThreadTeam::admit(unsigned members) {
  // Shares of those who were left out must count as those of an earlier loop.
  for (unsigned id = caller.members; id < members; ++id)
    shares[id].taken = uint64_t(caller.loops - 1) << 32;
  caller.count = caller.members = members;
  firstLoop = caller.loops;
}

void ThreadTeam::run(Entry newEntry, uint64_t *newSlots) {
  std::lock_guard<ProcessLock> lock(running);
  if (process != running.getProcess())
    restartAfterFork();
  entry = newEntry;
  slots = newSlots;
  if (count == 1)
    return entry(slots, &caller);

  teamSize.begin(Clock::now());
  waitingSince.store(0, std::memory_order_relaxed);
  unsigned before = caller.members, members = teamSize.get();
  admit(members);
  if (members > 1)
    epoch.set(followedBy(epoch.load(), members));
  if (members > before)
    admission.advance();
  entry(slots, &caller);
  barrier(&caller);
  teamSize.end(Clock::now());
  lastMembers.store(caller.members, std::memory_order_relaxed);
}

void ThreadTeam::barrier(lumen_worker *worker) {
  if (worker->members == 1)
    return;
  uint64_t current = phase.load();
  if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 < worker->members) {
    phase.waitWhile(current, spins(worker->members), &waitingSince);
    // The next barrier needs all members, so this is still about the last one,
    // or about one after this worker has left.
    worker->members = membersOf(phase.load());
  } else {
    if (waitingSince.load(std::memory_order_relaxed))
      countDelay();
    worker->members = teamSize.get();
    arrived.store(0, std::memory_order_relaxed);
    phase.set(followedBy(current, worker->members));
  }
  if (worker->id >= worker->members)
    longjmp(*static_cast<jmp_buf *>(worker->leave), 1);
}

/// The last to arrive at a barrier says whether it had no processor for a
/// while. If not, its part of the loop took longer than that of the others.
void ThreadTeam::countDelay() {
  int64_t since = waitingSince.exchange(0, std::memory_order_relaxed);
  if (countSwitches() == knownAbsence.switches)
    return;
  nanoseconds absent = -knownAbsence.time;
  knownAbsence = Absence::measure();
  absent += knownAbsence.time;
  nanoseconds delay = readClock() - nanoseconds(since);
  teamSize.lose(std::min(delay, absent), Clock::now());
}

/// So many pieces of what is left are one: they become smaller towards the end,
/// where workers that finish at different times would wait for each other.
static constexpr uint64_t piecesLeft = 8;

// Calls nothing, not even a function of std::atomic that is not inlined: that
// might use other registers.
lumen_piece lumen_claim(lumen_worker *worker, uint64_t total) {
  const uint64_t count = worker->members;
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
  static_cast<ThreadTeam *>(worker->team)->barrier(worker);
}

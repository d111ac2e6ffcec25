//===- ThreadTeam.h - Threads that run one function together ----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// A team runs a function on all of its threads at once (SPMD). The functions
// share out their loops by claiming iterations and meet at barriers.
//
// A worker claims its own share of a loop piece by piece, then what is left of
// the shares of others. So whoever is slowed down, by another program, another
// virtual machine or because its core is a small one, does less, and a loop
// takes as long as all of them together need. Where all are equally fast, each
// reads its own, contiguous share.
//
// Waiting spins at first, so that a barrier takes well under a microsecond,
// then gives up the processor, and after about a millisecond sleeps, so that an
// idle team uses no CPU time.
//
// Where other programs keep processors busy, fewer workers take part (see
// TeamSize.h). The number of members can fall at each barrier and rise with
// each run; who is left out sleeps.
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_THREADTEAM_H
#define LUMEN_RUNTIME_THREADTEAM_H

#include "runtime/TeamSize.h"

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

// What sanitizers call keeps no registers.
#if defined(__x86_64__) && defined(__clang__)
#define LUMEN_KEEPS_REGISTERS                                                  \
  __attribute__((no_caller_saved_registers, target("general-regs-only"),       \
                 disable_sanitizer_instrumentation))
#elif defined(__x86_64__)
#define LUMEN_KEEPS_REGISTERS                                                  \
  __attribute__((no_caller_saved_registers, target("general-regs-only"),       \
                 no_sanitize("address", "thread", "undefined")))
#else
#define LUMEN_KEEPS_REGISTERS
#endif

extern "C" {
/// What generated code knows of the thread it runs on.
struct lumen_worker {
  uint64_t id;
  /// The members at the beginning of the run.
  uint64_t count;
  void *team;
  /// For the runtime alone, from here on. What is taken of the shares of all
  /// workers, how many loops this worker has left behind, and in the present
  /// one of how many workers nothing is left.
  struct lumen_share *shares;
  uint32_t loops;
  uint32_t exhausted;
  /// Workers with a smaller id are members: they share out the present loop.
  uint64_t members;
  /// The jmp_buf by which a worker that is no longer a member leaves the run.
  void *leave;
};

/// What is taken of a worker's share of a loop: the number of the loop in the
/// upper half, how many iterations in the lower one. A share of an earlier loop
/// counts as untouched, so nobody needs to wait until all have left it.
struct alignas(64) lumen_share {
  uint64_t taken;
};

/// Iterations `first` up to `last` of a loop.
struct lumen_piece {
  uint64_t first;
  uint64_t last;
};

/// The next iterations for this worker of a loop of `total`, fewer than 2^32
/// for each worker; an empty piece where all are taken. Every worker calls it
/// until then, with the same `total`. There is no waiting. All registers but
/// those of the result are as before, so that a loop keeps its constants in
/// vector registers across it.
LUMEN_KEEPS_REGISTERS lumen_piece lumen_claim(lumen_worker *worker,
                                              uint64_t total);

/// Returns when all members have called it, to those who are members still.
void lumen_barrier(lumen_worker *worker);
}

namespace mlir::lumen {

/// A number that threads wait on until it changes.
class WaitWord {
public:
  uint64_t load() const { return value.load(std::memory_order_acquire); }
  /// Sets the value, of which the lower half must change, and wakes who waits.
  void set(uint64_t next);
  void advance() { set(load() + 1); }
  /// Returns once the value differs from `old`. Where threads share processors,
  /// waiting gives up the processor sooner. Who does so tells in `since`, if
  /// nobody has, when the wait began.
  void waitWhile(uint64_t old, bool ownProcessor,
                 std::atomic<int64_t> *since = nullptr);
  /// The same, asleep from the start.
  void sleepWhile(uint64_t old);
  void reset();

private:
  alignas(64) std::atomic<uint64_t> value{0};
  std::atomic<uint32_t> sleepers{0};
  /// When those who slept were woken up, in nanoseconds.
  std::atomic<int64_t> wokenAt{0};
};

/// A lock for the threads of one process. A process made by fork() finds it
/// open, as the thread that held it exists in the parent only.
class ProcessLock {
public:
  void lock();
  void unlock();
  /// The id of this process, for who holds the lock.
  uint32_t getProcess() const;

private:
  /// The id of the holder's process, and whether others may wait.
  std::atomic<uint32_t> word{0};
};

class ThreadTeam {
public:
  using Entry = void (*)(uint64_t *slots, lumen_worker *worker);

  /// Starts `count` - 1 threads; the caller of run() is worker 0.
  explicit ThreadTeam(unsigned count);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam &) = delete;
  ThreadTeam &operator=(const ThreadTeam &) = delete;

  unsigned size() const { return count; }
  /// The members at the end of the last run.
  unsigned active() const {
    return lastMembers.load(std::memory_order_relaxed);
  }

  /// Calls `entry` on every member and returns when all have returned or left.
  /// Who leaves does so in lumen_barrier, by longjmp. Calls from several
  /// threads run one after the other. In a process made by fork(), even during
  /// run(), the threads are started again.
  void run(Entry entry, uint64_t *slots);

  void barrier(lumen_worker *worker);

private:
  lumen_worker makeWorker(unsigned id) {
    return {id, count, this, shares.data(), 0, 0, count, nullptr};
  }
  void startThreads();
  void stopThreads();
  void restartAfterFork();
  void workerLoop(unsigned id, uint64_t lastRun);
  void takePart(lumen_worker *worker);
  void admit(unsigned members);
  bool spins(uint64_t members) const { return members <= processors; }
  void countDelay();

  const unsigned count;
  const unsigned processors;
  ProcessLock running;
  uint32_t process;
  std::vector<std::thread> threads;
  std::vector<lumen_share> shares;
  /// Changed between runs, and at a barrier by the last to arrive.
  TeamSize teamSize;
  std::atomic<unsigned> lastMembers;

  // What the members of a run read, written before it begins.
  Entry entry = nullptr;
  uint64_t *slots = nullptr;
  uint32_t firstLoop = 0;

  alignas(64) lumen_worker caller;

  std::atomic<bool> stopping{false};
  /// The number of the last run, in the lower half, and its members.
  WaitWord epoch;
  /// Changes when a run has more members than the one before.
  WaitWord admission;
  /// The number of the last barrier, in the lower half, and who are members
  /// after it.
  WaitWord phase;
  alignas(64) std::atomic<uint32_t> arrived{0};
  /// Since when a worker that has given up its processor has been waiting at
  /// the present barrier, in nanoseconds, or 0.
  std::atomic<int64_t> waitingSince{0};
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_THREADTEAM_H

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
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_THREADTEAM_H
#define LUMEN_RUNTIME_THREADTEAM_H

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#define LUMEN_KEEPS_REGISTERS                                                  \
  __attribute__((no_caller_saved_registers, target("general-regs-only")))
#else
#define LUMEN_KEEPS_REGISTERS
#endif

extern "C" {
/// What generated code knows of the thread it runs on.
struct lumen_worker {
  uint64_t id;
  uint64_t count;
  void *team;
  /// For lumen_claim alone: what is taken of the shares of all workers, how
  /// many loops this worker has left behind, and in the present one of how many
  /// workers nothing is left.
  struct lumen_share *shares;
  uint32_t loops;
  uint32_t exhausted;
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

/// Returns when all workers of the team have called it.
void lumen_barrier(lumen_worker *worker);
}

namespace mlir::lumen {

/// A number that threads wait on until it changes.
class WaitWord {
public:
  uint32_t load() const { return value.load(std::memory_order_acquire); }
  /// Adds one and wakes who waits.
  void advance();
  /// Returns once the value differs from `old`. Where threads share processors,
  /// waiting gives up the processor sooner.
  void waitWhile(uint32_t old, bool ownProcessor);
  void reset();

private:
  alignas(64) std::atomic<uint32_t> value{0};
  std::atomic<uint32_t> sleepers{0};
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

  /// Calls `entry` on every worker and returns when all have returned. Calls
  /// from several threads run one after the other. In a process made by fork()
  /// the threads are started again; a fork during run() is not supported.
  void run(Entry entry, uint64_t *slots);

  void barrier();

private:
  lumen_worker makeWorker(unsigned id) {
    return {id, count, this, shares.data(), 0, 0};
  }
  void startThreads();
  void stopThreads();
  void workerLoop(unsigned id, uint32_t epochBefore);

  const unsigned count;
  const bool ownProcessors;
  std::mutex running;
  int process;
  std::vector<std::thread> threads;
  std::vector<lumen_share> shares;
  lumen_worker caller;

  Entry entry = nullptr;
  uint64_t *slots = nullptr;
  std::atomic<bool> stopping{false};
  WaitWord epoch;
  WaitWord phase;
  alignas(64) std::atomic<uint32_t> arrived{0};
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_THREADTEAM_H

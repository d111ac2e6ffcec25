//===- team_stress.cpp - Stress test of thread teams ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// Runs teams of all sizes for some seconds (1 unless an argument says more),
// for the sanitizers to look at. It needs no MLIR:
//
//   clang++ -std=c++17 -g -O1 -fsanitize=thread -I. -pthread \
//     test/runtime/team_stress.cpp runtime/ThreadTeam.cpp runtime/TeamSize.cpp
//
// Prints what it has done; the exit status is 1 where something was wrong.
//
//===----------------------------------------------------------------------===//

#include "runtime/ThreadTeam.h"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace mlir::lumen;
using namespace std::chrono_literals;
using Clock = TeamSize::Clock;

#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__,        \
                   #condition);                                                \
      std::_Exit(1);                                                           \
    }                                                                          \
  } while (false)

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

namespace {
/// Loops over `cells`, which read what others wrote in the loop before: memory
/// that is ordered by barriers alone. In each round a loop over `visits`
/// follows at once: who is slow in the first loop meets shares of the second.
struct Loops {
  uint64_t rounds;
  std::vector<uint64_t> cells, before, visits;
  /// A worker that dawdles in every loop, by sleeping, or none.
  uint64_t slowWorker;
};
} // namespace

static void runLoops(uint64_t *slots, lumen_worker *worker) {
  Loops &loops = *reinterpret_cast<Loops *>(slots);
  uint64_t size = loops.cells.size();
  for (uint64_t round = 1; round <= loops.rounds; ++round) {
    std::vector<uint64_t> &from = round % 2 ? loops.before : loops.cells;
    std::vector<uint64_t> &to = round % 2 ? loops.cells : loops.before;
    while (true) {
      lumen_piece piece = lumen_claim(worker, size);
      if (piece.first >= piece.last)
        break;
      if (worker->id == loops.slowWorker)
        std::this_thread::sleep_for(300us);
      for (uint64_t i = piece.first; i < piece.last; ++i)
        to[i] = from[size - 1 - i] + 1;
    }
    while (true) {
      lumen_piece piece = lumen_claim(worker, size);
      if (piece.first >= piece.last)
        break;
      for (uint64_t i = piece.first; i < piece.last; ++i)
        ++loops.visits[i];
    }
    lumen_barrier(worker);
  }
}

static void checkLoops(ThreadTeam &team, uint64_t rounds, uint64_t size,
                       uint64_t slowWorker = -1) {
  const std::vector<uint64_t> zeros(size);
  Loops loops{rounds, zeros, zeros, zeros, slowWorker};
  team.run(runLoops, reinterpret_cast<uint64_t *>(&loops));
  for (uint64_t cell : rounds % 2 ? loops.cells : loops.before)
    CHECK(cell == rounds);
  for (uint64_t visits : loops.visits)
    CHECK(visits == rounds);
}

//===----------------------------------------------------------------------===//
// What teams go through
//===----------------------------------------------------------------------===//

/// Teams of several sizes, one after the other, with runs of any length.
static void runTeams(Clock::time_point end, unsigned seed) {
  std::mt19937 random(seed);
  while (Clock::now() < end) {
    ThreadTeam team(1 + random() % 5);
    for (unsigned run = random() % 50; run-- && Clock::now() < end;) {
      uint64_t slow = random() % 8 ? -1 : random() % team.size();
      checkLoops(team, random() % 20, random() % 100, slow);
      if (random() % 10 == 0)
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    }
  }
}

/// A team that several threads use, and that is forked meanwhile.
static void shareTeam(Clock::time_point end) {
  ThreadTeam team(3);
  std::vector<std::thread> users;
  for (unsigned i = 0; i < 3; ++i)
    users.emplace_back([&] {
      while (Clock::now() < end)
        checkLoops(team, 5, 30);
    });
#if __has_feature(thread_sanitizer)
  const bool forks = false; // It stops children that start threads.
#else
  const bool forks = true;
#endif
  while (forks && Clock::now() < end) {
    pid_t child = fork();
    if (child == 0) {
      checkLoops(team, 50, 100);
      std::_Exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    std::this_thread::sleep_for(5ms);
  }
  for (std::thread &user : users)
    user.join();
}

//===----------------------------------------------------------------------===//
// The number of members
//===----------------------------------------------------------------------===//

/// Runs of `step` for `total`, beside programs that keep `busy` of `processors`
/// processors busy: where there are more workers than other processors, others
/// wait for them half of the time. Returns the work done, in steps that one
/// worker alone could do.
static double simulate(TeamSize &size, unsigned processors, unsigned busy,
                       Clock::duration total, Clock::duration step,
                       Clock::time_point &now) {
  double work = 0;
  for (Clock::time_point end = now + total; now < end;) {
    size.begin(now);
    if (size.get() > processors - busy) {
      work += size.get() / 2.0;
      now += step;
      size.lose(step / 2, now);
    } else {
      work += size.get();
      now += step;
    }
    size.end(now);
  }
  return work / (double(total.count()) / double(step.count()));
}

static void checkSizes() {
  for (auto step : {300us, 4000us, 50000us})
    for (unsigned processors : {2u, 3u, 8u, 16u}) {
      TeamSize size(processors);
      Clock::time_point now{1h};
      CHECK(simulate(size, processors, 0, 1s, step, now) > processors - 0.01);
      CHECK(size.get() == processors);
      for (unsigned busy = 1; busy < processors; ++busy) {
        simulate(size, processors, busy, 2s, step, now);
        double work = simulate(size, processors, busy, 5s, step, now);
        CHECK(work > 0.8 * (processors - busy));
      }
      // All processors are free again.
      simulate(size, processors, 0, 3s, step, now);
      CHECK(size.get() == processors);
      // A single delay changes nothing, nor does a pause.
      size.begin(now);
      size.lose(3ms, now + 3ms);
      CHECK(size.get() == processors || processors > 2);
      // Nor does a longer one in a long run.
      size.end(now += 1s);
      size.begin(now);
      size.lose(15ms, now + 15ms);
      CHECK(size.get() == processors);
      size.end(now += 1s);
      size.begin(now);
      CHECK(size.get() == processors);
      simulate(size, processors, processors - 1, 1s, step, now);
      CHECK(size.get() < processors);
      now += 5s;
      size.begin(now);
      CHECK(size.get() == processors);
    }
}

int main(int argc, char **argv) {
  double seconds = argc > 1 ? std::atof(argv[1]) : 1;
  checkSizes();
  auto part = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(seconds / 2));
  Clock::time_point start = Clock::now();
  std::vector<std::thread> others;
  for (unsigned seed = 0; seed < 2; ++seed)
    others.emplace_back(runTeams, start + part, seed);
  for (std::thread &other : others)
    other.join();
  shareTeam(start + 2 * part);
  std::puts("ok");
  return 0;
}

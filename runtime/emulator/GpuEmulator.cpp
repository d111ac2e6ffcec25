// SPDX-License-Identifier: Apache-2.0
//
// Runs code for a GPU on this machine: what are instructions there are
// functions here, and every thread of the grid is a fiber. A fiber runs until
// it waits for others; then another one does, which one is drawn by lot. So
// code that lacks a barrier gives other results from seed to seed.
#include "runtime/emulator/GpuEmulator.h"

#include <algorithm>
#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

namespace {

constexpr int kWarp = 32;
constexpr size_t kStack = 1 << 18;

/// Threads that wait for each other.
struct Meeting {
  int size = 0, arrived = 0;
  /// How often they have met.
  uint64_t met = 0;
};

struct Warp {
  Meeting meeting;
  /// What lanes show each other.
  uint32_t values[kWarp];
  /// Rows of the operands of a matrix product, which they show, too.
  int8_t lhs[16][32], rhs[8][32];
  std::vector<char> scratch;
};

struct Fiber {
  int block, thread;
  Warp *warp;
  ucontext_t start;
  std::jmp_buf place;
  bool begun = false, done = false;
  /// It waits until these have met more often than that.
  const Meeting *waits = nullptr;
  uint64_t until = 0;
};

struct Grid {
  lumen_gpu_entry entry;
  void *slots, *team;
  int blocks, threads;
  Meeting all;
  std::vector<Meeting> ofBlocks;
  std::vector<Warp> warps;
  std::vector<std::unique_ptr<Fiber>> fibers;
  Fiber *running = nullptr;
  ucontext_t main;
  std::jmp_buf scheduler;
};

Grid *grid;
/// Of the last run.
int64_t barriers = 0;

/// To the scheduler, and back when others have come.
void leave() {
  if (!_setjmp(grid->running->place))
    _longjmp(grid->scheduler, 1);
}

void meet(Meeting &meeting) {
  uint64_t before = meeting.met;
  if (++meeting.arrived == meeting.size) {
    meeting.arrived = 0;
    ++meeting.met;
  }
  // Who comes last also lets the lot decide who goes on.
  grid->running->waits = &meeting;
  grid->running->until = before;
  leave();
}

void begin() {
  Fiber *own = grid->running;
  grid->entry(grid->slots, grid->team);
  own->done = true;
  _longjmp(grid->scheduler, 1);
}

Fiber &current() { return *grid->running; }
int lane() { return current().thread % kWarp; }

/// Every lane shows its value and takes that of lane `from`.
uint32_t shuffle(uint32_t value, uint32_t from) {
  Warp &warp = *current().warp;
  warp.values[lane()] = value;
  meet(warp.meeting);
  uint32_t result = warp.values[from % kWarp];
  // Nobody shows another one before all have taken theirs.
  meet(warp.meeting);
  return result;
}

template <typename Codes> int32_t dot(uint32_t codes, uint32_t x, int32_t sum) {
  for (int i = 0; i < 4; ++i)
    sum += int32_t(Codes(codes >> (8 * i))) * int32_t(int8_t(x >> (8 * i)));
  return sum;
}

/// The product of matrices of 16 and 8 rows of so many words for each of four
/// lanes: `a` are those of a lane's row and of the eighth one behind it in
/// turn.
template <int Words>
void multiply(const uint32_t *a, const uint32_t *b, const int32_t *sums,
              int32_t *result) {
  Warp &warp = *current().warp;
  int row = lane() / 4, quarter = lane() % 4;
  for (int i = 0; i < Words; ++i) {
    int place = 4 * (4 * i + quarter);
    std::memcpy(warp.lhs[row] + place, &a[2 * i], 4);
    std::memcpy(warp.lhs[row + 8] + place, &a[2 * i + 1], 4);
    std::memcpy(warp.rhs[row] + place, &b[i], 4);
  }
  meet(warp.meeting);
  for (int i = 0; i < 4; ++i) {
    const int8_t *lhs = warp.lhs[row + 8 * (i / 2)],
                 *rhs = warp.rhs[2 * quarter + i % 2];
    uint32_t sum = sums[i];
    for (int k = 0; k < 16 * Words; ++k)
      sum += uint32_t(lhs[k] * rhs[k]);
    result[i] = int32_t(sum);
  }
  meet(warp.meeting);
}

} // namespace

extern "C" {

uint32_t lumen_gpu_read_ptx_sreg_laneid() { return lane(); }
uint32_t lumen_gpu_read_ptx_sreg_tid_x() { return current().thread; }
uint32_t lumen_gpu_read_ptx_sreg_ctaid_x() { return current().block; }
uint32_t lumen_gpu_read_ptx_sreg_ntid_x() { return grid->threads; }
uint32_t lumen_gpu_read_ptx_sreg_nctaid_x() { return grid->blocks; }

uint32_t lumen_gpu_shfl_sync_idx_i32(uint32_t, uint32_t value, uint32_t from,
                                     uint32_t) {
  return shuffle(value, from);
}
void lumen_gpu_bar_warp_sync(uint32_t) { meet(current().warp->meeting); }

int32_t lumen_gpu_idp4a_s_s(uint32_t codes, uint32_t x, int32_t sum) {
  return dot<int8_t>(codes, x, sum);
}
int32_t lumen_gpu_idp4a_u_s(uint32_t codes, uint32_t x, int32_t sum) {
  return dot<uint8_t>(codes, x, sum);
}
void lumen_gpu_mma_m16n8k32_row_col_s8(uint32_t a0, uint32_t a1, uint32_t a2,
                                       uint32_t a3, uint32_t b0, uint32_t b1,
                                       int32_t c0, int32_t c1, int32_t c2,
                                       int32_t c3, int32_t *result) {
  const uint32_t a[] = {a0, a1, a2, a3}, b[] = {b0, b1};
  const int32_t sums[] = {c0, c1, c2, c3};
  multiply<2>(a, b, sums, result);
}
void lumen_gpu_mma_m16n8k16_row_col_s8(uint32_t a0, uint32_t a1, uint32_t b0,
                                       int32_t c0, int32_t c1, int32_t c2,
                                       int32_t c3, int32_t *result) {
  const uint32_t a[] = {a0, a1}, b[] = {b0};
  const int32_t sums[] = {c0, c1, c2, c3};
  multiply<1>(a, b, sums, result);
}
uint32_t lumen_gpu_prmt(uint32_t low, uint32_t high, uint32_t selector) {
  uint64_t bytes = uint64_t(high) << 32 | low;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    uint32_t nibble = selector >> (4 * i) & 15;
    uint8_t byte = uint8_t(bytes >> (8 * (nibble & 7)));
    if (nibble & 8)
      byte = int8_t(byte) < 0 ? 0xff : 0;
    result |= uint32_t(byte) << (8 * i);
  }
  return result;
}

/// What is fetched must be there.
void lumen_gpu_prefetch_L2(const volatile char *address) { (void)*address; }

void lumen_grid_barrier(void *) { meet(grid->all); }
void *lumen_scratch() { return current().warp->scratch.data(); }

void lumen_gpu_barrier_cta_sync_aligned_all(uint32_t) {
  meet(grid->ofBlocks[current().block]);
}

int64_t lumen_gpu_barriers() { return barriers; }

int lumen_gpu_run(lumen_gpu_entry entry, void *slots, void *team, int blocks,
                  int warps, int64_t scratch, uint64_t seed) {
  if (blocks < 1 || warps < 1 || scratch < 0)
    return 1;
  Grid own{entry, slots, team, blocks, warps * kWarp};
  grid = &own;
  int threads = blocks * own.threads;
  own.all.size = threads;
  own.ofBlocks.resize(blocks);
  for (Meeting &block : own.ofBlocks)
    block.size = own.threads;
  own.warps.resize(blocks * warps);
  for (Warp &warp : own.warps) {
    warp.meeting.size = kWarp;
    // What a kernel finds there is not 0.
    warp.scratch.assign(scratch, char(0xcd));
  }
  char *stacks = static_cast<char *>(
      mmap(nullptr, threads * kStack, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (stacks == MAP_FAILED)
    return 2;
  for (int i = 0; i < threads; ++i) {
    auto fiber = std::make_unique<Fiber>();
    fiber->block = i / own.threads;
    fiber->thread = i % own.threads;
    fiber->warp = &own.warps[i / kWarp];
    getcontext(&fiber->start);
    fiber->start.uc_stack.ss_sp = stacks + i * kStack;
    fiber->start.uc_stack.ss_size = kStack;
    fiber->start.uc_link = nullptr;
    makecontext(&fiber->start, begin, 0);
    own.fibers.push_back(std::move(fiber));
  }

  std::minstd_rand random(seed % 2147483646 + 1);
  std::vector<Fiber *> ready;
  int result = 0;
  volatile int left = threads;
  while (left) {
    // A round of all that can go on, in an order drawn by lot.
    ready.clear();
    for (auto &fiber : own.fibers)
      if (!fiber->done && !(fiber->waits && fiber->waits->met <= fiber->until))
        ready.push_back(fiber.get());
    if (ready.empty()) {
      // Some wait for others that have ended, or wait elsewhere.
      result = 3;
      break;
    }
    std::shuffle(ready.begin(), ready.end(), random);
    for (Fiber *fiber : ready) {
      own.running = fiber;
      fiber->waits = nullptr;
      if (!_setjmp(own.scheduler)) {
        if (fiber->begun)
          _longjmp(fiber->place, 1);
        fiber->begun = true;
        setcontext(&fiber->start);
      }
      if (own.running->done)
        left = left - 1;
    }
  }
  munmap(stacks, threads * kStack);
  barriers = own.all.met;
  grid = nullptr;
  return result;
}
}

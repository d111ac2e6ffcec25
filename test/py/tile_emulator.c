// SPDX-License-Identifier: Apache-2.0
//
// Runs AMX instructions on x86-64 CPUs that lack them: these end in SIGILL,
// whose handler does what the instruction would have done, in the words of
// Intel's manual, and goes on behind it. What is against the rules of a tile's
// sizes ends the process.
#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

enum { kTiles = 8, kRows = 16, kBytes = 64 };

struct State {
  int configured;
  uint8_t config[64];
  uint8_t data[kTiles][kRows][kBytes];
};

// The first use in a thread allocates it, which the handler may do: the signal
// comes from compiled code, and never from within an allocation.
static _Thread_local struct State state;
static atomic_ulong products, configurations;
static struct sigaction before;

unsigned long lumen_tile_products(void) { return products; }
unsigned long lumen_tile_configurations(void) { return configurations; }

static void fail(const char *message) {
  dprintf(STDERR_FILENO, "tile emulator: %s\n", message);
  _exit(97);
}

static unsigned rows_of(unsigned tile) { return state.config[48 + tile]; }

static unsigned bytes_of(unsigned tile) {
  return state.config[16 + 2 * tile] | state.config[17 + 2 * tile] << 8;
}

static void check_tile(unsigned tile) {
  if (!state.configured)
    fail("no configuration");
  if (tile >= kTiles || !rows_of(tile) || !bytes_of(tile))
    fail("a tile that is not configured");
}

static void configure(const uint8_t *from) {
  memset(state.data, 0, sizeof state.data);
  state.configured = from[0] == 1;
  if (from[0] > 1)
    fail("an unknown palette");
  memcpy(state.config, from, sizeof state.config);
  for (unsigned i = 1; i < 64; ++i) {
    int reserved = i < 16 || (i >= 32 && i < 48) || i >= 56;
    if (reserved && from[i])
      fail("reserved bytes of a configuration");
  }
  for (unsigned i = 0; i < kTiles; ++i)
    if (rows_of(i) > kRows || bytes_of(i) > kBytes ||
        !rows_of(i) != !bytes_of(i))
      fail("sizes of a configuration");
  ++configurations;
}

static void load(unsigned tile, const uint8_t *from, int64_t stride) {
  check_tile(tile);
  memset(state.data[tile], 0, sizeof state.data[tile]);
  for (unsigned row = 0; row < rows_of(tile); ++row)
    memcpy(state.data[tile][row], from + row * stride, bytes_of(tile));
}

static void store(unsigned tile, uint8_t *to, int64_t stride) {
  check_tile(tile);
  for (unsigned row = 0; row < rows_of(tile); ++row)
    memcpy(to + row * stride, state.data[tile][row], bytes_of(tile));
}

static int32_t extend(uint8_t byte, int is_signed) {
  return is_signed ? (int8_t)byte : byte;
}

// Four bytes of a row of `lhs` by four of a column of `rhs`.
static void multiply(unsigned sums, unsigned lhs, unsigned rhs, int lhs_signed,
                     int rhs_signed) {
  check_tile(sums), check_tile(lhs), check_tile(rhs);
  if (sums == lhs || sums == rhs || lhs == rhs)
    fail("a product of a tile with itself");
  if (rows_of(sums) != rows_of(lhs) || bytes_of(sums) != bytes_of(rhs) ||
      bytes_of(lhs) != 4 * rows_of(rhs) || bytes_of(sums) % 4)
    fail("sizes of a product");
  for (unsigned m = 0; m < rows_of(sums); ++m)
    for (unsigned n = 0; n < bytes_of(sums) / 4; ++n) {
      uint32_t sum;
      memcpy(&sum, &state.data[sums][m][4 * n], 4);
      for (unsigned k = 0; k < bytes_of(lhs); ++k)
        sum += (uint32_t)(extend(state.data[lhs][m][k], lhs_signed) *
                          extend(state.data[rhs][k / 4][4 * n + k % 4],
                                 rhs_signed));
      memcpy(&state.data[sums][m][4 * n], &sum, 4);
    }
  ++products;
}

static int64_t read_register(const ucontext_t *context, unsigned number) {
  static const int kNumbers[] = {
      REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
      REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return context->uc_mcontext.gregs[kNumbers[number]];
}

// The operand in memory behind the byte ModRM at `at`: its address, its stride
// and the end of the instruction.
struct Memory {
  uint8_t *address;
  int64_t stride;
  const uint8_t *end;
  int has_sib;
};

static struct Memory read_memory(const ucontext_t *context, const uint8_t *at,
                                 unsigned high_index, unsigned high_base) {
  unsigned mod = *at >> 6, rm = *at & 7;
  struct Memory memory = {0, 0, at + 1, rm == 4};
  int64_t address = 0;
  int32_t displacement = 0;
  unsigned size = mod == 1 ? 1 : mod == 2 ? 4 : 0;
  int relative = 0;
  if (memory.has_sib) {
    unsigned sib = *memory.end++;
    unsigned index = (sib >> 3 & 7) | high_index << 3, base = sib & 7;
    if (index != 4)
      memory.stride =
          (int64_t)((uint64_t)read_register(context, index) << (sib >> 6));
    if (base == 5 && mod == 0)
      size = 4;
    else
      address = read_register(context, base | high_base << 3);
  } else if (rm == 5 && mod == 0) {
    size = 4;
    relative = 1;
  } else {
    address = read_register(context, rm | high_base << 3);
  }
  if (size == 1)
    displacement = *(const int8_t *)memory.end;
  else if (size == 4)
    memcpy(&displacement, memory.end, 4);
  memory.end += size;
  if (relative)
    address = (int64_t)(intptr_t)memory.end;
  memory.address = (uint8_t *)(intptr_t)(address + displacement);
  return memory;
}

// Runs the instruction at `at`; returns its end, or null if it is none of AMX.
static const uint8_t *run(const ucontext_t *context, const uint8_t *at) {
  // VEX of three bytes, opcodes of 0F38, W0, 128 bits.
  if (at[0] != 0xc4 || (at[1] & 0x1f) != 2 || at[2] & 0x84)
    return 0;
  unsigned high_register = !(at[1] & 0x80), high_index = !(at[1] & 0x40),
           high_base = !(at[1] & 0x20), other = ~at[2] >> 3 & 15,
           prefix = at[2] & 3, opcode = at[3];
  unsigned mod = at[4] >> 6, reg = at[4] >> 3 & 7, rm = at[4] & 7;
  enum { NP, P66, PF3, PF2 };
  if (opcode == 0x5e && mod == 3 && !high_register && !high_base) {
    multiply(reg, rm, other, prefix == PF2 || prefix == PF3,
             prefix == PF2 || prefix == P66);
    return at + 5;
  }
  if (opcode == 0x49 && mod == 3) {
    if (prefix == NP && at[4] == 0xc0)
      memset(&state, 0, sizeof state); // tilerelease
    else if (prefix == PF2 && rm == 0 && !high_register)
      check_tile(reg), memset(state.data[reg], 0, sizeof state.data[reg]);
    else
      return 0;
    return at + 5;
  }
  struct Memory memory = read_memory(context, at + 4, high_index, high_base);
  if (opcode == 0x49 && reg == 0 && (prefix == NP || prefix == P66)) {
    if (prefix == NP)
      configure(memory.address);
    else
      memcpy(memory.address, state.config, sizeof state.config);
    return memory.end;
  }
  if (opcode != 0x4b || !memory.has_sib || high_register || prefix == NP)
    return 0;
  if (prefix == PF3)
    store(reg, memory.address, memory.stride);
  else
    load(reg, memory.address, memory.stride);
  return memory.end;
}

static void handle(int signal, siginfo_t *info, void *data) {
  (void)info;
  ucontext_t *context = data;
  greg_t *next = &context->uc_mcontext.gregs[REG_RIP];
  const uint8_t *end = run(context, (const uint8_t *)(intptr_t)*next);
  if (end) {
    *next = (greg_t)(intptr_t)end;
    return;
  }
  // Ends in the handler that was there before, when it is run again.
  sigaction(signal, &before, 0);
}

// Returns 0 where it worked.
int lumen_emulate_tiles(void) {
  struct sigaction action = {0};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  return sigaction(SIGILL, &action, &before);
}

void lumen_stop_emulating_tiles(void) { sigaction(SIGILL, &before, 0); }

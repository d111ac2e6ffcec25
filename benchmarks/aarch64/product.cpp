// SPDX-License-Identifier: Apache-2.0
//
// Calls the compiled function "product" once, on a team of one. Each argument
// is a word that it takes: a number, or
// "@BYTES" for the address of so much memory, which holds zeros.
#include "runtime/ThreadTeam.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

extern "C" void lumen_entry_product(uint64_t *slots, lumen_worker *worker);

int main(int argc, char **argv) {
  std::vector<uint64_t> slots;
  for (int i = 1; i < argc; ++i) {
    if (argv[i][0] != '@') {
      slots.push_back(std::strtoull(argv[i], nullptr, 10));
      continue;
    }
    size_t bytes =
        (std::strtoull(argv[i] + 1, nullptr, 10) + 4095) / 4096 * 4096 + 4096;
    void *memory = std::aligned_alloc(4096, bytes);
    if (!memory) {
      std::fprintf(stderr, "%zu bytes cannot be had\n", bytes);
      return 1;
    }
    std::memset(memory, 0, bytes);
    slots.push_back(reinterpret_cast<uint64_t>(memory));
  }
  mlir::lumen::ThreadTeam(1).run(lumen_entry_product, slots.data());
}

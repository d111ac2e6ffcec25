//===- Random.cpp - Random numbers by their place -------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/sampling/Random.h"

#include <random>

using namespace mlir::lumen;

std::array<uint32_t, 4> mlir::lumen::philox(std::array<uint32_t, 4> counter,
                                            std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    uint64_t first = uint64_t(0xD2511F53u) * counter[0];
    uint64_t second = uint64_t(0xCD9E8D57u) * counter[2];
    counter = {uint32_t(second >> 32) ^ counter[1] ^ key[0], uint32_t(second),
               uint32_t(first >> 32) ^ counter[3] ^ key[1], uint32_t(first)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

double mlir::lumen::getRandom(uint64_t seed, uint64_t number) {
  std::array<uint32_t, 4> words =
      philox({uint32_t(number), uint32_t(number >> 32), 0, 0},
             {uint32_t(seed), uint32_t(seed >> 32)});
  uint64_t word = uint64_t(words[1]) << 32 | words[0];
  return double(word >> 11) * 0x1p-53;
}

uint64_t mlir::lumen::makeSeed() {
  std::random_device device;
  return uint64_t(device()) << 32 | device();
}

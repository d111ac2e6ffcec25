//===- Random.cpp - The random numbers of NumPy's generator ---------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/embed/Random.h"

#include <array>
#include <random>

using namespace mlir::lumen;

namespace {
constexpr unsigned poolWords = 4;

/// Hashes words, each with another multiplier.
class Hash {
public:
  Hash(uint32_t first, uint32_t factor) : multiplier(first), factor(factor) {}

  uint32_t operator()(uint32_t word) {
    word ^= multiplier;
    multiplier *= factor;
    word *= multiplier;
    return word ^ word >> 16;
  }

private:
  uint32_t multiplier;
  const uint32_t factor;
};
} // namespace

static uint32_t mix(uint32_t x, uint32_t y) {
  uint32_t word = x * 0xca01f9ddu - y * 0x4973f715u;
  return word ^ word >> 16;
}

/// Spreads the bits of a seed over the pool.
static std::array<uint32_t, poolWords> makePool(uint64_t seed) {
  Hash hash(0x43b0d7e5u, 0x931e8875u);
  std::array<uint32_t, poolWords> pool;
  for (unsigned i = 0; i < poolWords; ++i)
    pool[i] = hash(i < 2 ? uint32_t(seed >> 32 * i) : 0);
  for (unsigned from = 0; from < poolWords; ++from)
    for (unsigned to = 0; to < poolWords; ++to)
      if (from != to)
        pool[to] = mix(pool[to], hash(pool[from]));
  return pool;
}

Random::Random(uint64_t seed) {
  std::array<uint32_t, poolWords> pool = makePool(seed);
  Hash hash(0x8b51f9ddu, 0x58f38dedu);
  // First the state, then the stream, each with its upper half first.
  std::array<uint64_t, 4> words{};
  for (unsigned i = 0; i < 2 * words.size(); ++i)
    words[i / 2] |= uint64_t(hash(pool[i % poolWords])) << 32 * (i % 2);
  increment = (Wide(words[2]) << 64 | words[3]) << 1 | 1;
  advance();
  state += Wide(words[0]) << 64 | words[1];
  advance();
}

void Random::advance() {
  constexpr Wide multiplier =
      Wide(2549297995355413924u) << 64 | 4865540595714422341u;
  state = state * multiplier + increment;
}

double Random::next() {
  advance();
  uint64_t folded = uint64_t(state >> 64) ^ uint64_t(state);
  unsigned turn = unsigned(state >> 122);
  uint64_t word = folded >> turn | folded << (-turn & 63);
  return double(word >> 11) * 0x1p-53;
}

uint64_t mlir::lumen::makeSeed() {
  std::random_device device;
  return uint64_t(device()) << 32 | device();
}

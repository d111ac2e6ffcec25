//===- Checksum.cpp - A checksum at the speed of memory -------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/Checksum.h"

#include <cstring>

using namespace mlir::lumen;

/// Can be undone for a given word: the factor is odd. The shift comes first,
/// because a product carries changes of the upper bits nowhere.
static uint64_t mix(uint64_t state, uint64_t word) {
  state ^= word;
  return (state ^ state >> 32) * 0x9E3779B97F4A7C15;
}

void Checksum::addBlock(const uint8_t *block) {
  typedef uint64_t Words __attribute__((vector_size(lanes * sizeof(uint64_t))));
  // Per lane the sum of its words, and the sum of these sums, which counts a
  // word the more often the earlier it comes. Of a change in the upper bits of
  // words 2^k apart that loses k bits, so both are made of the words with
  // exchanged halves, too.
  Words sum{}, sums{}, turned{}, turnedSums{};
  for (size_t i = 0; i < blockBytes; i += sizeof(Words)) {
    Words words;
    std::memcpy(&words, block + i, sizeof(Words));
    sum += words;
    sums += sum;
    turned += words << 32 | words >> 32;
    turnedSums += turned;
  }
  for (unsigned lane = 0; lane < lanes; ++lane)
    for (uint64_t part :
         {sum[lane], sums[lane], turned[lane], turnedSums[lane]})
      state[lane] = mix(state[lane], part);
}

void Checksum::update(const uint8_t *bytes, size_t count) {
  length += count;
  for (; count >= blockBytes; bytes += blockBytes, count -= blockBytes)
    addBlock(bytes);
  if (count) {
    uint8_t last[blockBytes] = {};
    std::memcpy(last, bytes, count);
    addBlock(last);
  }
}

uint64_t Checksum::value() const {
  // The length tells an end of zeros from no end.
  uint64_t result = length;
  for (uint64_t lane : state)
    result = mix(result, lane);
  return result ^ result >> 32;
}

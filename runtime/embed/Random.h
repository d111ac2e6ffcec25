//===- Random.h - The random numbers of NumPy's generator -------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_EMBED_RANDOM_H
#define LUMEN_RUNTIME_EMBED_RANDOM_H

#include <cstdint>

namespace mlir::lumen {

/// PCG64 (O'Neill 2014), seeded by hashing the seed into a pool of entropy:
/// the numbers of `numpy.random.default_rng(seed).random()`.
class Random {
public:
  explicit Random(uint64_t seed);

  /// A number in [0, 1), of 53 bits.
  double next();

private:
  __extension__ using Wide = unsigned __int128;

  void advance();

  Wide state = 0, increment = 0;
};

/// A seed that nobody foresees.
uint64_t makeSeed();

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_EMBED_RANDOM_H

//===- Random.h - Random numbers by their place -----------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_SAMPLING_RANDOM_H
#define LUMEN_RUNTIME_SAMPLING_RANDOM_H

#include <array>
#include <cstdint>

namespace mlir::lumen {

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
/// 2011): four random words that depend on a counter and a key alone.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter,
                               std::array<uint32_t, 2> key);

/// Number `number` of those of a seed: in [0, 1), of 53 bits. It does not
/// matter which others were drawn before.
double getRandom(uint64_t seed, uint64_t number);

/// A seed that nobody foresees.
uint64_t makeSeed();

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_SAMPLING_RANDOM_H

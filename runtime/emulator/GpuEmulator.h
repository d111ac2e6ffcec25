// SPDX-License-Identifier: Apache-2.0
//
// The interface of the emulator of GPUs, which only tests use.
#ifndef LUMEN_RUNTIME_EMULATOR_GPUEMULATOR_H
#define LUMEN_RUNTIME_EMULATOR_GPUEMULATOR_H

#include <cstdint>

extern "C" {

/// A native entry: the words of a call, and the team.
typedef void (*lumen_gpu_entry)(void *slots, void *team);

/// Runs an entry on a grid of so many blocks of so many warps of 32 threads.
/// `scratch`: bytes of a warp's memory. `seed` decides in which order threads
/// run. Returns 0; 1 where a number is out of range, 2 where there is no
/// memory, 3 where threads wait for others for ever.
int lumen_gpu_run(lumen_gpu_entry entry, void *slots, void *team, int blocks,
                  int warps, int64_t scratch, uint64_t seed);

/// How often all threads of the grid waited for each other in the last run.
int64_t lumen_gpu_barriers();
}

#endif // LUMEN_RUNTIME_EMULATOR_GPUEMULATOR_H

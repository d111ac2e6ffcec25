// SPDX-License-Identifier: Apache-2.0
//
// A team whose workers are warps: a grid of blocks, and the memory that they
// meet in.
#ifndef LUMEN_PASSES_TARGET_GPU_TEAMOFWARPS_H
#define LUMEN_PASSES_TARGET_GPU_TEAMOFWARPS_H

#include "mlir/IR/Operation.h"

namespace mlir::lumen {

/// Where in the memory of a team its counters are, which are zeros before the
/// first launch, and the blocks' own memory, one after the other. In front is
/// what the barrier of the grid counts in.
inline constexpr int64_t kCountersOffset = 256, kCounters = 4096,
                         kBlocksOffset = kCountersOffset + 4 * kCounters;

/// Name of the i64 constant with the bytes in front of the blocks' own memory.
inline constexpr llvm::StringLiteral kTeamSizeGlobal = "lumen_team_size";

/// What an op says about workers, blocks of them or their memory, in front of
/// it. `team` points to the memory of the team.
Value emitTeamOfWarps(Operation *op, Value team);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_GPU_TEAMOFWARPS_H

//===- Cores.h - How many threads to use ------------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_EMBED_CORES_H
#define LUMEN_RUNTIME_EMBED_CORES_H

namespace mlir::lumen {

/// The physical cores that this process may use, at least 1: those of its
/// affinity mask, and not more than the CPU quota of its control groups.
unsigned countCores();

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_EMBED_CORES_H

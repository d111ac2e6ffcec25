//===- Memory.h - Giving memory back ----------------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_CODEGEN_MEMORY_H
#define LUMEN_RUNTIME_CODEGEN_MEMORY_H

namespace mlir::lumen {

/// Gives back what compiling has used and running does not need: free pages of
/// the heap, and the pages of the compiler's own code and constants, which the
/// system reads again where they are needed after all.
void releaseCompilerMemory();

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_CODEGEN_MEMORY_H

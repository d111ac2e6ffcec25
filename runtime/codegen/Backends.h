//===- Backends.h - LLVM's code generators ----------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_CODEGEN_BACKENDS_H
#define LUMEN_RUNTIME_CODEGEN_BACKENDS_H

namespace llvm {
class Target;
class Triple;
} // namespace llvm

namespace mlir::lumen {

/// Makes this machine's code generator ready, once. LLVM's own function for
/// that must not run while another thread generates code.
void initializeNativeBackend();

/// The code generator for a triple, ready for use; null where LLVM's library
/// carries none. Those of other machines are made ready when one is asked for:
/// a process that does not ask keeps the memory and the time.
const llvm::Target *findBackend(const llvm::Triple &triple);

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_CODEGEN_BACKENDS_H

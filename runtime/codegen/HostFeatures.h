//===- HostFeatures.h - What this machine's CPU has -------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_CODEGEN_HOSTFEATURES_H
#define LUMEN_RUNTIME_CODEGEN_HOSTFEATURES_H

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"

namespace mlir::lumen {

/// LLVM's names of the features that Linux reports of an AArch64 CPU in the
/// words AT_HWCAP and AT_HWCAP2 of the auxiliary vector. Any machine can read
/// the words of another.
llvm::SmallVector<llvm::StringRef> readArmFeatures(uint64_t hwcap,
                                                   uint64_t hwcap2);

/// What this machine's CPU has, by LLVM's names. LLVM knows it for x86-64,
/// where tiles (AMX) count only if the operating system lets this process use
/// them. Of AArch64 it reads only what the compiler clang asks for, so the
/// operating system is asked here.
llvm::StringMap<bool> getHostFeatures();

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_CODEGEN_HOSTFEATURES_H

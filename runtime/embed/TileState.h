//===- TileState.h - Permission to use x86's tiles --------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_EMBED_TILESTATE_H
#define LUMEN_RUNTIME_EMBED_TILESTATE_H

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace mlir::lumen {

/// Whether all threads of this process may use tiles (AMX). Linux allows it
/// once the process has asked for 8 KiB more that it saves of a thread;
/// otherwise their first use is a signal. Linux refuses where it is older than
/// 5.16, or a thread has too small a stack for signals. Asking again is free.
inline bool askForTileState() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long request = 0x1023 /* ARCH_REQ_XCOMP_PERM */, tileData = 18;
  return syscall(SYS_arch_prctl, request, tileData) == 0;
#else
  return false;
#endif
}

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_EMBED_TILESTATE_H

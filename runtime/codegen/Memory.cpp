//===- Memory.cpp - Giving memory back ------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/codegen/Memory.h"

#include "llvm/ADT/StringRef.h"

#ifdef __linux__
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#ifdef __linux__
/// Unmaps the pages of the segments that cannot be written. Only those: what
/// was written to, if only by the loader, is not in the file.
static int releaseSegments(dl_phdr_info *info, size_t, void *) {
  llvm::StringRef path = info->dlpi_name ? info->dlpi_name : "";
  if (!path.contains("libMLIR") && !path.contains("libLLVM"))
    return 0;
  const uintptr_t page = sysconf(_SC_PAGESIZE);
  for (unsigned i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) &segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W))
      continue;
    uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
    uintptr_t end = (begin + segment.p_memsz) & ~(page - 1);
    begin = (begin + page - 1) & ~(page - 1);
    if (begin < end)
      madvise(reinterpret_cast<void *>(begin), end - begin, MADV_DONTNEED);
  }
  return 0;
}
#endif

void mlir::lumen::releaseCompilerMemory() {
#ifdef __linux__
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  dl_iterate_phdr(releaseSegments, nullptr);
#endif
}

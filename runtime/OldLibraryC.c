//===- OldLibraryC.c - What older C libraries lack ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// Debian's archives of LLVM and of the C++ library call this one function that
// glibc has since 2.36 only. With it here, wheels run on 2.34.
//
//===----------------------------------------------------------------------===//

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

/// A random number. There is no way to report a failure.
uint32_t arc4random(void) {
  uint32_t value;
  if (getentropy(&value, sizeof(value)))
    abort();
  return value;
}

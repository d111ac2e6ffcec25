//===- Memory.cpp - Large buffers -----------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/embed/Memory.h"

#include <algorithm>
#include <new>

#include <sys/mman.h>

using namespace mlir::lumen;

Memory::Memory(size_t size) : size(std::max<size_t>(size, 1)) {
  begin = mmap(nullptr, this->size, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (begin == MAP_FAILED) {
    begin = nullptr;
    throw std::bad_alloc();
  }
}

Memory::~Memory() {
  if (begin)
    munmap(begin, size);
}

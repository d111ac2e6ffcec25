//===- Memory.h - Large buffers ---------------------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_EMBED_MEMORY_H
#define LUMEN_RUNTIME_EMBED_MEMORY_H

#include <cstddef>
#include <utility>

namespace mlir::lumen {

/// Zeros that begin at a page and take memory only where they are written.
class Memory {
public:
  Memory() = default;
  /// Throws `std::bad_alloc`.
  explicit Memory(size_t size);
  ~Memory();
  Memory(Memory &&other) noexcept
      : begin(std::exchange(other.begin, nullptr)), size(other.size) {}
  Memory &operator=(Memory &&other) noexcept {
    std::swap(begin, other.begin);
    std::swap(size, other.size);
    return *this;
  }

  template <typename T> T *as() const { return static_cast<T *>(begin); }

private:
  void *begin = nullptr;
  size_t size = 0;
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_EMBED_MEMORY_H

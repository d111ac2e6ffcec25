//===- FileGuard.h - Mapped files that others cut short ---------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_FILEGUARD_H
#define LUMEN_RUNTIME_FILEGUARD_H

#include <cstddef>

namespace mlir::lumen {

/// Watches over a read-only mapping of a file. Where the file has no page for
/// it any more (it was cut short, or the disk failed), the system sends
/// SIGBUS. The mapping then reads as zeros from that page on, and `lost` is
/// true: whoever reads the mapping asks for it before using what was read.
/// Signals for other addresses go to whoever handled them before.
class FileGuard {
public:
  /// Watches from `begin`, a page boundary, until `release`.
  FileGuard(const void *begin, size_t size);
  ~FileGuard() { release(); }
  FileGuard(const FileGuard &) = delete;
  FileGuard &operator=(const FileGuard &) = delete;

  bool lost() const;

  /// To be called before the mapping goes away.
  void release();

  struct Range;

private:
  Range *range;
  bool wasLost = false;
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_FILEGUARD_H

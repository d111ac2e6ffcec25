//===- WeightFile.h - The mapped weights of a bundle ------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// 64 bytes of header, a description, and from a multiple of 4,096 on the data.
// The header, little-endian: "LUMENWTS", version and size of the header (u32),
// bytes of the description, place and bytes of the data (u64), checksums of the
// description and of the data (u64), and of the header before (u64).
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_EMBED_WEIGHTFILE_H
#define LUMEN_RUNTIME_EMBED_WEIGHTFILE_H

#include "runtime/FileGuard.h"
#include "runtime/embed/Description.h"

#include <memory>
#include <string>

namespace mlir::lumen {

class WeightFile {
public:
  /// Maps a file and checks what it is.
  explicit WeightFile(const std::string &path);
  ~WeightFile();
  WeightFile(const WeightFile &) = delete;
  WeightFile &operator=(const WeightFile &) = delete;

  /// Reads all weights. Raises a `Failure` where they are not what was written.
  void verify() const;

  const WeightDescription &describe() const { return description; }

  /// The bytes at a place of the data. `Failure` where it has none there.
  const uint8_t *at(uint64_t offset, uint64_t bytes, uint64_t alignment) const;

  /// Raises a `Failure` where the file was cut short while it was in use.
  void checkWhole() const;

private:
  void map(int descriptor);
  void readHeader();

  std::string path;
  const uint8_t *bytes = nullptr;
  uint64_t size = 0;
  uint64_t dataBegin = 0;
  uint64_t dataBytes = 0;
  uint64_t dataChecksum = 0;
  std::unique_ptr<FileGuard> guard;
  WeightDescription description;
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_EMBED_WEIGHTFILE_H

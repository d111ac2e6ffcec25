//===- Checksum.h - A checksum at the speed of memory -----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_CHECKSUM_H
#define LUMEN_RUNTIME_CHECKSUM_H

#include <array>
#include <cstddef>
#include <cstdint>

namespace mlir::lumen {

/// A checksum of 64 bits against accidents, not against forgery, as fast as
/// memory. It depends on every byte and on where it stands: one or two wrong
/// words in a block always change the sums of the block, and the sums of blocks
/// are mixed in their order.
class Checksum {
public:
  static constexpr size_t blockBytes = 4096;

  /// Adds the next bytes; all pieces but the last are whole blocks.
  void update(const uint8_t *bytes, size_t count);

  /// True where the last piece has come, which ended amid a block.
  bool ended() const { return length % blockBytes != 0; }

  uint64_t value() const;

private:
  void addBlock(const uint8_t *block);

  static constexpr unsigned lanes = 4;
  std::array<uint64_t, lanes> state = {1, 2, 3, 4};
  uint64_t length = 0;
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_CHECKSUM_H

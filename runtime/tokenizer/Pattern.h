//===- Pattern.h - Regular expressions as small programs ------ -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_TOKENIZER_PATTERN_H
#define LUMEN_RUNTIME_TOKENIZER_PATTERN_H

#include "runtime/tokenizer/File.h"

#include <cstddef>
#include <string_view>
#include <vector>

namespace mlir::lumen::tokenizer {

/// A set of characters that is asked often.
class CharacterSet {
public:
  explicit CharacterSet(Span<Range> ranges);

  bool has(char32_t character) const {
    if (character < planeSize)
      return plane[character / 64] >> character % 64 & 1;
    return inRanges(character);
  }

private:
  bool inRanges(char32_t character) const;

  static constexpr char32_t planeSize = 0x10000;
  std::vector<uint64_t> plane;
  Span<Range> ranges;
};

/// A part of a text: from `begin` to `end`.
struct Match {
  size_t begin, end;
};

/// The programs of a file with their sets.
class Patterns {
public:
  explicit Patterns(const File &file);

  /// Where a program matches in a text, one after another. Throws a Failure
  /// where it goes back too often: no pattern of a model does.
  std::vector<Match> findAll(size_t program, std::u32string_view text) const;

private:
  friend class Matcher;

  const File &file;
  std::vector<CharacterSet> sets;
};

} // namespace mlir::lumen::tokenizer

#endif // LUMEN_RUNTIME_TOKENIZER_PATTERN_H

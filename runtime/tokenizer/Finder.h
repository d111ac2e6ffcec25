//===- Finder.h - Finds one of many texts --------------------- -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_TOKENIZER_FINDER_H
#define LUMEN_RUNTIME_TOKENIZER_FINDER_H

#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

namespace mlir::lumen::tokenizer {

/// Finds texts in others: the first place where one begins, and the longest
/// that begins there.
class Finder {
public:
  struct Text {
    std::string_view bytes;
    size_t number;
  };
  struct Found {
    size_t begin, end, number;
  };

  /// Of equal texts the one with the lowest number counts.
  explicit Finder(std::vector<Text> texts = {});

  bool empty() const { return texts.empty(); }
  /// False where there is none from `from` on.
  bool next(std::string_view text, size_t from, Found &found) const;
  /// The longest that begins at `at`; false where none does.
  bool longest(std::string_view text, size_t at, Found &found) const;

private:
  std::vector<Text> texts;
  /// Where the texts with a first byte begin among the sorted ones.
  std::array<size_t, 257> places = {};
};

} // namespace mlir::lumen::tokenizer

#endif // LUMEN_RUNTIME_TOKENIZER_FINDER_H

//===- BytePairs.h - Words to tokens by merges ---------------- -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_TOKENIZER_BYTEPAIRS_H
#define LUMEN_RUNTIME_TOKENIZER_BYTEPAIRS_H

#include "runtime/tokenizer/File.h"

#include <string_view>
#include <vector>

namespace mlir::lumen::tokenizer {

/// Merges neighbours in words, those of the lowest rank first.
class BytePairs {
public:
  explicit BytePairs(const File &file) : file(file) {}

  /// Adds the tokens of a word to `ids`.
  void encode(std::string_view word, std::vector<int32_t> &ids);

private:
  /// A merge that may be done: of the tokens at `place` and behind it.
  struct Candidate {
    uint32_t rank, made;
    size_t place;
    uint32_t left, right;

    bool operator<(const Candidate &other) const {
      return rank != other.rank ? rank > other.rank : place > other.place;
    }
  };
  struct Symbol {
    uint32_t token;
    size_t before, behind;
    bool merged;
  };

  void firstTokens(std::string_view word);
  void consider(size_t place);
  void merge();

  const File &file;
  // Kept from word to word for their memory.
  std::vector<Symbol> symbols;
  std::vector<Candidate> queue;
};

} // namespace mlir::lumen::tokenizer

#endif // LUMEN_RUNTIME_TOKENIZER_BYTEPAIRS_H

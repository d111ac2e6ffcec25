//===- SentencePieces.h - Texts to tokens by scores ----------- -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_TOKENIZER_SENTENCEPIECES_H
#define LUMEN_RUNTIME_TOKENIZER_SENTENCEPIECES_H

#include "runtime/tokenizer/File.h"
#include "runtime/tokenizer/Finder.h"

#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mlir::lumen::tokenizer {

/// Merges neighbours in a text, those with the best score first.
class SentencePieces {
public:
  SentencePieces(const File &file, const Finder &defined)
      : file(file), defined(defined) {}

  /// Adds the tokens of `text` to `ids`.
  void encode(std::string_view text, std::vector<int32_t> &ids);

private:
  struct Candidate {
    float score;
    size_t left, right, size;

    bool operator<(const Candidate &other) const {
      return score != other.score ? score < other.score : left > other.left;
    }
  };
  struct Symbol {
    std::string_view text;
    size_t before, behind;
    /// It is a token that nothing is merged with.
    bool fixed;
  };

  void cut();
  void consider(size_t left, size_t right);
  void merge();
  void add(std::string_view text, std::vector<int32_t> &ids);

  const File &file;
  const Finder &defined;
  std::string text;
  std::vector<Symbol> symbols;
  std::vector<Candidate> queue;
  /// What tokens were made of that are to be taken apart again.
  std::unordered_map<int32_t, std::pair<std::string_view, std::string_view>>
      halves;
  bool afterUnknown = false;
};

} // namespace mlir::lumen::tokenizer

#endif // LUMEN_RUNTIME_TOKENIZER_SENTENCEPIECES_H

//===- Steps.h - What is done to a text before words are merged  -*- C++
//-*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_TOKENIZER_STEPS_H
#define LUMEN_RUNTIME_TOKENIZER_STEPS_H

#include "runtime/tokenizer/File.h"
#include "runtime/tokenizer/Pattern.h"

#include <string>
#include <vector>

namespace mlir::lumen::tokenizer {

/// A text in pieces: where each ends.
struct Pieces {
  std::u32string text;
  std::vector<size_t> ends;
  /// The text is in the byte alphabet.
  bool alphabet = false;

  size_t size() const { return ends.size(); }
  std::u32string_view operator[](size_t index) const {
    size_t begin = index ? ends[index - 1] : 0;
    return std::u32string_view(text).substr(begin, ends[index] - begin);
  }
};

class Steps {
public:
  explicit Steps(const File &file);

  /// `text` as the normalizer changes it.
  Pieces normalized(std::u32string text) const;
  /// Cuts pieces into words. `begins`: the text begins with them; `behind`: it
  /// does not begin a prompt.
  void cut(Pieces &pieces, bool begins, bool behind) const;
  /// A word as bytes, without the alphabet.
  std::string bytesOf(const Pieces &pieces, size_t index) const;

private:
  void run(const Step &step, Pieces &pieces, bool begins) const;
  void prefix(const Step &step, Pieces &pieces, bool begins) const;
  void replace(const Step &step, Pieces &pieces) const;
  void toAlphabet(Pieces &pieces) const;
  void split(const Step &step, Pieces &pieces) const;

  const File &file;
  Patterns patterns;
  std::vector<std::u32string> strings;
};

} // namespace mlir::lumen::tokenizer

#endif // LUMEN_RUNTIME_TOKENIZER_STEPS_H

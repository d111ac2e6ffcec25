//===- Tokenizer.h - Text to tokens and back ------------------ -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_TOKENIZER_TOKENIZER_H
#define LUMEN_RUNTIME_TOKENIZER_TOKENIZER_H

#include "runtime/tokenizer/File.h"
#include "runtime/tokenizer/Finder.h"
#include "runtime/tokenizer/Pattern.h"
#include "runtime/tokenizer/Steps.h"
#include "runtime/tokenizer/Utf8.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mlir::lumen::tokenizer {

class BytePairs;

/// How a text is taken.
struct EncodeOptions {
  /// Control tokens written in it are such.
  bool special = true;
  bool addBos = true, addEos = true;
  /// It begins a prompt.
  bool begins = true;
};

/// Gives the ids and texts that Lumen's Python gives. Several threads may use
/// one.
class Tokenizer {
public:
  explicit Tokenizer(File file);
  // What is made of the file points to it.
  Tokenizer(const Tokenizer &) = delete;
  Tokenizer &operator=(const Tokenizer &) = delete;

  const File &file() const { return contents; }
  bool ends(int32_t token) const;

  /// Throws a Failure for what is not UTF-8, and for tokens without a row of
  /// the embedding table.
  std::vector<int32_t> encode(std::string_view text,
                              const EncodeOptions &options) const;

  /// The prompt for a user's message: control tokens written in it are text.
  std::vector<int32_t> encodeTurn(std::string_view message) const;

private:
  /// A part of a text: a token, or text where that is -1.
  struct Part {
    size_t begin, end;
    int32_t token;
  };

  std::vector<int32_t> idsOf(std::string_view text,
                             const EncodeOptions &options) const;
  std::vector<Part> parts(std::string_view text, const Finder &finder,
                          bool special) const;
  bool isAlone(std::string_view text, const Finder::Found &found) const;
  std::vector<int32_t> encodePieces(std::string_view text,
                                    const EncodeOptions &options) const;
  std::vector<int32_t> encodePairs(std::string_view text,
                                   const EncodeOptions &options) const;
  void encodePart(Pieces pieces, bool begins, bool behind, BytePairs &pairs,
                  std::vector<int32_t> &ids) const;

  File contents;
  /// Added tokens: those that are found in the text as it is given, and those
  /// that are found in normalized text. SentencePiece: those that are found
  /// always, and all.
  Finder first, second;
  /// SentencePiece: tokens that nothing is merged with.
  Finder defined;
  /// What stands in words; a token that must stand alone has none beside it.
  CharacterSet wordCharacters;
  std::optional<Steps> steps;
};

/// Tokens to text, as they come.
class Decoder {
public:
  Decoder(const Tokenizer &tokenizer, bool special, bool begins);

  /// Throws a Failure for what is no token.
  const std::string &feed(int32_t token);
  const std::string &finish();

private:
  const Tokenizer &tokenizer;
  bool special, dropSpace;
  Utf8Stream stream;
  std::string text;
};

} // namespace mlir::lumen::tokenizer

#endif // LUMEN_RUNTIME_TOKENIZER_TOKENIZER_H

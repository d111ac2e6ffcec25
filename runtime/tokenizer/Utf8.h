//===- Utf8.h - Characters and their bytes -------------------- -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_TOKENIZER_UTF8_H
#define LUMEN_RUNTIME_TOKENIZER_UTF8_H

#include <cstddef>
#include <string>
#include <string_view>

namespace mlir::lumen::tokenizer {

/// Where the first byte stands that is no UTF-8; npos where all is.
size_t firstInvalid(std::string_view text);

/// How many bytes the character has that begins with `byte`.
inline size_t lengthOf(char byte) {
  unsigned char lead = static_cast<unsigned char>(byte);
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/// Characters of valid UTF-8.
std::u32string toCharacters(std::string_view text);

void append(std::string &text, char32_t character);
std::string toBytes(std::u32string_view characters);

/// Bytes that come in pieces, as whole characters. What is broken becomes
/// U+FFFD, one for each longest part that could begin a character.
class Utf8Stream {
public:
  /// Adds the characters that `bytes` complete to `text`.
  void feed(std::string_view bytes, std::string &text);
  void finish(std::string &text);

private:
  std::string pending;
};

} // namespace mlir::lumen::tokenizer

#endif // LUMEN_RUNTIME_TOKENIZER_UTF8_H

//===- Utf8.cpp - Characters and their bytes ------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/tokenizer/Utf8.h"

using namespace mlir::lumen::tokenizer;

/// Whether `byte` may stand at place `at` (1 to 3) behind `lead`.
static bool mayFollow(unsigned char lead, size_t at, unsigned char byte) {
  if (at == 1) {
    // Neither longer than needed, nor surrogates, nor behind U+10FFFF.
    if (lead == 0xE0)
      return byte >= 0xA0 && byte <= 0xBF;
    if (lead == 0xED)
      return byte >= 0x80 && byte <= 0x9F;
    if (lead == 0xF0)
      return byte >= 0x90 && byte <= 0xBF;
    if (lead == 0xF4)
      return byte >= 0x80 && byte <= 0x8F;
  }
  return byte >= 0x80 && byte <= 0xBF;
}

static bool mayBegin(unsigned char byte) {
  return byte < 0x80 || (byte >= 0xC2 && byte <= 0xF4);
}

size_t mlir::lumen::tokenizer::firstInvalid(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    size_t length = lengthOf(text[at]);
    if (!mayBegin(text[at]) || length > text.size() - at)
      return at;
    for (size_t i = 1; i < length; ++i)
      if (!mayFollow(text[at], i, text[at + i]))
        return at;
    at += length;
  }
  return std::string_view::npos;
}

std::u32string mlir::lumen::tokenizer::toCharacters(std::string_view text) {
  std::u32string characters;
  characters.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    size_t length = lengthOf(text[at]);
    char32_t character = static_cast<unsigned char>(text[at]);
    if (length > 1)
      character &= 0x7F >> length;
    for (size_t i = 1; i < length && at + i < text.size(); ++i)
      character = character << 6 | (text[at + i] & 0x3F);
    characters += character;
    at += length;
  }
  return characters;
}

void mlir::lumen::tokenizer::append(std::string &text, char32_t character) {
  if (character < 0x80) {
    text += static_cast<char>(character);
    return;
  }
  unsigned more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
  text += static_cast<char>(0xFF00 >> (more + 1) | character >> 6 * more);
  while (more--)
    text += static_cast<char>(0x80 | (character >> 6 * more & 0x3F));
}

std::string mlir::lumen::tokenizer::toBytes(std::u32string_view characters) {
  std::string text;
  text.reserve(characters.size());
  for (char32_t character : characters)
    append(text, character);
  return text;
}

void Utf8Stream::feed(std::string_view bytes, std::string &text) {
  for (char byte : bytes) {
    if (!pending.empty() && !mayFollow(pending[0], pending.size(), byte)) {
      append(text, 0xFFFD);
      pending.clear();
    }
    if (pending.empty() && !mayBegin(byte)) {
      append(text, 0xFFFD);
      continue;
    }
    pending += byte;
    if (pending.size() == lengthOf(pending[0])) {
      text += pending;
      pending.clear();
    }
  }
}

void Utf8Stream::finish(std::string &text) {
  if (!pending.empty())
    append(text, 0xFFFD);
  pending.clear();
}

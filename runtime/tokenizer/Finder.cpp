//===- Finder.cpp - Finds one of many texts -------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/tokenizer/Finder.h"

#include <algorithm>

using namespace mlir::lumen::tokenizer;

static size_t byteAt(std::string_view text, size_t at) {
  return static_cast<unsigned char>(text[at]);
}

Finder::Finder(std::vector<Text> found) : texts(std::move(found)) {
  auto sameBytes = [](const Text &a, const Text &b) {
    return a.bytes == b.bytes;
  };
  std::sort(texts.begin(), texts.end(), [](const Text &a, const Text &b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.number < b.number;
  });
  texts.erase(std::unique(texts.begin(), texts.end(), sameBytes), texts.end());
  for (const Text &text : texts)
    ++places[byteAt(text.bytes, 0) + 1];
  for (size_t i = 1; i < places.size(); ++i)
    places[i] += places[i - 1];
}

bool Finder::next(std::string_view text, size_t from, Found &found) const {
  for (size_t at = from; at < text.size() && !texts.empty(); ++at)
    if (longest(text, at, found))
      return true;
  return false;
}

bool Finder::longest(std::string_view text, size_t at, Found &found) const {
  size_t byte = byteAt(text, at);
  auto begin = texts.begin() + places[byte];
  auto end = texts.begin() + places[byte + 1];
  bool any = false;
  // Of those left, all have the first `same` bytes of what stands there.
  for (size_t same = 1; begin != end; ++same) {
    if (begin->bytes.size() == same) {
      found = {at, at + same, begin->number};
      any = true;
      ++begin;
    }
    if (at + same >= text.size())
      break;
    size_t wanted = byteAt(text, at + same);
    begin = std::lower_bound(begin, end, wanted,
                             [same](const Text &text, size_t byte) {
                               return byteAt(text.bytes, same) < byte;
                             });
    end = std::upper_bound(begin, end, wanted,
                           [same](size_t byte, const Text &text) {
                             return byte < byteAt(text.bytes, same);
                           });
  }
  return any;
}

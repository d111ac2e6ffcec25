//===- SentencePieces.cpp - Texts to tokens by scores ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/tokenizer/SentencePieces.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

using namespace mlir::lumen::tokenizer;

static constexpr size_t noSymbol = size_t(-1);

void SentencePieces::encode(std::string_view given, std::vector<int32_t> &ids) {
  text.clear();
  for (char byte : given) {
    if (byte == ' ')
      text += "\xE2\x96\x81";
    else
      text += byte;
  }
  halves.clear();
  afterUnknown = false;
  cut();
  merge();
  for (size_t i = 0; i < symbols.size(); i = symbols[i].behind)
    add(symbols[i].text, ids);
}

/// Characters, and tokens that are found before anything is merged.
void SentencePieces::cut() {
  symbols.clear();
  std::string_view whole = text;
  Finder::Found found;
  for (size_t at = 0; at < whole.size();) {
    bool fixed = defined.longest(whole, at, found);
    size_t size = fixed ? found.end - at
                        : std::min(lengthOf(whole[at]), whole.size() - at);
    size_t place = symbols.size();
    symbols.push_back({whole.substr(at, size), place - 1, place + 1, fixed});
    at += size;
  }
}

void SentencePieces::consider(size_t left, size_t right) {
  if (left == noSymbol || right >= symbols.size() || symbols[left].fixed ||
      symbols[right].fixed)
    return;
  // The two stand side by side in the text.
  std::string_view both(symbols[left].text.data(),
                        symbols[left].text.size() + symbols[right].text.size());
  int32_t token = file.find(both);
  if (token < 0 || !file.is(token, Merges))
    return;
  queue.push_back({file.scores[token], left, right, both.size()});
  std::push_heap(queue.begin(), queue.end());
  if (file.is(token, Splits))
    halves[token] = {symbols[left].text, symbols[right].text};
}

void SentencePieces::merge() {
  queue.clear();
  for (size_t i = 1; i < symbols.size(); ++i)
    consider(i - 1, i);
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end());
    Candidate best = queue.back();
    queue.pop_back();
    Symbol &left = symbols[best.left], &right = symbols[best.right];
    // (One of the two may have been merged meanwhile.)
    if (left.text.empty() || right.text.empty() ||
        left.text.size() + right.text.size() != best.size)
      continue;
    left.text = std::string_view(left.text.data(), best.size);
    right.text = {};
    left.behind = right.behind;
    if (left.behind < symbols.size())
      symbols[left.behind].before = best.left;
    consider(left.before, best.left);
    consider(best.left, left.behind);
  }
}

void SentencePieces::add(std::string_view piece, std::vector<int32_t> &ids) {
  // A stack, not calls: a token may be made of many others.
  std::vector<std::string_view> open = {piece};
  while (!open.empty()) {
    std::string_view text = open.back();
    open.pop_back();
    int32_t token = file.find(text);
    auto made = halves.end();
    if (token >= 0 && file.is(token, Splits))
      made = halves.find(token);
    if (made != halves.end()) {
      open.push_back(made->second.second);
      open.push_back(made->second.first);
      continue;
    }
    bool isUnknown = token < 0 || !file.is(token, Merges);
    if (!isUnknown) {
      ids.push_back(token);
      afterUnknown = false;
      continue;
    }
    // All bytes are tokens, or none is.
    if (file.bytes[0] >= 0) {
      for (char byte : text)
        ids.push_back(file.bytes[static_cast<unsigned char>(byte)]);
      afterUnknown = false;
      continue;
    }
    // Unknown characters in a row are one token.
    if (!afterUnknown && file.unknown >= 0)
      ids.push_back(file.unknown);
    afterUnknown = true;
  }
}

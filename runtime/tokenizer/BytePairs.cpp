//===- BytePairs.cpp - Words to tokens by merges --------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/tokenizer/BytePairs.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

using namespace mlir::lumen::tokenizer;

void BytePairs::encode(std::string_view word, std::vector<int32_t> &ids) {
  if (file.has(WholeWords)) {
    int32_t whole = file.find(word);
    if (whole >= 0) {
      ids.push_back(whole);
      return;
    }
  }
  symbols.clear();
  firstTokens(word);
  merge();
  for (const Symbol &symbol : symbols)
    if (!symbol.merged)
      ids.push_back(int32_t(symbol.token));
}

void BytePairs::firstTokens(std::string_view word) {
  auto add = [&](int32_t token) {
    symbols.push_back({uint32_t(token), 0, 0, false});
  };
  // As the package does that this follows: an unknown character becomes a
  // token when a known or another unknown one comes, but not before bytes.
  bool waiting = false;
  auto flush = [&] {
    if (waiting)
      add(file.unknown);
    waiting = false;
  };
  bool inBytes = file.kind == Kind::BytePairs;
  for (size_t at = 0, length; at < word.size(); at += length) {
    length = inBytes ? 1 : std::min(lengthOf(word[at]), word.size() - at);
    auto tokenOf = [&](size_t place) {
      return file.bytes[static_cast<unsigned char>(word[place])];
    };
    int32_t token = inBytes ? tokenOf(at) : file.find(word.substr(at, length));
    if (token >= 0) {
      flush();
      add(token);
      continue;
    }
    bool asBytes = !inBytes;
    for (size_t i = at; i < at + length; ++i)
      asBytes = asBytes && tokenOf(i) >= 0;
    if (asBytes) {
      for (size_t i = at; i < at + length; ++i)
        add(tokenOf(i));
      continue;
    }
    if (file.unknown < 0)
      continue;
    if (!file.has(FusedUnknown))
      flush();
    waiting = true;
  }
  flush();
}

void BytePairs::consider(size_t place) {
  const Symbol &symbol = symbols[place];
  if (symbol.behind == symbols.size())
    return;
  uint32_t right = symbols[symbol.behind].token;
  int64_t found = file.findMerge(symbol.token, right);
  if (found < 0)
    return;
  queue.push_back(
      {file.mergeRanks[found], file.merged[found], place, symbol.token, right});
  std::push_heap(queue.begin(), queue.end());
}

void BytePairs::merge() {
  size_t count = symbols.size();
  for (size_t place = 0; place < count; ++place) {
    symbols[place].before = place - 1;
    symbols[place].behind = place + 1;
  }
  for (size_t place = 0; place < count; ++place)
    consider(place);
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end());
    Candidate best = queue.back();
    queue.pop_back();
    Symbol &symbol = symbols[best.place];
    // (One of the two may have been merged meanwhile.)
    if (symbol.merged || symbol.token != best.left || symbol.behind == count ||
        symbols[symbol.behind].token != best.right)
      continue;
    Symbol &other = symbols[symbol.behind];
    symbol.token = best.made;
    other.merged = true;
    symbol.behind = other.behind;
    if (symbol.behind < count)
      symbols[symbol.behind].before = best.place;
    if (symbol.before < count)
      consider(symbol.before);
    consider(best.place);
  }
}

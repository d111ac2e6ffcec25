//===- Compose.cpp - Unicode's normal form C ------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/tokenizer/Compose.h"

#include <algorithm>
#include <utility>
#include <vector>

using namespace mlir::lumen::tokenizer;

namespace {

// Hangul syllables follow a rule: consonant, vowel, perhaps a last consonant.
constexpr char32_t syllables = 0xAC00, leads = 0x1100, vowels = 0x1161,
                   tails = 0x11A7;
constexpr char32_t leadCount = 19, vowelCount = 21, tailCount = 28,
                   syllableCount = leadCount * vowelCount * tailCount;
// No decomposition is deeper.
constexpr unsigned mostDepth = 8;

} // namespace

static uint32_t classOf(const File &file, char32_t character) {
  if (character < 0x300)
    return 0;
  const Pair *found = std::lower_bound(
      file.combining.begin(), file.combining.end(), character,
      [](const Pair &row, char32_t c) { return row.first < c; });
  bool known = found != file.combining.end() && found->first == character;
  return known ? found->second : 0;
}

static void decompose(const File &file, char32_t character,
                      std::u32string &result, unsigned depth = 0) {
  char32_t syllable = character - syllables;
  if (character >= syllables && syllable < syllableCount) {
    result += leads + syllable / (vowelCount * tailCount);
    result += vowels + syllable % (vowelCount * tailCount) / tailCount;
    if (syllable % tailCount)
      result += tails + syllable % tailCount;
    return;
  }
  const Triple *found = std::lower_bound(
      file.decompositions.begin(), file.decompositions.end(), character,
      [](const Triple &row, char32_t c) { return row.first < c; });
  if (character < 0x80 || found == file.decompositions.end() ||
      found->first != character || depth == mostDepth) {
    result += character;
    return;
  }
  decompose(file, found->second, result, depth + 1);
  if (found->third)
    decompose(file, found->third, result, depth + 1);
}

/// What two characters compose, or 0.
static char32_t composed(const File &file, char32_t first, char32_t second) {
  if (first - leads < leadCount && second - vowels < vowelCount)
    return syllables +
           ((first - leads) * vowelCount + second - vowels) * tailCount;
  if (first - syllables < syllableCount &&
      (first - syllables) % tailCount == 0 && second > tails &&
      second < tails + tailCount)
    return first + second - tails;
  Triple wanted{first, second, 0};
  const Triple *found = std::lower_bound(
      file.compositions.begin(), file.compositions.end(), wanted,
      [](const Triple &a, const Triple &b) {
        return a.first != b.first ? a.first < b.first : a.second < b.second;
      });
  if (found == file.compositions.end() || found->first != first ||
      found->second != second)
    return 0;
  return found->third;
}

/// Marks behind a character in the order of their classes.
static void orderMarks(const File &file, std::u32string &text) {
  // A mark's class and place.
  std::vector<std::pair<uint32_t, size_t>> marks;
  std::u32string before;
  for (size_t begin = 0, end; begin < text.size(); begin = end) {
    marks.clear();
    for (end = begin; end < text.size(); ++end) {
      uint32_t found = classOf(file, text[end]);
      if (found == 0)
        break;
      marks.emplace_back(found, end - begin);
    }
    if (marks.size() > 1) {
      std::sort(marks.begin(), marks.end());
      before = text.substr(begin, marks.size());
      for (size_t i = 0; i < marks.size(); ++i)
        text[begin + i] = before[marks[i].second];
    }
    if (marks.empty())
      ++end;
  }
}

std::u32string mlir::lumen::tokenizer::compose(const File &file,
                                               std::u32string_view text) {
  std::u32string parts;
  parts.reserve(text.size());
  for (char32_t character : text)
    decompose(file, character, parts);
  orderMarks(file, parts);
  constexpr size_t none = size_t(-1);
  size_t written = 0, starter = none;
  // The class of the last mark that stayed behind the starter.
  uint32_t last = 0;
  for (char32_t character : parts) {
    uint32_t found = classOf(file, character);
    if (starter != none &&
        (starter + 1 == written || (found != 0 && last < found))) {
      if (char32_t both = composed(file, parts[starter], character)) {
        parts[starter] = both;
        continue;
      }
    }
    if (found == 0)
      starter = written;
    last = found;
    parts[written++] = character;
  }
  parts.resize(written);
  return parts;
}

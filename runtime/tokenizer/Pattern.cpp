//===- Pattern.cpp - Regular expressions as small programs ----------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/tokenizer/Pattern.h"
#include "runtime/embed/Failure.h"

#include <algorithm>

using namespace mlir::lumen::tokenizer;

namespace mlir::lumen::tokenizer {

/// Runs one program on one text.
class Matcher {
public:
  Matcher(const Patterns &patterns, size_t program, std::u32string_view text);

  /// The end of the match that begins at `begin`; `none` where there is none.
  size_t match(size_t begin);

  static constexpr size_t none = size_t(-1);

private:
  /// What to try where the rest fails: `place` of the program at `at`, and then
  /// before it, down to `least`. `done`: all was tried of the loop at `place`,
  /// which began at `least` and went to `at`.
  struct Choice {
    uint32_t place;
    bool done;
    size_t least, at;
  };
  /// Of a loop without a limit: from where to where it failed. What begins
  /// amid that fails as well, so that no text takes the square of its length.
  struct Failed {
    size_t begin = 0, end = 0;
  };

  bool loop(const Instruction &found, uint32_t place, size_t &at);
  bool goBack(uint32_t &place, size_t &at);
  void countStep();

  const Patterns &patterns;
  const Instruction *program;
  std::u32string_view text;
  std::vector<Choice> choices;
  std::vector<Failed> failed;
  size_t steps = 0, mostSteps;
};

} // namespace mlir::lumen::tokenizer

static constexpr uint32_t withoutLimit = UINT32_MAX;

CharacterSet::CharacterSet(Span<Range> ranges)
    : plane(planeSize / 64), ranges(ranges) {
  for (const Range &range : ranges)
    for (char32_t character = range.first;
         character <= range.last && character < planeSize; ++character)
      plane[character / 64] |= uint64_t(1) << character % 64;
}

bool CharacterSet::inRanges(char32_t character) const {
  const Range *found = std::lower_bound(
      ranges.begin(), ranges.end(), character,
      [](const Range &range, char32_t c) { return range.last < c; });
  return found != ranges.end() && found->first <= character;
}

Patterns::Patterns(const File &file) : file(file) {
  for (size_t i = 0; i + 1 < file.setPlaces.count; ++i) {
    size_t begin = file.setPlaces[i] / sizeof(Range);
    size_t end = file.setPlaces[i + 1] / sizeof(Range);
    sets.emplace_back(Span<Range>{file.ranges.data + begin, end - begin});
  }
}

std::vector<Match> Patterns::findAll(size_t program,
                                     std::u32string_view text) const {
  Matcher matcher(*this, program, text);
  std::vector<Match> found;
  for (size_t at = 0; at < text.size();) {
    size_t end = matcher.match(at);
    // (Of the empty text nothing can be made.)
    if (end == Matcher::none || end == at) {
      ++at;
      continue;
    }
    found.push_back({at, end});
    at = end;
  }
  return found;
}

Matcher::Matcher(const Patterns &patterns, size_t program,
                 std::u32string_view text)
    : patterns(patterns), text(text),
      mostSteps(10'000'000 + 1000 * text.size()) {
  const File &file = patterns.file;
  size_t begin = file.programPlaces[program] / sizeof(Instruction);
  size_t end = file.programPlaces[program + 1] / sizeof(Instruction);
  this->program = file.instructions.data + begin;
  failed.resize(end - begin);
}

void Matcher::countStep() {
  if (++steps > mostSteps)
    throw Failure{LUMEN_ERROR_ARGUMENT,
                  "cutting the text into words takes too long"};
}

size_t Matcher::match(size_t begin) {
  choices.clear();
  uint32_t place = 0;
  size_t at = begin;
  auto isIn = [&](uint32_t set) {
    return at < text.size() && patterns.sets[set].has(text[at]);
  };
  while (true) {
    const Instruction &found = program[place];
    bool fine = true;
    switch (found.op) {
    case Op::Class:
      fine = isIn(found.a);
      ++at, ++place;
      break;
    case Op::Loop:
    case Op::Take:
      fine = loop(found, place, at);
      ++place;
      break;
    case Op::Split:
      choices.push_back({found.b, false, at, at});
      place = found.a;
      break;
    case Op::Jump:
      place = found.a;
      break;
    case Op::Ahead:
      fine = isIn(found.a) == (found.b == 0);
      ++place;
      break;
    case Op::End:
      fine = at == text.size() || text[at] == '\n';
      ++place;
      break;
    case Op::Match:
      return at;
    }
    countStep();
    if (!fine && !goBack(place, at))
      return none;
  }
}

bool Matcher::loop(const Instruction &found, uint32_t place, size_t &at) {
  bool limited = found.c != withoutLimit;
  const Failed &before = failed[place];
  size_t least = at + found.b;
  if (!limited && least >= before.begin && at < before.end)
    return false;
  const CharacterSet &set = patterns.sets[found.a];
  size_t left = text.size() - at;
  size_t most = limited ? std::min<size_t>(found.c, left) : left;
  size_t end = at;
  while (end < at + most && set.has(text[end]))
    ++end;
  steps += end - at;
  if (end < least)
    return false;
  if (found.op == Op::Loop && end > least) {
    if (!limited)
      choices.push_back({place, true, least, end});
    choices.push_back({place + 1, false, least, end - 1});
  }
  at = end;
  return true;
}

bool Matcher::goBack(uint32_t &place, size_t &at) {
  while (!choices.empty()) {
    countStep();
    Choice &last = choices.back();
    if (last.done) {
      failed[last.place] = {last.least, last.at};
      choices.pop_back();
      continue;
    }
    place = last.place;
    at = last.at;
    if (last.at == last.least)
      choices.pop_back();
    else
      --last.at;
    return true;
  }
  return false;
}

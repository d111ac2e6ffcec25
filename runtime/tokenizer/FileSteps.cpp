//===- FileSteps.cpp - Reads and checks steps and programs ---------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/tokenizer/File.h"

#include <algorithm>
#include <utility>
#include <vector>

using namespace mlir::lumen::tokenizer;

// No tokenizer has more sets of characters.
static constexpr size_t mostSets = 1024;
static constexpr char32_t lastCharacter = 0x10FFFF;

void File::readSteps() {
  strings = readStrings("STRO", "STRS");
  setPlaces = section<uint32_t>("SETO");
  ranges = section<Range>("SETS");
  programPlaces = section<uint32_t>("PRGO");
  instructions = section<Instruction>("PRGS");
  auto check = [&](Span<uint32_t> places, size_t count, size_t bytes) {
    require(places.count > 0 && places[0] == 0 &&
                places[places.count - 1] == count * bytes,
            "the places of programs are wrong");
    for (size_t i = 1; i < places.count; ++i)
      require(places[i] % bytes == 0 && places[i] >= places[i - 1],
              "the places of programs are wrong");
  };
  check(setPlaces, ranges.count, sizeof(Range));
  check(programPlaces, instructions.count, sizeof(Instruction));
  require(setPlaces.count <= mostSets, "there are too many sets");
  for (size_t set = 0; set + 1 < setPlaces.count; ++set) {
    size_t begin = setPlaces[set] / sizeof(Range);
    size_t end = setPlaces[set + 1] / sizeof(Range);
    checkRanges({ranges.data + begin, end - begin});
  }
  for (size_t i = 0; i + 1 < programPlaces.count; ++i)
    checkProgram(programPlaces[i] / sizeof(Instruction),
                 programPlaces[i + 1] / sizeof(Instruction));
  normalizer = section<Step>("NORM");
  cuts = section<Step>("CUTS");
  cutsBehind = section<Step>("CUTB");
  for (auto steps : {normalizer, cuts, cutsBehind})
    checkSteps(steps);
  if (std::any_of(normalizer.begin(), normalizer.end(),
                  [](const Step &step) { return step.what == Do::Nfc; }))
    readCompositions();
}

void File::checkRanges(Span<Range> set) const {
  for (size_t i = 0; i < set.count; ++i)
    require(set[i].first <= set[i].last && set[i].last <= lastCharacter &&
                (i == 0 || set[i - 1].last < set[i].first),
            "characters are not in order");
}

/// Every way through a program stays in it and takes a character before it
/// comes back.
void File::checkProgram(size_t begin, size_t end) const {
  size_t count = end - begin;
  require(count > 0 && instructions[end - 1].op == Op::Match,
          "a program has no end");
  size_t sets = setPlaces.count - 1;
  // Where each instruction may go without taking a character.
  std::vector<std::vector<uint32_t>> next(count);
  for (size_t i = 0; i < count; ++i) {
    const Instruction &found = instructions[begin + i];
    uint32_t following = uint32_t(i + 1);
    switch (found.op) {
    case Op::Loop:
    case Op::Take:
      require(found.a < sets && found.b <= found.c, "a loop is none");
      if (found.b == 0)
        next[i] = {following};
      break;
    case Op::Class:
      require(found.a < sets, "a set is missing");
      break;
    case Op::Ahead:
      require(found.a < sets && found.b <= 1, "a condition is none");
      next[i] = {following};
      break;
    case Op::Split:
      next[i] = {found.a, found.b};
      break;
    case Op::Jump:
      next[i] = {found.a};
      break;
    case Op::End:
      next[i] = {following};
      break;
    case Op::Match:
      break;
    default:
      damaged("an instruction is unknown");
    }
    for (uint32_t place : next[i])
      require(place < count, "a program goes outside");
  }
  // Depth first: a way back to what is still open is a circle.
  std::vector<uint8_t> state(count, 0);
  std::vector<std::pair<uint32_t, size_t>> open;
  for (uint32_t first = 0; first < count; ++first) {
    if (state[first])
      continue;
    open.push_back({first, 0});
    state[first] = 1;
    while (!open.empty()) {
      auto &[place, taken] = open.back();
      if (taken == next[place].size()) {
        state[place] = 2;
        open.pop_back();
        continue;
      }
      uint32_t to = next[place][taken++];
      require(state[to] != 1, "a program runs in a circle");
      if (state[to] == 0) {
        state[to] = 1;
        open.push_back({to, 0});
      }
    }
  }
}

void File::checkSteps(Span<Step> steps) const {
  size_t programs = programPlaces.count - 1;
  for (const Step &step : steps) {
    switch (step.what) {
    case Do::Nfc:
    case Do::Alphabet:
      break;
    case Do::Prepend:
    case Do::Prefix:
      require(step.a < strings.size(), "a text is missing");
      break;
    case Do::Replace:
      require(step.a < programs && step.b < strings.size(),
              "a program is missing");
      break;
    case Do::Cut:
      require(step.a < programs && step.b <= 4, "a program is missing");
      break;
    default:
      damaged("a step is unknown");
    }
  }
}

void File::readCompositions() {
  decompositions = section<Triple>("NFCD");
  combining = section<Pair>("NFCC");
  compositions = section<Triple>("NFCP");
  for (size_t i = 0; i < decompositions.count; ++i) {
    const Triple &row = decompositions[i];
    require(row.first <= lastCharacter && row.second <= lastCharacter &&
                row.third <= lastCharacter &&
                (i == 0 || decompositions[i - 1].first < row.first),
            "decompositions are wrong");
  }
  for (size_t i = 0; i < combining.count; ++i)
    require(combining[i].second <= 255 &&
                (i == 0 || combining[i - 1].first < combining[i].first),
            "combining classes are wrong");
  for (size_t i = 0; i < compositions.count; ++i) {
    const Triple &row = compositions[i];
    require(row.third <= lastCharacter, "compositions are wrong");
    if (i == 0)
      continue;
    const Triple &before = compositions[i - 1];
    require(before.first < row.first ||
                (before.first == row.first && before.second < row.second),
            "compositions are wrong");
  }
}

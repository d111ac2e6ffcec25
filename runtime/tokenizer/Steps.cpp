//===- Steps.cpp - What is done to a text before words are merged ---------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/tokenizer/Steps.h"
#include "runtime/tokenizer/Compose.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <array>

using namespace mlir::lumen::tokenizer;

namespace {

/// What becomes of a match that a text is cut at.
enum class Behaviour : uint32_t {
  Removed,
  Isolated,
  MergedWithPrevious,
  MergedWithNext,
  Contiguous
};

/// A part of a text that matches or does not.
struct Part {
  size_t begin, end;
  bool matches;
};

/// Every byte as a printable character: those of Latin-1 stand for themselves,
/// the others take the characters from U+0100 on.
struct Alphabet {
  static constexpr size_t others = 68;

  Alphabet() {
    size_t other = 0x100;
    for (size_t byte = 0; byte < 256; ++byte) {
      bool printable = (byte >= '!' && byte <= '~') ||
                       (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      ofByte[byte] = char32_t(printable ? byte : other++);
      ofCharacter[ofByte[byte]] = int(byte);
    }
  }

  std::array<char32_t, 256> ofByte;
  std::array<int, 0x100 + others> ofCharacter = {};
};

} // namespace

static const Alphabet alphabet;

Steps::Steps(const File &file) : file(file), patterns(file) {
  for (size_t i = 0; i < file.strings.size(); ++i)
    strings.push_back(toCharacters(file.strings[i]));
}

Pieces Steps::normalized(std::u32string text) const {
  Pieces pieces;
  pieces.ends = {text.size()};
  pieces.text = std::move(text);
  for (const Step &step : file.normalizer)
    run(step, pieces, false);
  return pieces;
}

void Steps::cut(Pieces &pieces, bool begins, bool behind) const {
  Span<Step> steps = behind ? file.cutsBehind : file.cuts;
  for (const Step &step : steps) {
    // Words are wanted as bytes in the end.
    if (step.what == Do::Alphabet && &step == steps.end() - 1)
      return;
    run(step, pieces, begins);
  }
}

std::string Steps::bytesOf(const Pieces &pieces, size_t index) const {
  std::u32string_view word = pieces[index];
  if (!pieces.alphabet)
    return toBytes(word);
  std::string bytes;
  for (char32_t character : word)
    if (character < alphabet.ofCharacter.size())
      bytes += char(alphabet.ofCharacter[character]);
  return bytes;
}

void Steps::run(const Step &step, Pieces &pieces, bool begins) const {
  switch (step.what) {
  case Do::Nfc:
    // (Only before a text is cut.)
    pieces.text = compose(file, pieces.text);
    pieces.ends = {pieces.text.size()};
    break;
  case Do::Prepend:
    if (!pieces.text.empty())
      pieces.text.insert(0, strings[step.a]);
    pieces.ends = {pieces.text.size()};
    break;
  case Do::Replace:
    replace(step, pieces);
    break;
  case Do::Alphabet:
    toAlphabet(pieces);
    break;
  case Do::Cut:
    split(step, pieces);
    break;
  case Do::Prefix:
    prefix(step, pieces, begins);
    break;
  }
}

void Steps::prefix(const Step &step, Pieces &pieces, bool begins) const {
  const std::u32string &text = strings[step.a];
  Pieces result;
  result.alphabet = pieces.alphabet;
  for (size_t i = 0; i < pieces.size(); ++i) {
    std::u32string_view piece = pieces[i];
    bool wanted = step.b == 0 || (begins && i == 0);
    if (wanted && piece.substr(0, text.size()) != text)
      result.text += text;
    result.text += piece;
    result.ends.push_back(result.text.size());
  }
  pieces = std::move(result);
}

void Steps::replace(const Step &step, Pieces &pieces) const {
  Pieces result;
  result.alphabet = pieces.alphabet;
  for (size_t i = 0; i < pieces.size(); ++i) {
    std::u32string_view piece = pieces[i];
    size_t taken = 0;
    for (const Match &match : patterns.findAll(step.a, piece)) {
      result.text += piece.substr(taken, match.begin - taken);
      result.text += strings[step.b];
      taken = match.end;
    }
    result.text += piece.substr(taken);
    result.ends.push_back(result.text.size());
  }
  pieces = std::move(result);
}

void Steps::toAlphabet(Pieces &pieces) const {
  Pieces result;
  result.alphabet = true;
  for (size_t i = 0; i < pieces.size(); ++i) {
    for (char byte : toBytes(pieces[i]))
      result.text += alphabet.ofByte[static_cast<unsigned char>(byte)];
    result.ends.push_back(result.text.size());
  }
  pieces = std::move(result);
}

/// The parts of a text, given its matches; `inverted`: what lies between them
/// matches instead.
static std::vector<Part> partsOf(const std::vector<Match> &matches, size_t size,
                                 bool inverted) {
  std::vector<Part> parts;
  size_t taken = 0;
  for (const Match &match : matches) {
    if (match.begin > taken)
      parts.push_back({taken, match.begin, inverted});
    parts.push_back({match.begin, match.end, !inverted});
    taken = match.end;
  }
  if (size > taken)
    parts.push_back({taken, size, inverted});
  return parts;
}

/// Joins parts as the behaviour says.
static std::vector<Part> joined(std::vector<Part> parts, Behaviour behaviour) {
  std::vector<Part> result;
  bool before = false;
  bool backwards = behaviour == Behaviour::MergedWithNext;
  if (backwards)
    std::reverse(parts.begin(), parts.end());
  for (const Part &part : parts) {
    bool joins = behaviour == Behaviour::Contiguous ? part.matches == before
                                                    : part.matches && !before;
    before = part.matches;
    if (!joins || result.empty()) {
      result.push_back(part);
      continue;
    }
    if (backwards)
      result.back().begin = part.begin;
    else
      result.back().end = part.end;
  }
  if (backwards)
    std::reverse(result.begin(), result.end());
  return result;
}

void Steps::split(const Step &step, Pieces &pieces) const {
  auto behaviour = static_cast<Behaviour>(step.b);
  bool removes = behaviour == Behaviour::Removed;
  Pieces result;
  result.alphabet = pieces.alphabet;
  if (!removes)
    result.text = pieces.text;
  for (size_t i = 0, begin = 0; i < pieces.size(); begin = pieces.ends[i++]) {
    std::u32string_view piece = pieces[i];
    std::vector<Part> parts =
        partsOf(patterns.findAll(step.a, piece), piece.size(), step.c & 1);
    if (!removes && behaviour != Behaviour::Isolated)
      parts = joined(std::move(parts), behaviour);
    for (const Part &part : parts) {
      if (removes && part.matches)
        continue;
      if (removes)
        result.text += piece.substr(part.begin, part.end - part.begin);
      result.ends.push_back(removes ? result.text.size() : begin + part.end);
    }
  }
  pieces = std::move(result);
}

//===- Tokenizer.cpp - Text to tokens and back ----------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/tokenizer/Tokenizer.h"
#include "runtime/embed/Failure.h"
#include "runtime/tokenizer/BytePairs.h"
#include "runtime/tokenizer/SentencePieces.h"

#include <algorithm>

using namespace mlir::lumen;
using namespace mlir::lumen::tokenizer;

/// Of the added tokens, those whose flags `chosen` likes.
template <typename Chosen>
static Finder finder(const File &file, Chosen chosen) {
  std::vector<Finder::Text> texts;
  for (size_t i = 0; i < file.added.count; ++i)
    if (chosen(file.added[i].flags))
      texts.push_back({file.addedTexts[i], i});
  return Finder(std::move(texts));
}

Tokenizer::Tokenizer(File file)
    : contents(std::move(file)), wordCharacters(contents.wordCharacters) {
  if (contents.kind == Kind::SentencePiece) {
    first = finder(contents, [](uint32_t flags) { return flags & Always; });
    second = finder(contents, [](uint32_t) { return true; });
    std::vector<Finder::Text> texts;
    for (uint32_t token : contents.order)
      if (contents.is(token, Defined) && !contents.texts[token].empty())
        texts.push_back({contents.texts[token], token});
    defined = Finder(std::move(texts));
    return;
  }
  first =
      finder(contents, [](uint32_t flags) { return !(flags & Normalized); });
  second = finder(contents, [](uint32_t flags) { return flags & Normalized; });
  steps.emplace(contents);
}

bool Tokenizer::ends(int32_t token) const {
  return std::find(contents.ends.begin(), contents.ends.end(), token) !=
         contents.ends.end();
}

static void requireValid(std::string_view text) {
  size_t invalid = firstInvalid(text);
  if (invalid != std::string_view::npos)
    throw Failure{LUMEN_ERROR_ARGUMENT, "the text is not valid UTF-8 at byte " +
                                            std::to_string(invalid)};
}

std::vector<int32_t> Tokenizer::encode(std::string_view text,
                                       const EncodeOptions &options) const {
  std::vector<int32_t> ids = idsOf(text, options);
  if (options.addBos && contents.has(AddBos) &&
      (ids.empty() || ids[0] != contents.bos))
    ids.insert(ids.begin(), contents.bos);
  if (options.addEos && contents.has(AddEos))
    ids.push_back(contents.eos);
  return ids;
}

std::vector<int32_t> Tokenizer::idsOf(std::string_view text,
                                      const EncodeOptions &options) const {
  requireValid(text);
  std::vector<int32_t> ids = contents.kind == Kind::SentencePiece
                                 ? encodePieces(text, options)
                                 : encodePairs(text, options);
  auto beyond = std::find_if(ids.begin(), ids.end(), [&](int32_t token) {
    return token >= contents.rows;
  });
  if (beyond != ids.end())
    throw Failure{LUMEN_ERROR_ARGUMENT,
                  "the text contains token " + std::to_string(*beyond) +
                      " (at place " + std::to_string(beyond - ids.begin()) +
                      " of " + std::to_string(ids.size()) +
                      "), but the embedding table ends at " +
                      std::to_string(contents.rows - 1)};
  return ids;
}

/// The character that begins at `at`, and how many bytes it has.
static char32_t characterAt(std::string_view text, size_t at, size_t &length) {
  length = std::min(lengthOf(text[at]), text.size() - at);
  return toCharacters(text.substr(at, length))[0];
}

/// Where the character before `at` begins.
static size_t placeBefore(std::string_view text, size_t at) {
  do
    --at;
  while (at > 0 && (text[at] & 0xC0) == 0x80);
  return at;
}

/// How many bytes of white space begin at `at`; 0 where none does.
static size_t spaceAt(std::string_view text, size_t at) {
  size_t length;
  char32_t c = characterAt(text, at, length);
  bool space = (c >= '\t' && c <= '\r') || c == ' ' || c == 0x85 || c == 0xA0 ||
               c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
               c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
  return space ? length : 0;
}

bool Tokenizer::isAlone(std::string_view text,
                        const Finder::Found &found) const {
  auto inWord = [&](size_t at) {
    size_t length;
    return wordCharacters.has(characterAt(text, at, length));
  };
  bool before = found.begin > 0 && inWord(placeBefore(text, found.begin));
  return !before && !(found.end < text.size() && inWord(found.end));
}

/// `text` without white space at its ends, as Python's strip() takes it.
static std::string_view stripped(std::string_view text) {
  auto isSpace = [&](size_t at) {
    return spaceAt(text, at) || (text[at] >= 0x1C && text[at] <= 0x1F);
  };
  while (!text.empty() && isSpace(0))
    text.remove_prefix(std::min(lengthOf(text[0]), text.size()));
  while (!text.empty() && isSpace(placeBefore(text, text.size())))
    text = text.substr(0, placeBefore(text, text.size()));
  return text;
}

std::vector<int32_t> Tokenizer::encodeTurn(std::string_view message) const {
  if (!contents.hasChat)
    throw Failure{LUMEN_ERROR_ARGUMENT, "the model has no chat template"};
  requireValid(message);
  if (contents.chatStrips)
    message = stripped(message);
  std::string before(contents.chatTexts[0]), after(contents.chatTexts[3]);
  std::string inner(contents.chatTexts[1]);
  inner += message;
  inner += contents.chatTexts[2];
  auto isControl = [&](const Finder &finder) {
    Finder::Found found;
    for (size_t at = 0; finder.next(inner, at, found); at = found.end)
      if (contents.added[found.number].flags & Special)
        return true;
    return false;
  };
  EncodeOptions options;
  std::vector<int32_t> ids;
  auto add = [&](const std::string &text, bool special) {
    options.special = special;
    options.begins = ids.empty();
    std::vector<int32_t> more = idsOf(text, options);
    ids.insert(ids.end(), more.begin(), more.end());
  };
  if (isControl(first) || isControl(second)) {
    add(before, true);
    add(inner, false);
    add(after, true);
  } else {
    add(before + inner + after, true);
  }
  if (contents.has(AddBos) && (ids.empty() || ids[0] != contents.bos))
    ids.insert(ids.begin(), contents.bos);
  return ids;
}

/// Takes added tokens out of `text`, and the space beside those that ask for
/// it.
std::vector<Tokenizer::Part> Tokenizer::parts(std::string_view text,
                                              const Finder &finder,
                                              bool special) const {
  std::vector<Part> result;
  size_t taken = 0;
  Finder::Found found;
  for (size_t at = 0; finder.next(text, at, found); at = found.end) {
    const Added &token = contents.added[found.number];
    if (!special && (token.flags & Special))
      continue;
    if ((token.flags & Alone) && !isAlone(text, found))
      continue;
    size_t begin = found.begin, end = found.end;
    if (token.flags & StripsLeft)
      while (begin > taken && spaceAt(text, placeBefore(text, begin)))
        begin = placeBefore(text, begin);
    if (token.flags & StripsRight)
      while (end < text.size() && spaceAt(text, end))
        end += spaceAt(text, end);
    if (begin > taken)
      result.push_back({taken, begin, -1});
    result.push_back({begin, end, int32_t(token.id)});
    taken = end;
  }
  if (taken < text.size())
    result.push_back({taken, text.size(), -1});
  return result;
}

std::vector<int32_t>
Tokenizer::encodePairs(std::string_view text,
                       const EncodeOptions &options) const {
  BytePairs pairs(contents);
  std::vector<int32_t> ids;
  for (const Part &part : parts(text, first, options.special)) {
    if (part.token >= 0) {
      ids.push_back(part.token);
      continue;
    }
    Pieces pieces = steps->normalized(
        toCharacters(text.substr(part.begin, part.end - part.begin)));
    bool begins = part.begin == 0;
    if (second.empty()) {
      encodePart(std::move(pieces), begins, !options.begins, pairs, ids);
      continue;
    }
    std::string changed = toBytes(pieces.text);
    for (const Part &inner : parts(changed, second, options.special)) {
      if (inner.token >= 0) {
        ids.push_back(inner.token);
        continue;
      }
      Pieces rest;
      rest.alphabet = pieces.alphabet;
      rest.text = toCharacters(std::string_view(changed).substr(
          inner.begin, inner.end - inner.begin));
      rest.ends = {rest.text.size()};
      encodePart(std::move(rest), begins && inner.begin == 0, !options.begins,
                 pairs, ids);
    }
  }
  return ids;
}

void Tokenizer::encodePart(Pieces pieces, bool begins, bool behind,
                           BytePairs &pairs, std::vector<int32_t> &ids) const {
  steps->cut(pieces, begins, behind);
  for (size_t i = 0; i < pieces.size(); ++i)
    pairs.encode(steps->bytesOf(pieces, i), ids);
}

std::vector<int32_t>
Tokenizer::encodePieces(std::string_view text,
                        const EncodeOptions &options) const {
  SentencePieces pieces(contents, defined);
  std::vector<int32_t> ids;
  auto plain = [&](std::string_view part, bool begins) {
    if (part.empty())
      return;
    bool prefix = contents.has(SpacePrefix);
    if (contents.has(PrefixFirst))
      prefix = prefix && begins && part[0] != ' ' &&
               part.substr(0, 3) != "\xE2\x96\x81";
    pieces.encode(prefix ? " " + std::string(part) : std::string(part), ids);
  };
  const Finder &finder = options.special ? second : first;
  size_t taken = 0;
  Finder::Found found;
  while (finder.next(text, taken, found)) {
    plain(text.substr(taken, found.begin - taken),
          options.begins && taken == 0);
    ids.push_back(int32_t(contents.added[found.number].id));
    taken = found.end;
  }
  plain(text.substr(taken), options.begins && taken == 0);
  return ids;
}

Decoder::Decoder(const Tokenizer &tokenizer, bool special, bool begins)
    : tokenizer(tokenizer), special(special),
      dropSpace(begins && tokenizer.file().has(SpacePrefix)) {}

const std::string &Decoder::feed(int32_t token) {
  const File &file = tokenizer.file();
  if (token < 0 || token >= file.tokens)
    throw Failure{LUMEN_ERROR_ARGUMENT, "token id " + std::to_string(token) +
                                            " is outside the vocabulary of " +
                                            std::to_string(file.tokens) +
                                            " tokens"};
  text.clear();
  bool hidden = file.is(token, Hidden);
  std::string piece;
  if (special || !hidden)
    piece = file.piece(token);
  if (dropSpace && !hidden) {
    dropSpace = false;
    if (!piece.empty() && piece[0] == ' ')
      piece.erase(0, 1);
  }
  stream.feed(piece, text);
  return text;
}

const std::string &Decoder::finish() {
  text.clear();
  stream.finish(text);
  return text;
}

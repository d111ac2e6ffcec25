//===- File.cpp - Reads a tokenizer.bin and checks it ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/tokenizer/File.h"
#include "runtime/Checksum.h"
#include "runtime/embed/Failure.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

using namespace mlir::lumen;
using namespace mlir::lumen::tokenizer;

namespace {

struct TokenizerHeader {
  char magic[8];
  uint32_t version, zero;
  uint64_t size, checksum;
};

struct Section {
  char name[4];
  uint32_t zero;
  uint64_t place, bytes;
};

constexpr uint32_t version = 1;
// No tokenizer is larger.
constexpr size_t mostBytes = size_t(1) << 30;

} // namespace

/// All bytes of a file. Throws a Failure.
static std::unique_ptr<uint64_t[]> readFile(const std::string &path,
                                            size_t &size) {
  auto fail = [&] {
    int error = errno;
    throw Failure{LUMEN_ERROR_FILE,
                  path + ": cannot be read: " + std::strerror(error)};
  };
  std::unique_ptr<std::FILE, int (*)(std::FILE *)> file(
      std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file)
    fail();
  // (A pipe or a device has no size, so it is read until it ends.)
  std::unique_ptr<uint64_t[]> data;
  size_t words = 0;
  size = 0;
  while (true) {
    if (size == words * sizeof(uint64_t)) {
      if (size > mostBytes)
        throw Failure{LUMEN_ERROR_DAMAGED, path + ": is no tokenizer file"};
      size_t more = words ? words * 2 : 1 << 17;
      std::unique_ptr<uint64_t[]> larger(new uint64_t[more]);
      if (size)
        std::memcpy(larger.get(), data.get(), size);
      data = std::move(larger);
      words = more;
    }
    char *bytes = reinterpret_cast<char *>(data.get());
    size_t count = std::fread(bytes + size, 1, words * sizeof(uint64_t) - size,
                              file.get());
    size += count;
    if (count == 0) {
      if (std::ferror(file.get()))
        fail();
      return data;
    }
  }
}

File::File(const std::string &path) : path(path) {
  data = readFile(path, size);
  read();
}

File::File(std::unique_ptr<uint64_t[]> bytes, size_t size, std::string path)
    : data(std::move(bytes)), size(size), path(std::move(path)) {
  read();
}

void File::damaged(const std::string &what) const {
  throw Failure{LUMEN_ERROR_DAMAGED, path + ": is damaged: " + what};
}

void File::require(bool fine, const char *what) const {
  if (!fine)
    damaged(what);
}

void File::read() {
  checkHeader();
  auto numbers = section<int32_t>("INFO");
  require(numbers.count == 7, "the numbers are not seven");
  require(numbers[0] >= 0 && numbers[0] <= 2, "the kind is unknown");
  kind = static_cast<Kind>(numbers[0]);
  flags = numbers[1];
  tokens = numbers[2];
  rows = numbers[3];
  require(tokens > 0 && rows >= 0 && rows <= tokens, "it has no tokens");
  auto named = [&](int32_t token) {
    require(token >= -1 && token < tokens, "a special token is none");
    return token;
  };
  bos = named(numbers[4]);
  eos = named(numbers[5]);
  unknown = named(numbers[6]);
  require(bos >= 0 || !has(AddBos), "there is no token to add");
  require(eos >= 0 || !has(AddEos), "there is no token to add");
  ends = section<int32_t>("ENDS");
  for (int32_t token : ends)
    require(token >= 0 && token < tokens, "an end token is none");
  readTokens();
  readAdded();
  readChat();
  if (kind == Kind::SentencePiece) {
    scores = section<float>("SCOR");
    require(scores.count == size_t(tokens), "scores are missing");
    for (float score : scores)
      require(std::isfinite(score), "a score is no number");
    return;
  }
  readMerges();
  readSteps();
}

void File::checkHeader() {
  TokenizerHeader header;
  if (size < sizeof(TokenizerHeader) + sizeof(uint64_t))
    throw Failure{LUMEN_ERROR_DAMAGED, path +
                                           ": is no tokenizer file: it has " +
                                           std::to_string(size) + " bytes"};
  std::memcpy(&header, data.get(), sizeof(header));
  if (std::memcmp(header.magic, "LUMENTOK", sizeof(header.magic)) != 0)
    throw Failure{LUMEN_ERROR_DAMAGED, path + ": is no tokenizer file"};
  if (header.version != version)
    throw Failure{LUMEN_ERROR_VERSION, path + ": is of version " +
                                           std::to_string(header.version) +
                                           ", and this program reads version " +
                                           std::to_string(version)};
  if (header.size != size)
    damaged("it has " + std::to_string(size) + " of " +
            std::to_string(header.size) + " bytes");
  const auto *bytes = reinterpret_cast<const uint8_t *>(data.get());
  Checksum sum;
  sum.update(bytes + sizeof(TokenizerHeader), size - sizeof(TokenizerHeader));
  require(sum.value() == header.checksum && header.zero == 0,
          "its checksum is another one");
  uint64_t count;
  std::memcpy(&count, bytes + sizeof(TokenizerHeader), sizeof(count));
  size_t begin = sizeof(TokenizerHeader) + sizeof(count);
  require(count <= (size - begin) / sizeof(Section), "it ends too early");
  for (uint64_t i = 0; i < count; ++i) {
    Section found;
    std::memcpy(&found, bytes + begin + i * sizeof(Section), sizeof(found));
    require(found.place % 8 == 0 && found.place <= size &&
                found.bytes <= size - found.place,
            "a section is outside");
  }
}

bool File::findSection(const char *name, std::string_view &bytes) const {
  const auto *begin = reinterpret_cast<const char *>(data.get());
  uint64_t count;
  std::memcpy(&count, begin + sizeof(TokenizerHeader), sizeof(count));
  for (uint64_t i = 0; i < count; ++i) {
    Section found;
    std::memcpy(&found,
                begin + sizeof(TokenizerHeader) + sizeof(count) +
                    i * sizeof(Section),
                sizeof(found));
    if (std::memcmp(found.name, name, sizeof(found.name)) == 0) {
      bytes = {begin + found.place, size_t(found.bytes)};
      return true;
    }
  }
  return false;
}

std::string_view File::sectionBytes(const char *name) const {
  std::string_view bytes;
  if (!findSection(name, bytes))
    damaged(std::string("section ") + name + " is missing");
  return bytes;
}

Strings File::readStrings(const char *places, const char *bytes) const {
  auto chars = section<char>(bytes);
  Strings found{section<uint32_t>(places), {chars.data, chars.count}};
  require(found.places.count > 0 && found.places[0] == 0 &&
              found.places[found.size()] == chars.count &&
              std::is_sorted(found.places.begin(), found.places.end()),
          "the places of texts are wrong");
  return found;
}

void File::checkTokens(Span<uint32_t> ids, const char *name) const {
  for (uint32_t id : ids)
    if (id >= uint32_t(tokens))
      damaged(std::string("a number in ") + name + " is no token");
}

void File::readTokens() {
  texts = readStrings("TOKO", "TOKS");
  tokenFlags = section<uint8_t>("FLAG");
  order = section<uint32_t>("ORDR");
  bytes = section<int32_t>("BYTE");
  require(texts.size() == size_t(tokens) &&
              tokenFlags.count == size_t(tokens) && bytes.count == 256,
          "tokens are missing");
  checkTokens(order, "ORDR");
  for (size_t i = 1; i < order.count; ++i)
    require(texts[order[i - 1]] < texts[order[i]], "tokens are not in order");
  for (int32_t token : bytes)
    require(token >= -1 && token < tokens, "a byte is no token");
  for (int32_t token = 0; token < tokens; ++token)
    require(!is(token, OneByte) || texts[token].size() == 6,
            "a token is no byte");
}

void File::readMerges() {
  mergeKeys = section<uint64_t>("MKEY");
  mergeRanks = section<uint32_t>("MRNK");
  merged = section<uint32_t>("MMAD");
  require(mergeKeys.count == mergeRanks.count &&
              mergeKeys.count == merged.count &&
              std::is_sorted(mergeKeys.begin(), mergeKeys.end()),
          "merges are not in order");
  checkTokens(merged, "MMAD");
}

void File::readAdded() {
  added = section<Added>("ADDT");
  addedTexts = readStrings("ADDO", "ADDS");
  require(added.count == addedTexts.size(), "added tokens are missing");
  for (size_t i = 0; i < added.count; ++i)
    require(!addedTexts[i].empty() && added[i].id <= INT32_MAX,
            "an added token is none");
  if (std::any_of(added.begin(), added.end(),
                  [](const Added &token) { return token.flags & Alone; })) {
    wordCharacters = section<Range>("WORD");
    checkRanges(wordCharacters);
  }
}

void File::readChat() {
  std::string_view bytes;
  hasChat = findSection("CHAT", bytes);
  if (!hasChat)
    return;
  auto numbers = section<int32_t>("CHAT");
  chatTexts = readStrings("CHTO", "CHTS");
  require(numbers.count == 1 && chatTexts.size() == 4, "a turn has four texts");
  chatStrips = numbers[0];
}

size_t File::placeOf(std::string_view text) const {
  auto found = std::lower_bound(
      order.begin(), order.end(), text,
      [&](uint32_t id, std::string_view text) { return texts[id] < text; });
  return found - order.begin();
}

int32_t File::find(std::string_view text) const {
  size_t place = placeOf(text);
  if (place < order.count && texts[order[place]] == text)
    return int32_t(order[place]);
  return -1;
}

int64_t File::findMerge(uint32_t left, uint32_t right) const {
  uint64_t key = uint64_t(left) << 32 | right;
  auto found = std::lower_bound(mergeKeys.begin(), mergeKeys.end(), key);
  if (found == mergeKeys.end() || *found != key)
    return -1;
  return found - mergeKeys.begin();
}

std::string File::piece(uint32_t token) const {
  std::string_view text = texts[token];
  if (is(token, OneByte)) {
    auto digit = [](char c) {
      return unsigned(c <= '9' ? c - '0' : (c | 32) - 'a' + 10) % 16;
    };
    return std::string(1, char(digit(text[3]) << 4 | digit(text[4])));
  }
  std::string found;
  if (!is(token, Spaces))
    return std::string(text);
  constexpr std::string_view space = "\xE2\x96\x81";
  for (size_t at = 0; at < text.size();) {
    bool written = text.substr(at, space.size()) == space;
    found += written ? ' ' : text[at];
    at += written ? space.size() : 1;
  }
  return found;
}

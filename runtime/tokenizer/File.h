//===- File.h - What stands in a tokenizer.bin ---------------- -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_TOKENIZER_FILE_H
#define LUMEN_RUNTIME_TOKENIZER_FILE_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace mlir::lumen::tokenizer {

template <typename T> struct Span {
  const T *data = nullptr;
  size_t count = 0;

  size_t size() const { return count; }
  const T &operator[](size_t index) const { return data[index]; }
  const T *begin() const { return data; }
  const T *end() const { return data + count; }
};

/// Strings of any length in a row.
struct Strings {
  Span<uint32_t> places;
  std::string_view bytes;

  size_t size() const { return places.count - 1; }
  std::string_view operator[](size_t index) const {
    return bytes.substr(places[index], places[index + 1] - places[index]);
  }
};

enum class Kind : int32_t { BytePairs, CharacterPairs, SentencePiece };

/// What is true of a token: it is not shown; it is one byte; it writes spaces
/// as U+2581; words may be made of it; it is made of others again; it is found
/// before words are.
enum TokenFlag : uint8_t {
  Hidden = 1,
  OneByte = 2,
  Spaces = 4,
  Merges = 8,
  Splits = 16,
  Defined = 32
};

enum TokenizerFlag : int32_t {
  AddBos = 1,
  AddEos = 2,
  SpacePrefix = 4,
  WholeWords = 8,
  FusedUnknown = 16,
  PrefixFirst = 32
};

/// Of tokens that are taken out of a text before it is cut into words.
enum AddedFlag : uint32_t {
  Special = 1,
  StripsLeft = 2,
  StripsRight = 4,
  Normalized = 8,
  Always = 16,
  Alone = 32
};

enum class Do : uint32_t { Nfc = 1, Prepend, Replace, Alphabet, Cut, Prefix };

struct Step {
  Do what;
  uint32_t a, b, c;
};

enum class Op : uint32_t { Class, Loop, Take, Split, Jump, Ahead, End, Match };

struct Instruction {
  Op op;
  uint32_t a, b, c;
};

struct Range {
  uint32_t first, last;
};

struct Added {
  uint32_t id, flags;
};

struct Pair {
  uint32_t first, second;
};

struct Triple {
  uint32_t first, second, third;
};

/// A tokenizer.bin in memory, whose numbers are all in their ranges: whatever
/// it says, nothing that uses it reads elsewhere or runs without an end.
class File {
public:
  /// Throws a Failure.
  explicit File(const std::string &path);
  File(std::unique_ptr<uint64_t[]> data, size_t size, std::string path);

  Kind kind;
  int32_t flags, tokens, rows, bos, eos, unknown;
  Span<int32_t> ends;
  Strings texts;
  Span<uint8_t> tokenFlags;
  Span<uint32_t> order;
  Span<int32_t> bytes;
  Span<uint64_t> mergeKeys;
  Span<uint32_t> mergeRanks, merged;
  Span<float> scores;
  Span<Step> normalizer, cuts, cutsBehind;
  Strings strings;
  Span<Added> added;
  Strings addedTexts;
  Span<uint32_t> programPlaces, setPlaces;
  Span<Instruction> instructions;
  Span<Range> ranges, wordCharacters;
  Span<Triple> decompositions, compositions;
  Span<Pair> combining;

  /// How a user's turn of a chat is written: what stands before it, up to a
  /// control token, and from there on; then what stands behind it. Whether
  /// white space at the ends of the user's text is taken away.
  bool hasChat = false, chatStrips = false;
  Strings chatTexts;

  bool has(TokenizerFlag flag) const { return flags & flag; }
  bool is(uint32_t token, TokenFlag flag) const {
    return tokenFlags[token] & flag;
  }

  /// The token that is written so, or -1.
  int32_t find(std::string_view text) const;
  /// The place of a merge of two tokens, or -1.
  int64_t findMerge(uint32_t left, uint32_t right) const;
  /// Where a text is, or would be, among the tokens in their order.
  size_t placeOf(std::string_view text) const;

  /// The bytes of a token's text.
  std::string piece(uint32_t token) const;

private:
  void read();
  void checkHeader();
  void readTokens();
  void readMerges();
  void readAdded();
  void readChat();
  void readSteps();
  void readCompositions();
  void checkRanges(Span<Range> set) const;
  void checkProgram(size_t begin, size_t end) const;
  void checkSteps(Span<Step> steps) const;

  /// The elements of a section. They are aligned: sections begin at multiples
  /// of eight bytes.
  template <typename T> Span<T> section(const char *name) const {
    std::string_view bytes = sectionBytes(name);
    require(bytes.size() % sizeof(T) == 0, "a section ends in an element");
    return {reinterpret_cast<const T *>(bytes.data()),
            bytes.size() / sizeof(T)};
  }
  bool findSection(const char *name, std::string_view &bytes) const;
  std::string_view sectionBytes(const char *name) const;
  Strings readStrings(const char *places, const char *bytes) const;
  void checkTokens(Span<uint32_t> ids, const char *name) const;
  [[noreturn]] void damaged(const std::string &what) const;
  void require(bool fine, const char *what) const;

  std::unique_ptr<uint64_t[]> data;
  size_t size;
  std::string path;
};

} // namespace mlir::lumen::tokenizer

#endif // LUMEN_RUNTIME_TOKENIZER_FILE_H

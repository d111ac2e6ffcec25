//===- tokenizer_fuzz.cpp - Made-up tokenizer files and texts -------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// Changes tokenizer files, gives them the right checksum, and encodes texts
// with those that are taken. Sanitizers say whether anything went wrong.
//
//   tokenizer-fuzz TIMES SEED FILE...
//
// With libFuzzer (-DLUMEN_LIBFUZZER -fsanitize=fuzzer), inputs are files.
//
//===----------------------------------------------------------------------===//

#include "runtime/Checksum.h"
#include "runtime/embed/Failure.h"
#include "runtime/tokenizer/Tokenizer.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

using namespace mlir::lumen;
using namespace mlir::lumen::tokenizer;

static constexpr size_t headerBytes = 32;

static const std::string texts[] = {
    "",
    "이 영화는 <|im_end|> don't 12345\n\n  x",
    " \t \r\n\n a  b   가나다 뷁\U0001F600 <s></s> <tool> e\u0301\u0323 <0x41>",
    std::string("\0\x01 \u2581\u2581 I'LL \u017f ABCdefGHI \u00bd\u0120", 30),
};

enum class Outcome { Taken, Refused };

/// Opens a file and uses it.
static Outcome attempt(const uint8_t *data, size_t size) {
  std::unique_ptr<uint64_t[]> copy(new uint64_t[size / 8 + 1]);
  auto *bytes = reinterpret_cast<uint8_t *>(copy.get());
  if (size)
    std::memcpy(bytes, data, size);
  if (size > headerBytes) {
    Checksum sum;
    sum.update(bytes + headerBytes, size - headerBytes);
    uint64_t value = sum.value(), length = size;
    std::memcpy(bytes + 16, &length, sizeof(length));
    std::memcpy(bytes + 24, &value, sizeof(value));
  }
  try {
    Tokenizer tokenizer(File(std::move(copy), size, "made up"));
    for (const std::string &text : texts) {
      for (int choice = 0; choice < 4; ++choice) {
        EncodeOptions options;
        options.special = choice & 1;
        options.begins = choice & 2;
        try {
          Decoder decoder(tokenizer, options.special, options.begins);
          for (int32_t token : tokenizer.encode(text, options))
            decoder.feed(token);
          decoder.finish();
          tokenizer.encodeTurn(text);
        } catch (const Failure &) {
          // Tokens that the file has not, or a pattern without an end.
        }
      }
    }
    return Outcome::Taken;
  } catch (const Failure &) {
    return Outcome::Refused;
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  attempt(data, size);
  return 0;
}

#ifndef LUMEN_LIBFUZZER

namespace {

struct Section {
  char name[4];
  uint32_t zero;
  uint64_t place, bytes;
};

using Random = std::mt19937_64;

} // namespace

static uint32_t interesting(Random &random, uint32_t before) {
  switch (random() % 8) {
  case 0:
    return 0;
  case 1:
    return UINT32_MAX;
  case 2:
    return 0x7FFFFFFF;
  case 3:
    return before + 1;
  case 4:
    return before - 1;
  case 5:
    return before ^ 1u << random() % 32;
  case 6:
    return uint32_t(random() % 16);
  default:
    return uint32_t(random());
  }
}

/// Changes a few numbers, most of them in small sections and early in large
/// ones, or cuts the file.
static void change(std::vector<uint8_t> &file, Random &random) {
  uint64_t count = 0;
  std::memcpy(&count, file.data() + headerBytes, sizeof(count));
  size_t begin = headerBytes + sizeof(count);
  for (size_t i = 1 + random() % 4; i--;) {
    Section section;
    std::memcpy(&section, file.data() + begin + random() % count * 24,
                sizeof(section));
    size_t place = section.place, bytes = section.bytes;
    if (random() % 8 == 0) {
      place = headerBytes;
      bytes = sizeof(count) + count * sizeof(Section);
    }
    if (bytes < sizeof(uint32_t))
      continue;
    size_t at = random() % bytes;
    if (random() % 2)
      at = std::min<size_t>(at, random() % 256);
    at = std::min(place + at / 4 * 4, file.size() - sizeof(uint32_t));
    uint32_t value;
    std::memcpy(&value, file.data() + at, sizeof(value));
    value = interesting(random, value);
    std::memcpy(file.data() + at, &value, sizeof(value));
  }
  if (random() % 32 == 0)
    file.resize(random() % file.size());
}

int main(int count, char **arguments) {
  if (count < 4) {
    std::fprintf(stderr, "usage: tokenizer-fuzz TIMES SEED FILE...\n");
    return 2;
  }
  long times = std::atol(arguments[1]);
  Random random(uint64_t(std::atoll(arguments[2])));
  std::vector<std::vector<uint8_t>> files;
  for (int i = 3; i < count; ++i) {
    std::ifstream stream(arguments[i], std::ios::binary);
    files.emplace_back(std::istreambuf_iterator<char>(stream),
                       std::istreambuf_iterator<char>());
    if (attempt(files.back().data(), files.back().size()) != Outcome::Taken) {
      std::fprintf(stderr, "%s: is refused as it is\n", arguments[i]);
      return 1;
    }
  }
  long taken = 0;
  for (long i = 0; i < times; ++i) {
    std::vector<uint8_t> file = files[random() % files.size()];
    change(file, random);
    taken += attempt(file.data(), file.size()) == Outcome::Taken;
  }
  std::printf("%ld files, %ld taken\n", times, taken);
}

#endif

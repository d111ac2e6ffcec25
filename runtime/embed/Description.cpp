//===- Description.cpp - What code and weights say of themselves ----------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/embed/Description.h"
#include "runtime/sampling/Sampler.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

using namespace mlir::lumen;

/// Counts up when the keys of descriptions change. Python has the same number
/// (lumen_mlir.aot.description).
static constexpr const char *kFormat = "1";

namespace {
/// Words of a line, taken from its beginning.
class Words {
public:
  Words(std::string line, const char *where)
      : line(std::move(line)), where(where) {}

  bool atEnd() const { return begin >= line.size(); }

  std::string next() {
    size_t end = line.find(' ', begin);
    if (end == std::string::npos)
      end = line.size();
    if (atEnd() || end == begin)
      refuse();
    std::string word = line.substr(begin, end - begin);
    begin = end + 1;
    return word;
  }

  /// Everything that is left, which may have spaces in it.
  std::string rest() {
    std::string text = atEnd() ? "" : line.substr(begin);
    begin = line.size();
    return text;
  }

  uint64_t number(uint64_t most = uint64_t(1) << 62) {
    return parse(next(), 10, most);
  }

  /// A float64, as 16 hexadecimal digits of its bits: there is no locale in it.
  double real() {
    uint64_t bits = parse(next(), 16, ~uint64_t(0));
    double value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }

  [[noreturn]] void refuse() const {
    fail(LUMEN_ERROR_DAMAGED, "%s: the line '%s' cannot be understood", where,
         shown(line).c_str());
  }

private:
  uint64_t parse(const std::string &word, int base, uint64_t most) {
    char *end = nullptr;
    errno = 0;
    unsigned long long value = std::strtoull(word.c_str(), &end, base);
    if (errno || *end || std::strchr("+-", word[0]) || value > most)
      refuse();
    return value;
  }

  std::string line;
  const char *where;
  size_t begin = 0;
};
} // namespace

/// Calls `read` with the key and the words of each line of a text whose first
/// line is the number of its format.
template <typename Read>
static void readLines(const std::string &text, const char *where, Read read) {
  size_t begin = 0;
  for (bool first = true; begin < text.size(); first = false) {
    size_t end = text.find('\n', begin);
    if (end == std::string::npos)
      end = text.size();
    Words words(text.substr(begin, end - begin), where);
    begin = end + 1;
    std::string key = words.next();
    if (first) {
      std::string format = words.next();
      if (key != "format" || format != kFormat)
        fail(LUMEN_ERROR_VERSION,
             "%s: format %s of another version of Lumen; this library reads "
             "format %s",
             where, shown(format).c_str(), kFormat);
      continue;
    }
    if (!read(key, words) || !words.atEnd())
      words.refuse();
  }
  if (text.empty())
    fail(LUMEN_ERROR_DAMAGED, "%s: there is no description", where);
}

static StepArgument readArgument(Words &words) {
  using Kind = StepArgument::Kind;
  StepArgument argument{Kind::tokens, "", 0, 1, 0, 0};
  std::string kind = words.next();
  if (kind == "tokens") {
    argument.kind = Kind::tokens;
  } else if (kind == "positions") {
    argument.kind = Kind::positions;
  } else if (kind == "rows") {
    argument.kind = Kind::rows;
  } else if (kind == "runs") {
    argument.kind = Kind::runs;
  } else if (kind == "places" || kind == "pages") {
    argument.kind = kind == "places" ? Kind::places : Kind::pages;
    argument.window = words.number();
  } else if (kind == "logits") {
    argument.kind = Kind::logits;
  } else if (kind == "rope") {
    argument.kind = Kind::rope;
    argument.dimensions = words.number(1 << 20);
  } else if (kind == "cache") {
    argument.kind = Kind::cache;
    argument.window = words.number();
    argument.bytes = words.number(uint64_t(1) << 40);
  } else if (kind == "weight") {
    argument.kind = Kind::weight;
    argument.bytes = words.number();
    argument.alignment = words.number(4096);
    argument.name = words.rest();
  } else {
    words.refuse();
  }
  return argument;
}

CodeDescription CodeDescription::read(const char *text) {
  CodeDescription code;
  const char *where = "the model's code";
  auto readLine = [&](const std::string &key, Words &words) {
    if (key == "version")
      code.version = words.next();
    else if (key == "architecture")
      code.architecture = words.next();
    else if (key == "target")
      code.target = words.next();
    else if (key == "id")
      code.id = words.next();
    else if (key == "needs")
      code.needs.push_back(words.next());
    else if (key == "abi")
      code.abi = words.number(INT32_MAX);
    else if (key == "vocabulary")
      code.vocabulary = words.number(INT32_MAX);
    else if (key == "context")
      code.context = words.number(INT32_MAX);
    else if (key == "chunk")
      code.chunk = words.number(INT32_MAX);
    else if (key == "argument")
      code.arguments.push_back(readArgument(words));
    else
      return false;
    return true;
  };
  readLines(text ? text : "", where, readLine);
  if (!code.vocabulary || !code.context || !code.chunk || code.id.empty())
    fail(LUMEN_ERROR_DAMAGED, "%s does not say what it is", where);
  return code;
}

WeightDescription WeightDescription::read(const std::string &text,
                                          const std::string &path) {
  WeightDescription weights{};
  weights.sampling = getDefaultSampling();
  auto readLine = [&](const std::string &key, Words &words) {
    if (key == "version") {
      weights.version = words.next();
    } else if (key == "architecture") {
      weights.architecture = words.next();
    } else if (key == "target") {
      weights.target = words.next();
    } else if (key == "code") {
      weights.code = words.next();
    } else if (key == "model") {
      weights.model = words.rest();
    } else if (key == "sampling") {
      lumen_sampling &sampling = weights.sampling;
      sampling.temperature = words.real();
      sampling.top_k = int(words.number(INT32_MAX));
      sampling.top_p = words.real();
      sampling.min_p = words.real();
      sampling.repeat_penalty = words.real();
    } else if (key == "rope") {
      RopeFrequencies rope;
      rope.dimensions = words.number(1 << 20);
      rope.magnitude = words.real();
      rope.offset = words.number();
      rope.threshold = words.number();
      rope.longOffset = words.number();
      weights.ropes.push_back(rope);
    } else if (key == "weight") {
      WeightPlace place;
      place.offset = words.number();
      place.bytes = words.number();
      place.name = words.rest();
      weights.weights.push_back(place);
    } else {
      return false;
    }
    return true;
  };
  readLines(text, path.c_str(), readLine);
  return weights;
}

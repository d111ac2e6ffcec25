//===- Options.cpp - What the command line asks for -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "Options.h"
#include "Streams.h"

#include <cerrno>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <getopt.h>
#include <memory>
#include <unistd.h>

using namespace lumen::run;

namespace {

// Options without a letter.
enum Long {
  Temperature = 256,
  Chat,
  TopK,
  TopP,
  MinP,
  RepeatPenalty,
  TypicalP,
  PresencePenalty,
  FrequencyPenalty,
  IgnoreEnds,
  Stop,
  Echo,
  SpecialTokens,
  Version
};

const option names[] = {
    {"prompt", required_argument, nullptr, 'p'},
    {"file", required_argument, nullptr, 'f'},
    {"chat", no_argument, nullptr, Chat},
    {"escape", no_argument, nullptr, 'e'},
    {"max-tokens", required_argument, nullptr, 'n'},
    {"echo", no_argument, nullptr, Echo},
    {"special", no_argument, nullptr, SpecialTokens},
    {"temp", required_argument, nullptr, Temperature},
    {"temperature", required_argument, nullptr, Temperature},
    {"top-k", required_argument, nullptr, TopK},
    {"top-p", required_argument, nullptr, TopP},
    {"min-p", required_argument, nullptr, MinP},
    {"repeat-penalty", required_argument, nullptr, RepeatPenalty},
    {"typical-p", required_argument, nullptr, TypicalP},
    {"presence-penalty", required_argument, nullptr, PresencePenalty},
    {"frequency-penalty", required_argument, nullptr, FrequencyPenalty},
    {"seed", required_argument, nullptr, 's'},
    {"ignore-eos", no_argument, nullptr, IgnoreEnds},
    {"stop", required_argument, nullptr, Stop},
    {"threads", required_argument, nullptr, 't'},
    {"context", required_argument, nullptr, 'c'},
    {"quiet", no_argument, nullptr, 'q'},
    {"version", no_argument, nullptr, Version},
    {"help", no_argument, nullptr, 'h'},
    {nullptr, 0, nullptr, 0}};

// No text is longer, so that an endless file ends.
constexpr size_t mostBytes = size_t(1) << 30;

// Each piece of text is compared with all of them.
constexpr size_t mostStops = 1024;

} // namespace

/// The name of an option as people write it.
static std::string nameOf(int key) {
  for (const option *each = names; each->name; ++each)
    if (each->val == key)
      return std::string("--") + each->name;
  return "an option";
}

static int64_t wholeNumber(int key, int64_t least, int64_t most) {
  char *end;
  errno = 0;
  long long value = std::strtoll(optarg, &end, 10);
  if (end == optarg || *end || errno == ERANGE || value < least || value > most)
    throw UsageError{nameOf(key) + " is '" + optarg +
                     "'; a whole number from " + std::to_string(least) +
                     " to " + std::to_string(most) + " was expected"};
  return value;
}

static double number(int key) {
  char *end;
  double value = std::strtod(optarg, &end);
  if (end == optarg || *end || !std::isfinite(value))
    throw UsageError{nameOf(key) + " is '" + optarg +
                     "'; a number was expected"};
  return value;
}

/// Whether a text consists of whole characters of UTF-8, as generated text
/// does.
static bool isWhole(std::string_view text) {
  int missing = 0;
  for (char each : text) {
    auto byte = static_cast<unsigned char>(each);
    bool inside = (byte & 0xC0) == 0x80;
    if (inside != (missing > 0))
      return false;
    if (inside)
      --missing;
    else
      missing = byte < 0x80 ? 0 : byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
  }
  return missing == 0;
}

static void addStop(std::vector<std::string> &stops, const char *text) {
  if (!*text)
    throw Failure{"a stop string is empty"};
  if (!isWhole(text))
    throw Failure{"a stop string is not valid UTF-8"};
  if (stops.size() == mostStops)
    throw Failure{"there are more than " + std::to_string(mostStops) +
                  " stop strings"};
  stops.emplace_back(text);
}

Options Options::parse(int count, char **arguments) {
  Options found;
  opterr = 0;
  optind = 1;
  while (true) {
    int key = getopt_long(count, arguments, ":p:f:en:s:t:c:qh", names, nullptr);
    if (key == -1)
      break;
    switch (key) {
    case 'p':
      found.prompt = optarg;
      break;
    case 'f':
      found.file = optarg;
      break;
    case Chat:
      found.chat = true;
      break;
    case 'e':
      found.escape = true;
      break;
    case 'n':
      found.maxTokens = long(wholeNumber(key, -1, INT32_MAX));
      break;
    case Echo:
      found.echo = true;
      break;
    case SpecialTokens:
      found.special = true;
      break;
    case Temperature:
      found.temperature = number(key);
      break;
    case TopK:
      // As many as there are, where that is more.
      found.topK = int(std::max<int64_t>(wholeNumber(key, -1, INT32_MAX), 0));
      break;
    case TopP:
      found.topP = number(key);
      break;
    case MinP:
      found.minP = number(key);
      break;
    case RepeatPenalty:
      found.repeatPenalty = number(key);
      break;
    case TypicalP:
      found.typicalP = number(key);
      break;
    case PresencePenalty:
      found.presencePenalty = number(key);
      break;
    case FrequencyPenalty:
      found.frequencyPenalty = number(key);
      break;
    case 's':
      found.seed = wholeNumber(key, -1, INT64_MAX);
      break;
    case IgnoreEnds:
      found.ignoreEnds = true;
      break;
    case Stop:
      addStop(found.stops, optarg);
      break;
    case 't':
      found.threads = int(wholeNumber(key, 1, 1024));
      break;
    case 'c':
      found.context = int(wholeNumber(key, 0, INT32_MAX));
      break;
    case 'q':
      found.quiet = true;
      break;
    case Version:
      found.version = true;
      break;
    case 'h':
      found.help = true;
      break;
    case ':':
      throw UsageError{nameOf(optopt) + " needs a value"};
    default:
      throw UsageError{std::string("there is no option '") +
                       arguments[optind - 1] + "'"};
    }
  }
  if (found.help || found.version)
    return found;
  if (optind == count)
    throw UsageError{"the folder of a bundle is missing"};
  if (optind + 1 < count)
    throw UsageError{std::string("'") + arguments[optind + 1] +
                     "' is one argument too many"};
  if (found.prompt && found.file)
    throw UsageError{"-p and -f exclude each other"};
  found.bundle = arguments[optind];
  if (found.threads == 0)
    if (const char *given = std::getenv("LUMEN_THREADS"); given && *given) {
      char *end;
      long value = std::strtol(given, &end, 10);
      if (*end || value < 1 || value > 1024)
        throw UsageError{std::string("LUMEN_THREADS is '") + given +
                         "'; a number from 1 to 1024 was expected"};
      found.threads = int(value);
    }
  return found;
}

std::string Options::helpText() {
  return R"(Usage: lumen-run BUNDLE [OPTIONS]

  Continue a text with the model of BUNDLE, a folder that
  'lumen compile MODEL --bundle BUNDLE' has written. The text goes to stdout as
  it comes, everything else to stderr.

    lumen-run bundle -p "Once upon a time" -n 100
    lumen-run bundle --chat -p "Why is the sky blue?"
    lumen-run bundle -f story.txt --temp 0
    echo "Once upon a time" | lumen-run bundle -q

Options:
  -p, --prompt TEXT       The text.  [default: what stdin has]
  -f, --file FILE         A file with the text (UTF-8).
  --chat                  The text is a message, and the model answers.
  -e, --escape            Read \n, \t, \" and \\ in the text as a newline, ...
  -n, --max-tokens N      Most tokens to generate (-1: any).  [default: 256]
  --echo                  Print the prompt too.
  --special               Print control tokens too, such as <|im_start|>.
  --temp X                0: greedy.  [default: the model's own, or 0.8]
  --top-k K               Draw from the K likeliest tokens (0 or -1: all).
                          [default: the model's own, or 40]
  --top-p P               ... from the likeliest that have this share of the
                          probability together.
                          [default: the model's own, or 0.95]
  --min-p P               ... from those at least this likely, relative to the
                          likeliest.  [default: the model's own, or 0.05]
  --repeat-penalty X      Makes the last 64 tokens less likely (1: does not).
                          [default: the model's own, or 1]
  --typical-p P           Draw from those about as likely as is expected of a
                          token, with this share of the probability together.
                          [default: 1]
  --presence-penalty X    Makes tokens that were written before less likely (-2
                          to 2; 0: does not).  [default: 0]
  --frequency-penalty X   ... for each time that they were.  [default: 0]
  -s, --seed N            The same seed draws the same text (-1: any).
                          [default: any]
  --ignore-eos            Go on where the model would end the text.
  --stop TEXT             End before this text (may be repeated).
  -t, --threads N         Threads.  [default: LUMEN_THREADS or physical cores]
  -c, --context N         Tokens of context (0: the model's own, at most 32768).
  -q, --quiet             Nothing on stderr but errors.
  --version               Show the version.
  -h, --help              Show this text.

Ctrl-C ends the text; a second one ends the program at once.
)";
}

lumen_sampling Options::sampling(const lumen_sampling &own) const {
  lumen_sampling chosen = own;
  chosen.temperature = temperature.value_or(own.temperature);
  chosen.top_k = topK.value_or(own.top_k);
  chosen.top_p = topP.value_or(own.top_p);
  chosen.min_p = minP.value_or(own.min_p);
  chosen.repeat_penalty = repeatPenalty.value_or(own.repeat_penalty);
  chosen.typical_p = typicalP.value_or(own.typical_p);
  chosen.presence_penalty = presencePenalty.value_or(own.presence_penalty);
  chosen.frequency_penalty = frequencyPenalty.value_or(own.frequency_penalty);
  chosen.seed = seed.value_or(-1);
  return chosen;
}

std::string Options::ownSampling(const lumen_sampling &own) const {
  lumen_sampling usual = lumen_default_sampling(nullptr);
  std::string text;
  auto add = [&](const char *name, bool given, double value, double other) {
    if (given || value == other)
      return;
    char number[64];
    std::snprintf(number, sizeof(number), "%s %.4g", name, value);
    text += (text.empty() ? "" : ", ") + std::string(number);
  };
  add("temperature", temperature.has_value(), own.temperature,
      usual.temperature);
  add("top-k", topK.has_value(), own.top_k, usual.top_k);
  add("top-p", topP.has_value(), own.top_p, usual.top_p);
  add("min-p", minP.has_value(), own.min_p, usual.min_p);
  add("repeat-penalty", repeatPenalty.has_value(), own.repeat_penalty,
      usual.repeat_penalty);
  return text;
}

static std::string readAll(std::FILE *file, const std::string &name) {
  std::string text;
  char buffer[1 << 16];
  while (size_t count = std::fread(buffer, 1, sizeof(buffer), file)) {
    text.append(buffer, count);
    if (text.size() > mostBytes)
      throw Failure{name + ": has more than 1 GiB of text"};
  }
  if (std::ferror(file))
    throw Failure{name + ": cannot be read: " + std::strerror(errno)};
  return text;
}

/// What stands for other characters behind a backslash.
static std::string unescaped(const std::string &text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const char *found = nullptr;
    constexpr char marks[] = "ntr\\\"'", meant[] = "\n\t\r\\\"'";
    if (text[i] == '\\' && i + 1 < text.size() && text[i + 1])
      found = std::strchr(marks, text[i + 1]);
    result += found ? meant[found - marks] : text[i];
    i += found != nullptr;
  }
  return result;
}

std::string Options::text() const {
  std::string found;
  if (prompt) {
    found = *prompt;
  } else if (file && *file != "-") {
    std::unique_ptr<std::FILE, int (*)(std::FILE *)> opened(
        std::fopen(file->c_str(), "rb"), std::fclose);
    if (!opened)
      throw Failure{*file + ": cannot be opened: " + std::strerror(errno)};
    found = readAll(opened.get(), *file);
  } else if (file || !isatty(STDIN_FILENO)) {
    found = readAll(stdin, "standard input");
  }
  if (!prompt) {
    // Some editors begin a text with a mark that is no part of it, and files
    // end in a newline that is not part of what they say.
    if (found.compare(0, 3, "\xEF\xBB\xBF") == 0)
      found.erase(0, 3);
    for (char last : {'\n', '\r'})
      if (!found.empty() && found.back() == last)
        found.pop_back();
  }
  return escape ? unescaped(found) : found;
}

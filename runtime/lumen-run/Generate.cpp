//===- Generate.cpp - From a prompt to text -------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "Generate.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <cstring>

using namespace lumen::run;

volatile std::sig_atomic_t lumen::run::interrupted = 0;

// Tokens of a prompt that are computed at once, so that Ctrl-C is heard.
static constexpr size_t chunk = 512;

static double now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

/// Calls a function whose last arguments are for its error.
template <typename Function, typename... Arguments>
static void check(Function function, Arguments... arguments) {
  char error[LUMEN_ERROR_SIZE];
  if (int status = function(arguments..., error, sizeof(error)))
    throw Failure{error[0] ? error : lumen_status_text(status)};
}

Generator::Generator(const Options &options, Statistics &statistics)
    : options(options), statistics(statistics) {
  double start = now();
  lumen_options opening = {};
  opening.threads = options.threads;
  opening.context = options.context;
  lumen_model *opened = nullptr;
  check(lumen_open, options.bundle.c_str(), &opening, &opened);
  model.reset(opened);
  std::string path = options.bundle + "/tokenizer.bin";
  lumen_tokenizer *read = nullptr;
  check(lumen_tokenizer_open, path.c_str(), &read);
  tokenizer.reset(read);
  if (lumen_tokenizer_size(read) > lumen_vocabulary(opened) &&
      lumen_tokenizer_bos(read) >= lumen_vocabulary(opened))
    throw Failure{path + ": is the tokenizer of another model"};
  logits.resize(size_t(lumen_vocabulary(opened)));
  lumen_sampling own = lumen_default_sampling(opened);
  lumen_sampling chosen = options.sampling(own);
  lumen_sampler *made = nullptr;
  check(lumen_sampler_new, &chosen, &made);
  sampler.reset(made);
  std::string text = options.ownSampling(own);
  statistics.loadSeconds = now() - start;
  if (!text.empty() && !options.quiet)
    tell("sampling: " + text + " (the model's own)");
}

std::vector<int32_t> Generator::promptIds(const std::string &text) const {
  std::vector<int32_t> ids(text.size() + 64);
  size_t count = 0;
  auto encode = [&] {
    if (options.chat)
      check(lumen_tokenizer_encode_chat, tokenizer.get(), text.data(),
            text.size(), ids.data(), ids.size(), &count);
    else // A text that goes on has no end.
      check(lumen_tokenizer_encode, tokenizer.get(), text.data(), text.size(),
            int(LUMEN_NO_EOS), ids.data(), ids.size(), &count);
  };
  encode();
  if (count > ids.size()) {
    ids.resize(count);
    encode();
  }
  ids.resize(count);
  int bos = lumen_tokenizer_bos(tokenizer.get());
  if (ids.empty() && bos >= 0)
    ids.push_back(bos);
  if (ids.empty())
    throw Failure{"the prompt is empty: there is nothing to continue"};
  size_t context = size_t(lumen_context(model.get()));
  if (ids.size() > context)
    throw Failure{"the prompt is " + std::to_string(ids.size()) +
                  " tokens long, but the context is " +
                  std::to_string(context) + " tokens"};
  return ids;
}

void Generator::compute(const int32_t *tokens, size_t count) {
  for (size_t done = 0; done < count && !interrupted;) {
    size_t now = std::min(chunk, count - done);
    bool last = done + now == count;
    check(lumen_step, model.get(), tokens + done, int(now),
          last ? logits.data() : nullptr);
    done += now;
  }
}

int32_t Generator::draw() {
  if (options.ignoreEnds)
    for (size_t token = 0; token < logits.size(); ++token)
      if (lumen_tokenizer_ends(tokenizer.get(), int32_t(token)))
        logits[token] = -INFINITY;
  int32_t token;
  check(lumen_sampler_sample, sampler.get(), logits.data(), int(logits.size()),
        &token);
  return token;
}

/// The text that a token completes.
std::string Generator::read(lumen_decoder *decoder, int32_t token) const {
  const char *piece;
  size_t bytes;
  check(lumen_decoder_feed, decoder, token, &piece, &bytes);
  return {piece, bytes};
}

/// What stop strings find in a token that is not shown: a control token, or one
/// that ends the text.
std::string Generator::hiddenText(int32_t token, bool ends) const {
  auto whole = [&](int flags) {
    lumen_decoder *made = nullptr;
    check(lumen_decoder_new, tokenizer.get(), flags, &made);
    Owned<lumen_decoder> decoder(made);
    std::string text = read(made, token);
    const char *rest;
    size_t bytes;
    check(lumen_decoder_finish, made, &rest, &bytes);
    return text.append(rest, bytes);
  };
  bool hidden = ends || (!options.special && whole(0).empty());
  return hidden ? whole(int(LUMEN_SPECIAL)) : std::string();
}

void Generator::run(Output &output) {
  std::string text = options.text();
  std::vector<int32_t> ids = promptIds(text);
  if (options.echo)
    output.write(text);
  lumen_decoder *made = nullptr;
  check(lumen_decoder_new, tokenizer.get(),
        options.special ? int(LUMEN_SPECIAL) : 0, &made);
  Owned<lumen_decoder> decoder(made);
  StopFilter filter(options.stops);
  auto feedHidden = [&](int32_t token, bool ends) {
    if (!filter.empty())
      output.write(filter.feed(hiddenText(token, ends), true));
  };
  check(lumen_sampler_accept, sampler.get(), ids.data(), int(ids.size()));
  statistics.prompt = ids.size();
  const size_t context = size_t(lumen_context(model.get()));
  statistics.context = context;
  size_t position = 0,
         limit = options.maxTokens < 0 ? SIZE_MAX : size_t(options.maxTokens);
  while (statistics.tokens < limit && !interrupted && !filter.found()) {
    if (ids.size() > context) {
      statistics.contextFull = true;
      break;
    }
    double start = now();
    compute(ids.data() + position, ids.size() - position);
    if (interrupted)
      break;
    bool first = position == 0;
    position = ids.size();
    int32_t token = draw();
    (first ? statistics.promptSeconds : statistics.decodeSeconds) +=
        now() - start;
    statistics.decoded += !first;
    if (!options.ignoreEnds && lumen_tokenizer_ends(tokenizer.get(), token)) {
      feedHidden(token, true);
      break;
    }
    ids.push_back(token);
    ++statistics.tokens;
    output.write(filter.feed(read(made, token)));
    feedHidden(token, false);
  }
  output.write(filter.finish());
  // A character that never became whole is left out.
  output.endLine();
}

/// Most bytes that were resident so far.
static double peakMemory() {
  double bytes = 0;
  if (std::FILE *file = std::fopen("/proc/self/status", "r")) {
    char line[256];
    while (std::fgets(line, sizeof(line), file))
      if (std::strncmp(line, "VmHWM:", 6) == 0)
        bytes = std::strtod(line + 6, nullptr) * 1024;
    std::fclose(file);
  }
  return bytes;
}

/// A number with commas between thousands.
static std::string grouped(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  std::string result = text;
  size_t end = result.find('.');
  if (end == std::string::npos)
    end = result.size();
  for (; end > 3; end -= 3)
    result.insert(end - 3, ",");
  return result;
}

/// "48 tokens at 812/s": the rate of those that were measured.
static std::string rated(const std::string &what, size_t count,
                         double seconds) {
  if (!count || seconds <= 0)
    return what;
  double rate = double(count) / seconds;
  return what + " at " + grouped(rate, rate >= 100 ? 0 : 1) + "/s";
}

std::string Statistics::text() const {
  std::string said =
      grouped(double(tokens), 0) + (tokens == 1 ? " token" : " tokens");
  char load[64];
  std::snprintf(load, sizeof(load), "loaded in %.2f s", loadSeconds);
  double memory = peakMemory();
  return rated(said, decoded, decodeSeconds) + ", " +
         rated("prompt " + grouped(double(prompt), 0), prompt, promptSeconds) +
         ", " + load + ", " +
         (memory < 1e10 ? grouped(memory / 1e6, 0) + " MB"
                        : grouped(memory / 1e9, 1) + " GB");
}

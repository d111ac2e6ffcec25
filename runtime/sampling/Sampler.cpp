//===- Sampler.cpp - Choosing the next token ------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/sampling/Sampler.h"
#include "runtime/sampling/Random.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

// GCC is told by its command line.
#ifdef __clang__
#pragma clang fp contract(off)
#endif

using namespace mlir::lumen;

static constexpr int kMostRecent = 1 << 20;
/// Groups of logits that likely tokens are in, as a rule.
static constexpr size_t kFewGroups = 64;
/// Groups that are asked for because logits are changed.
static constexpr size_t kMostChanges = 128;

lumen_sampling mlir::lumen::getDefaultSampling() {
  lumen_sampling sampling = {};
  sampling.temperature = 0.8;
  sampling.top_k = 40;
  sampling.typical_p = 1;
  sampling.top_p = 0.95;
  sampling.min_p = 0.05;
  sampling.repeat_penalty = 1;
  sampling.repeat_last = 64;
  sampling.seed = -1;
  return sampling;
}

static void checkNumber(const char *name, double value, double least,
                        double most, bool leastIncluded = true) {
  if (std::isfinite(value) && value <= most && value >= least &&
      (leastIncluded || value != least))
    return;
  const char *bound = leastIncluded ? "at least" : "more than";
  if (most == INFINITY)
    fail(LUMEN_ERROR_ARGUMENT, "%s is %g; expected a number %s %g", name, value,
         bound, least);
  fail(LUMEN_ERROR_ARGUMENT, "%s is %g; expected a number %s %g and at most %g",
       name, value, bound, least, most);
}

static void checkWhole(const char *name, int64_t value, int64_t least) {
  if (value < least)
    fail(LUMEN_ERROR_ARGUMENT, "%s is %lld; at least %lld was expected", name,
         static_cast<long long>(value), static_cast<long long>(least));
}

static const lumen_sampling &check(const lumen_sampling &sampling) {
  checkNumber("temperature", sampling.temperature, 0, INFINITY);
  checkWhole("top_k", sampling.top_k, -1);
  checkNumber("typical_p", sampling.typical_p, 0, 1);
  checkNumber("top_p", sampling.top_p, 0, 1);
  checkNumber("min_p", sampling.min_p, 0, 1);
  checkNumber("repeat_penalty", sampling.repeat_penalty, 0, INFINITY,
              /*leastIncluded=*/false);
  checkWhole("repeat_last", sampling.repeat_last, 0);
  checkNumber("presence_penalty", sampling.presence_penalty, -2, 2);
  checkNumber("frequency_penalty", sampling.frequency_penalty, -2, 2);
  checkWhole("seed", sampling.seed, -1);
  return sampling;
}

Sampler::Sampler(const lumen_sampling &sampling)
    : sampling(check(sampling)),
      seed(sampling.seed < 0 ? makeSeed() : uint64_t(sampling.seed)) {
  this->sampling.repeat_last = std::min(sampling.repeat_last, kMostRecent);
}

void Sampler::setBias(int32_t token, float bias) {
  checkNumber("logit_bias", bias, -100, 100);
  for (auto &[known, value] : biases)
    if (known == token) {
      value = bias;
      return;
    }
  biases.emplace_back(token, bias);
}

void Sampler::accept(const int32_t *tokens, int count, bool written) {
  if (count < 0 || (count && !tokens))
    fail(LUMEN_ERROR_ARGUMENT, "%d tokens cannot be accepted", count);
  if (written && (sampling.presence_penalty || sampling.frequency_penalty))
    for (int i = 0; i < count; ++i)
      ++writtenCounts[tokens[i]];
  if (sampling.repeat_penalty == 1)
    return;
  const int most = sampling.repeat_last;
  for (int i = std::max(count - most, 0); i < count; ++i) {
    recent.push_back(tokens[i]);
    ++recentCounts[tokens[i]];
  }
  for (; recent.size() > size_t(most); recent.pop_front())
    if (auto oldest = recentCounts.find(recent.front()); !--oldest->second)
      recentCounts.erase(oldest);
}

template <typename Visit> void Sampler::visitChanges(Visit visit) const {
  for (auto [token, bias] : biases)
    visit(token, [bias = bias](float &value) { value += bias; });
  const float repeat = float(
      std::clamp(sampling.repeat_penalty, double(FLT_MIN), double(FLT_MAX)));
  for (auto [token, times] : recentCounts)
    visit(token, [repeat](float &value) {
      value = value > 0 ? value / repeat : value * repeat;
    });
  const float presence = float(sampling.presence_penalty);
  const float frequency = float(sampling.frequency_penalty);
  for (auto [token, times] : writtenCounts)
    visit(token, [penalty = float(times) * frequency + presence](float &value) {
      value -= penalty;
    });
}

int32_t Sampler::sample(const float *logits, int count, AllowedTokens allowed) {
  if (!logits || count < 1)
    fail(LUMEN_ERROR_ARGUMENT, "there are no logits to draw from");
  static thread_local Scratch scratch;
  logits = edit(logits, count, allowed, scratch);
  Candidates candidates(logits, count, scratch);
  int32_t token = candidates.findBest();
  if (!std::isfinite(logits[token]))
    fail(LUMEN_ERROR_LOGITS, "logit %d is %g; no token can be drawn", token,
         double(logits[token]));
  if (sampling.temperature > 0) {
    if (sampling.top_k > 0)
      candidates.keepLargest(sampling.top_k);
    token = draw(candidates);
  }
  accept(&token, 1, /*written=*/true);
  ++number;
  return token;
}

int32_t Sampler::draw(Candidates &candidates) const {
  if (sampling.typical_p < 1)
    candidates.keepTypical(sampling.typical_p);
  if (sampling.top_p < 1)
    candidates.keepNucleus(sampling.top_p);
  return candidates.draw(sampling.min_p, sampling.temperature,
                         getRandom(seed, number));
}

/// Only the likeliest, in relation to the likeliest of all, are drawn.
static bool hasMinPOnly(const lumen_sampling &sampling) {
  return sampling.min_p > 0 && sampling.top_p == 1 && sampling.typical_p == 1;
}

size_t Sampler::countWanted() const {
  size_t tokens = 1;
  if (sampling.temperature > 0) {
    if (sampling.top_k < 1 && !hasMinPOnly(sampling))
      return 0;
    tokens = sampling.top_k > 0 ? sampling.top_k : kFewGroups;
  }
  // Each change can make one of the largest smaller. Of many, few do.
  size_t changes = biases.size() + recentCounts.size() + writtenCounts.size();
  return tokens + std::min(changes, kMostChanges);
}

std::optional<int32_t> Sampler::findLargest(const LogitGroups &groups,
                                            const int32_t *banned,
                                            size_t bannedCount,
                                            AllowedTokens allowed) const {
  if (!countWanted() || !groups.count)
    return std::nullopt;
  static thread_local Scratch scratch;
  LargestLogits logits(groups, scratch);
  for (size_t i = 0; i < bannedCount; ++i)
    if (float *logit = logits.find(banned[i]))
      *logit = -INFINITY;
  visitChanges([&](int32_t token, auto change) {
    if (token >= 0 && size_t(token) < groups.vocabulary)
      change(logits.getOrBound(token));
  });
  if (allowed.words)
    logits.keepAllowed(
        [allowed](int32_t token) { return allowed.contains(token); });
  Candidates candidates = logits.getCandidates();
  if (candidates.containsNaN() || !std::isfinite(candidates.getLargest()))
    return std::nullopt;
  if (sampling.temperature == 0) {
    int32_t token = candidates.findBest();
    if (!logits.isAmongLargest(candidates.getLargest(), token))
      return std::nullopt;
    return token;
  }
  if (sampling.top_k > 0) {
    if (size_t(sampling.top_k) > logits.size() && !logits.hasAll())
      return std::nullopt;
    candidates.keepLargest(sampling.top_k);
    auto [value, token] = candidates.findWorst();
    if (!logits.isAmongLargest(value, token))
      return std::nullopt;
  } else if (!logits.hasAllFrom(candidates.getLeast(sampling.min_p))) {
    return std::nullopt;
  }
  return draw(candidates);
}

const float *Sampler::edit(const float *logits, int count,
                           AllowedTokens allowed, Scratch &scratch) const {
  if (!changesLogits() && !allowed.words)
    return logits;
  std::vector<float> &edited = scratch.logits;
  edited.assign(logits, logits + count);
  visitChanges([&edited, count](int32_t token, auto change) {
    if (token >= 0 && token < count)
      change(edited[token]);
  });
  if (allowed.words)
    for (int token = 0; token < count; ++token)
      if (!allowed.contains(token))
        edited[token] = -INFINITY;
  return edited.data();
}

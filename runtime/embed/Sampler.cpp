//===- Sampler.cpp - Choosing the next token ------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/embed/Sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

using namespace mlir::lumen;

/// Tokens of which the nucleus of top-p is looked for at first.
static constexpr size_t kFirstCandidates = 1024;
static constexpr int kMostRecent = 1 << 20;

lumen_sampling mlir::lumen::getDefaultSampling() {
  return {0.8, 40, 0.95, 0.05, 1.0, 64, -1};
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
  checkNumber("top_p", sampling.top_p, 0, 1);
  checkNumber("min_p", sampling.min_p, 0, 1);
  checkNumber("repeat_penalty", sampling.repeat_penalty, 0, INFINITY,
              /*leastIncluded=*/false);
  checkWhole("repeat_last", sampling.repeat_last, 0);
  checkWhole("seed", sampling.seed, -1);
  return sampling;
}

Sampler::Sampler(const lumen_sampling &sampling)
    : sampling(check(sampling)),
      random(sampling.seed < 0 ? makeSeed() : uint64_t(sampling.seed)) {}

void Sampler::accept(const int32_t *tokens, int count) {
  if (count < 0 || (count && !tokens))
    fail(LUMEN_ERROR_ARGUMENT, "%d tokens cannot be accepted", count);
  size_t most = std::min(sampling.repeat_last, kMostRecent);
  recent.insert(recent.end(), tokens, tokens + count);
  while (recent.size() > most)
    recent.pop_front();
}

int32_t Sampler::sample(const float *logits, int count) {
  if (!logits || count < 1)
    fail(LUMEN_ERROR_ARGUMENT, "there are no logits to draw from");
  logits = penalize(logits, count);
  // The first of equals; what is no number counts as the largest.
  int best = 0;
  for (int i = 0; i < count && !std::isnan(logits[best]); ++i)
    if (logits[i] > logits[best] || std::isnan(logits[i]))
      best = i;
  if (!std::isfinite(logits[best]))
    fail(LUMEN_ERROR_LOGITS, "logit %d is %g; no token can be drawn", best,
         double(logits[best]));
  int32_t token = sampling.temperature == 0 ? best : draw(logits, count);
  accept(&token, 1);
  return token;
}

const float *Sampler::penalize(const float *logits, int count) {
  if (sampling.repeat_penalty == 1 || recent.empty())
    return logits;
  penalized.assign(logits, logits + count);
  const float penalty = float(sampling.repeat_penalty);
  for (int32_t token : std::set<int32_t>(recent.begin(), recent.end())) {
    if (token < 0 || token >= count)
      continue;
    float &value = penalized[token];
    value = value > 0 ? value / penalty : value * penalty;
  }
  return penalized.data();
}

int32_t Sampler::draw(const float *logits, int count) {
  std::vector<int32_t> tokens = findCandidates(logits, count);
  double largest = -INFINITY;
  for (int32_t token : tokens)
    largest = std::max(largest, double(logits[token]));
  if (sampling.min_p > 0) {
    double bound = largest + std::log(sampling.min_p);
    auto unlikely = [&](int32_t token) { return !(logits[token] >= bound); };
    tokens.erase(std::remove_if(tokens.begin(), tokens.end(), unlikely),
                 tokens.end());
  }
  std::vector<double> sums;
  double sum = 0;
  for (int32_t token : tokens) {
    sum += std::exp((logits[token] - largest) / sampling.temperature);
    sums.push_back(sum);
  }
  double place = random.next() * sum;
  size_t number =
      std::upper_bound(sums.begin(), sums.end(), place) - sums.begin();
  return tokens[std::min(number, tokens.size() - 1)];
}

/// The `most` tokens of largest logits, largest first, equals by id.
static std::vector<int32_t> findLargest(const float *logits, int count,
                                        size_t most) {
  std::vector<int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), 0);
  auto isLarger = [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  most = std::min<size_t>(most, count);
  std::nth_element(tokens.begin(), tokens.begin() + (most - 1), tokens.end(),
                   isLarger);
  tokens.resize(most);
  std::sort(tokens.begin(), tokens.end(), isLarger);
  return tokens;
}

/// In NumPy's order: eight sums side by side up to 128 numbers, halves of more.
static double addPairwise(const double *values, size_t count) {
  if (count < 8)
    return std::accumulate(values, values + count, -0.0);
  if (count > 128) {
    size_t half = count / 2 / 8 * 8;
    return addPairwise(values, half) + addPairwise(values + half, count - half);
  }
  double sums[8];
  std::copy_n(values, 8, sums);
  size_t i = 8;
  for (; i < count / 8 * 8; i += 8)
    for (size_t lane = 0; lane < 8; ++lane)
      sums[lane] += values[i + lane];
  double sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
               ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  return std::accumulate(values + i, values + count, sum);
}

static std::vector<double> getWeights(const float *logits,
                                      const std::vector<int32_t> &tokens,
                                      float best) {
  std::vector<double> weights;
  for (int32_t token : tokens)
    weights.push_back(std::exp(double(logits[token]) - double(best)));
  return weights;
}

/// The tokens that top-k and top-p leave, the likeliest first (by id where
/// neither filters).
std::vector<int32_t> Sampler::findCandidates(const float *logits,
                                             int count) const {
  if (sampling.top_k > 0 && sampling.top_k < count) {
    std::vector<int32_t> tokens = findLargest(logits, count, sampling.top_k);
    if (sampling.top_p < 1) {
      auto weights = getWeights(logits, tokens, logits[tokens[0]]);
      double total = addPairwise(weights.data(), weights.size());
      tokens.resize(countNucleus(weights, total));
    }
    return tokens;
  }
  std::vector<int32_t> all(count);
  std::iota(all.begin(), all.end(), 0);
  if (sampling.top_p == 1)
    return all;
  // The nucleus is a few hundred tokens as a rule: sort more only where it is
  // larger.
  float best = *std::max_element(logits, logits + count);
  auto weights = getWeights(logits, all, best);
  double total = addPairwise(weights.data(), weights.size());
  for (size_t most = kFirstCandidates;; most *= 16) {
    std::vector<int32_t> tokens = findLargest(logits, count, most);
    size_t size = countNucleus(getWeights(logits, tokens, best), total);
    if (size < tokens.size() || tokens.size() == size_t(count)) {
      tokens.resize(size);
      return tokens;
    }
  }
}

/// How many of the sorted weights reach the share top-p of the total.
size_t Sampler::countNucleus(const std::vector<double> &weights,
                             double total) const {
  std::vector<double> sums(weights.size());
  std::partial_sum(weights.begin(), weights.end(), sums.begin());
  size_t before =
      std::lower_bound(sums.begin(), sums.end(), sampling.top_p * total) -
      sums.begin();
  return std::min(before + 1, weights.size());
}

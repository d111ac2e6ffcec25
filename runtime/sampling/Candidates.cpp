//===- Candidates.cpp - The tokens that may be drawn ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/sampling/Candidates.h"
#include "runtime/sampling/Weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

// GCC is told by its command line.
#ifdef __clang__
#pragma clang fp contract(off)
#endif

using namespace mlir::lumen;

/// Up to so many, sorting is the quickest way to find a nucleus.
static constexpr size_t kFew = 512;
/// Of distances from the largest logit.
static constexpr size_t kBuckets = 1024;
/// Places that are sorted at first.
static constexpr size_t kFirstSorted = 1024;

/// Elements are written before they are read.
template <typename T> static T *room(std::vector<T> &vector, size_t count) {
  if (vector.size() < count)
    vector.resize(count);
  return vector.data();
}

Candidates::Candidates(const float *logits, const int32_t *ids, size_t count,
                       size_t vocabulary, Scratch &scratch)
    : scratch(scratch), all(vocabulary), values(logits), ids(ids),
      count(count) {
  size_t groups = countPieces(count, kGroup);
  float *maxima = room(scratch.maxima, groups);
  hasNaN = !findMaxima(logits, count, maxima);
  largest = *std::max_element(maxima, maxima + groups);
}

int32_t Candidates::findBest() const {
  size_t best = 0;
  if (hasNaN) {
    while (!std::isnan(values[best]))
      ++best;
    return ids ? ids[best] : int32_t(best);
  }
  for (const float *group = scratch.maxima.data(); *group != largest; ++group)
    best += kGroup;
  while (values[best] != largest)
    ++best;
  return ids ? ids[best] : int32_t(best);
}

std::pair<float, int32_t> Candidates::findWorst() const {
  size_t worst = 0;
  for (size_t i = 1; i < count; ++i)
    if (values[i] <= values[worst])
      worst = i;
  return {values[worst], ids ? ids[worst] : int32_t(worst)};
}

void Candidates::keepPlaces(size_t kept) {
  uint32_t *places = scratch.places.data();
  std::sort(places, places + kept);
  int32_t *newIds = room(scratch.ids, kept);
  float *newValues = room(scratch.values, kept);
  // What is read lies at or behind what is written.
  for (size_t i = 0; i < kept; ++i) {
    newIds[i] = ids ? ids[places[i]] : int32_t(places[i]);
    newValues[i] = values[places[i]];
  }
  ids = newIds;
  values = newValues;
  count = kept;
}

void Candidates::keepLargest(size_t most) {
  if (most >= count)
    return;
  // Each group has a value as large as its maximum, so the `most` largest of
  // all are at least the most-th largest maximum.
  size_t groups = countPieces(count, kGroup);
  float bound = -INFINITY;
  if (most <= groups) {
    float *maxima = room(scratch.differences, groups);
    std::copy_n(scratch.maxima.data(), groups, maxima);
    std::nth_element(maxima, maxima + (most - 1), maxima + groups,
                     std::greater<float>());
    bound = maxima[most - 1];
  }
  uint32_t *places = room(scratch.places, count);
  size_t found = 0;
  for (size_t group = 0; group < groups; ++group) {
    if (scratch.maxima[group] < bound)
      continue;
    size_t end = std::min((group + 1) * kGroup, count);
    for (size_t i = group * kGroup; i < end; ++i) {
      places[found] = uint32_t(i);
      found += values[i] >= bound;
    }
  }
  auto isLarger = [this](uint32_t a, uint32_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  };
  std::nth_element(places, places + (most - 1), places + found, isLarger);
  keepPlaces(most);
}

double Candidates::weigh() const {
  WeightScale scale(largest, 1, -INFINITY, all);
  size_t blocks = countPieces(count, kBlock);
  double *sums = room(scratch.sums, blocks);
  addWeights(values, count, scale, sums, room(scratch.weights, count));
  return std::accumulate(sums, sums + blocks, 0.0);
}

size_t Candidates::countShare(const uint32_t *places, size_t size, double sum,
                              double target) const {
  for (size_t i = 0; i < size; ++i) {
    sum += scratch.weights[places[i]];
    if (sum >= target)
      return i + 1;
  }
  return size;
}

void Candidates::keepTypical(double share) {
  double total = weigh(), target = share * total, surprise = 0;
  WeightScale scale(largest, 1, -INFINITY, all);
  // How much less than the likeliest, as a logarithm.
  float *differences = room(scratch.differences, count);
  for (size_t i = 0; i < count; ++i) {
    float weight = scratch.weights[i];
    differences[i] = largest - values[i];
    if (weight > 0)
      surprise += roundToUnit(weight * differences[i], scale.magic);
  }
  double expected = surprise / total;
  double *scores = room(scratch.scores, count);
  for (size_t i = 0; i < count; ++i)
    scores[i] = std::fabs(double(differences[i]) - expected);
  auto isCloser = [scores](uint32_t a, uint32_t b) {
    return scores[a] != scores[b] ? scores[a] < scores[b] : a < b;
  };
  uint32_t *places = room(scratch.places, count);
  std::iota(places, places + count, 0);
  // A few hundred as a rule: sort more only where there are more.
  for (size_t sorted = kFirstSorted;; sorted *= 16) {
    sorted = std::min(sorted, count);
    std::nth_element(places, places + (sorted - 1), places + count, isCloser);
    std::sort(places, places + sorted, isCloser);
    size_t kept = countShare(places, sorted, 0, target);
    if (kept == sorted && sorted < count)
      continue;
    keepPlaces(kept);
    break;
  }
  largest = *std::max_element(values, values + count);
}

void Candidates::keepNucleus(double share) {
  double total = weigh(), target = share * total;
  if (count > kFew)
    return keepNucleusOfMany(total, target);
  uint32_t *places = room(scratch.places, count);
  std::iota(places, places + count, 0);
  std::sort(places, places + count, [this](uint32_t a, uint32_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  });
  keepPlaces(countShare(places, count, 0, target));
}

/// Sorts into buckets at first, by the distance from the largest value, and
/// then only the values of the bucket in which the nucleus ends.
void Candidates::keepNucleusOfMany(double total, double target) {
  // Together, values of less than this weight have half of what the nucleus
  // may lack.
  double least = (total - target) / double(count) / 2;
  double furthest = 87;
  if (least > 0)
    furthest = std::min(furthest, 0.01 - logarithm(least));
  const float bound = float(double(largest) - furthest);
  const float factor = float(kBuckets / furthest);
  auto bucketOf = [this, factor](uint32_t place) {
    float bucket = (largest - values[place]) * factor;
    return uint32_t(std::min(bucket, float(kBuckets - 1)));
  };
  // Loops that add 0 or 1 to a length have no branch to mispredict.
  uint32_t *places = room(scratch.places, 2 * count);
  size_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    places[found] = uint32_t(i);
    found += values[i] >= bound;
  }
  // Two sums by turns, so that an addition need not wait for the one before.
  double *sums = room(scratch.scores, 2 * kBuckets);
  std::fill_n(sums, 2 * kBuckets, 0.0);
  for (size_t i = 0; i < found; ++i)
    sums[bucketOf(places[i]) * 2 + i % 2] += scratch.weights[places[i]];
  double sum = 0;
  uint32_t bucket = 0;
  for (; bucket < kBuckets - 1; ++bucket) {
    double next = sum + (sums[2 * bucket] + sums[2 * bucket + 1]);
    if (next >= target)
      break;
    sum = next;
  }
  uint32_t *inBucket = places + count;
  size_t size = 0;
  for (size_t i = 0; i < found; ++i) {
    inBucket[size] = places[i];
    size += bucketOf(places[i]) == bucket;
  }
  if (!size)
    return;
  auto isFirst = [this, inBucket](uint32_t place) {
    return values[place] == values[*inBucket];
  };
  if (!std::all_of(inBucket, inBucket + size, isFirst))
    std::sort(inBucket, inBucket + size, [this](uint32_t a, uint32_t b) {
      return values[a] != values[b] ? values[a] > values[b] : a < b;
    });
  const uint32_t last = inBucket[countShare(inBucket, size, sum, target) - 1];
  const float lowest = values[last];
  int32_t *newIds = room(scratch.ids, count);
  float *newValues = room(scratch.values, count);
  size_t kept = 0;
  for (size_t i = 0; i < found; ++i) {
    uint32_t place = places[i];
    float value = values[place];
    newIds[kept] = ids ? ids[place] : int32_t(place);
    newValues[kept] = value;
    kept += (value > lowest) | ((value == lowest) & (place <= last));
  }
  ids = newIds;
  values = newValues;
  count = kept;
}

float Candidates::getLeast(double minP) const {
  return minP > 0 ? float(double(largest) + logarithm(minP)) : -INFINITY;
}

int32_t Candidates::draw(double minP, double temperature, double place) const {
  float least = getLeast(minP);
  WeightScale scale(largest, temperature, least, all);
  size_t blocks = countPieces(count, kBlock);
  double *sums = room(scratch.sums, blocks);
  addWeights(values, count, scale, sums);
  place *= std::accumulate(sums, sums + blocks, 0.0);
  // The last that weighs anything, where rounding leaves no other.
  double sum = 0, before = 0;
  size_t chosen = 0;
  for (size_t block = 0; block < blocks; ++block) {
    if (sums[block] > 0) {
      chosen = block;
      before = sum;
    }
    sum += sums[block];
    if (sum > place)
      break;
  }
  float weights[kBlock];
  size_t begin = chosen * kBlock, size = std::min(kBlock, count - begin);
  double sumOfBlock;
  addWeights(values + begin, size, scale, &sumOfBlock, weights);
  size_t found = 0;
  for (size_t i = 0; i < size; ++i) {
    if (weights[i] > 0)
      found = i;
    before += weights[i];
    if (before > place)
      break;
  }
  return ids ? ids[begin + found] : int32_t(begin + found);
}

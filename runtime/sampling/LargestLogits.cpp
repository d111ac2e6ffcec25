//===- LargestLogits.cpp - The largest logits of a row --------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/sampling/LargestLogits.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace mlir::lumen;

LargestLogits::LargestLogits(const LogitGroups &groups, Scratch &scratch)
    : scratch(scratch), vocabulary(groups.vocabulary) {
  const size_t size = groups.size;
  std::vector<uint32_t> &order = scratch.places;
  order.resize(groups.count);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return groups.numbers[a] < groups.numbers[b];
  });
  scratch.ids.clear();
  scratch.values.clear();
  for (uint32_t place : order) {
    size_t first = size_t(groups.numbers[place]) * size;
    size_t begin = std::min(first, vocabulary - size);
    const float *values = groups.values + place * size;
    for (size_t i = first - begin; i < size; ++i) {
      scratch.ids.push_back(int32_t(begin + i));
      scratch.values.push_back(values[i]);
    }
    if (place == groups.count - 1) {
      const float *own = values + (first - begin), *behind = values + size;
      bound = *std::max_element(own, behind);
      // No number is larger than one that is NaN, so nothing is certain.
      if (std::any_of(own, behind, [](float x) { return std::isnan(x); }))
        bound = NAN;
      end = int32_t(begin + size);
    }
  }
}

float *LargestLogits::find(int32_t token) {
  auto &ids = scratch.ids;
  auto found = std::lower_bound(ids.begin(), ids.end(), token);
  if (found == ids.end() || *found != token)
    return nullptr;
  return &scratch.values[found - ids.begin()];
}

float &LargestLogits::getOrBound(int32_t token) {
  if (float *logit = find(token))
    return *logit;
  return changed.emplace(token, bound).first->second;
}

float LargestLogits::getLargestChanged() const {
  float largest = -INFINITY;
  for (auto [token, value] : changed)
    largest = std::max(largest, value);
  return largest;
}

bool LargestLogits::isAmongLargest(float value, int32_t token) const {
  if (hasAll())
    return true;
  if (!changed.empty() && !(value > getLargestChanged()))
    return false;
  return value > bound || (value == bound && token < end);
}

bool LargestLogits::hasAllFrom(float value) const {
  return hasAll() || (value > bound && value > getLargestChanged());
}

//===- LargestLogits.h - The largest logits of a row ------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_SAMPLING_LARGESTLOGITS_H
#define LUMEN_RUNTIME_SAMPLING_LARGESTLOGITS_H

#include "runtime/sampling/Candidates.h"

#include <cmath>
#include <unordered_map>

namespace mlir::lumen {

/// Groups of `size` logits of a row, as `lumen.largest_groups` makes them:
/// those of the largest values, in their order. A row has at least as many
/// logits.
struct LogitGroups {
  size_t size;
  /// Of each group; of the last group of a row, the last ones of the row.
  const float *values;
  const int32_t *numbers;
  size_t count;
  size_t vocabulary;
};

/// The logits of the groups, and what follows for the others from there: none
/// is larger than the largest of the last group that is there, the bound, and
/// those that equal it have larger ids.
class LargestLogits {
public:
  LargestLogits(const LogitGroups &groups, Scratch &scratch);

  size_t size() const { return scratch.ids.size(); }
  bool hasAll() const { return size() == vocabulary; }

  /// The logit of a token; null where it is not there.
  float *find(int32_t token);
  /// The logit of a token, or what it is at most. To change it is to change
  /// the logit that is not there: changes keep the order of values.
  float &getOrBound(int32_t token);
  /// Makes all logits -inf of which `isAllowed(token)` is false.
  template <typename Allowed> void keepAllowed(Allowed isAllowed) {
    for (size_t i = 0; i < size(); ++i)
      if (!isAllowed(scratch.ids[i]))
        scratch.values[i] = -INFINITY;
  }

  Candidates getCandidates() const {
    return {scratch.values.data(), scratch.ids.data(), size(), vocabulary,
            scratch};
  }

  /// Whether no token that is not there comes before this one, in the order of
  /// logits and then of ids.
  bool isAmongLargest(float value, int32_t token) const;
  /// Whether the logits of all that are not there are less.
  bool hasAllFrom(float value) const;

private:
  /// The largest that a changed logit can be that is not there.
  float getLargestChanged() const;

  /// `ids` and `values` of the tokens that are there, by id.
  Scratch &scratch;
  const size_t vocabulary;
  float bound;
  /// Behind the last id of the group that the bound is of.
  int32_t end;
  /// Of tokens that are not there.
  std::unordered_map<int32_t, float> changed;
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_SAMPLING_LARGESTLOGITS_H

//===- Sampler.h - Choosing the next token ----------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_SAMPLING_SAMPLER_H
#define LUMEN_RUNTIME_SAMPLING_SAMPLER_H

#include "runtime/embed/Failure.h"
#include "runtime/sampling/LargestLogits.h"

#include <deque>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mlir::lumen {

/// The tokens that may be drawn: bit `id % 32` of word `id / 32` is 1. Tokens
/// beyond the words may not.
struct AllowedTokens {
  const uint32_t *words = nullptr;
  size_t count = 0;

  bool contains(int32_t token) const {
    size_t word = size_t(token) / 32;
    return word < count && words[word] >> token % 32 & 1;
  }
};

/// Draws the tokens of one text. Logits are changed by biases, the repeat
/// penalty, the other penalties and the mask, in this order. Then come the
/// filters top-k, typical, top-p and min-p, and the draw with the temperature.
///
/// Token number i is drawn by number i of the seed. So a text has the same
/// tokens whatever else is drawn, and `lumen_mlir.reference.sampling` has the
/// same.
class Sampler {
public:
  explicit Sampler(const lumen_sampling &sampling);

  /// What is added to the logit of a token, each time.
  void setBias(int32_t token, float bias);

  /// Counts tokens among the last ones, at which the repeat penalty looks; if
  /// `written`, also among those at which the others look.
  void accept(const int32_t *tokens, int count, bool written = false);

  /// Draws a token, and accepts it as written.
  int32_t sample(const float *logits, int count,
                 AllowedTokens allowed = AllowedTokens());

  /// From how many groups of largest logits the next token can probably be
  /// drawn; 0 where it needs all logits.
  size_t countWanted() const;

  /// What `sample` would draw, from some of the logits (see LargestLogits).
  /// `banned` are tokens whose logits count as -inf. Nothing where others could
  /// matter, or none can be drawn. The token is not accepted.
  std::optional<int32_t> findLargest(const LogitGroups &groups,
                                     const int32_t *banned, size_t bannedCount,
                                     AllowedTokens allowed) const;

  /// Of the next token.
  uint64_t getNumber() const { return number; }
  void setNumber(uint64_t next) { number = next; }

private:
  /// Calls `visit(token, change)` for each bias and penalty, in their order;
  /// `change` changes a logit.
  template <typename Visit> void visitChanges(Visit visit) const;
  bool changesLogits() const {
    return !biases.empty() || !recentCounts.empty() || !writtenCounts.empty();
  }
  /// The filters behind top-k, and the draw.
  int32_t draw(Candidates &candidates) const;

  /// The logits to draw from: those given, or a changed copy.
  const float *edit(const float *logits, int count, AllowedTokens allowed,
                    Scratch &scratch) const;

  lumen_sampling sampling;
  uint64_t seed;
  uint64_t number = 0;
  std::vector<std::pair<int32_t, float>> biases;
  /// The last tokens, and how often each of them is there.
  std::deque<int32_t> recent;
  std::unordered_map<int32_t, uint32_t> recentCounts;
  /// How often each token was written.
  std::unordered_map<int32_t, uint32_t> writtenCounts;
};

/// The defaults of `lumen generate`.
lumen_sampling getDefaultSampling();

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_SAMPLING_SAMPLER_H

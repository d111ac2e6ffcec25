//===- Candidates.h - The tokens that may be drawn --------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_SAMPLING_CANDIDATES_H
#define LUMEN_RUNTIME_SAMPLING_CANDIDATES_H

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace mlir::lumen {

/// Memory that is used again by the next draw of the same thread.
struct Scratch {
  std::vector<float> logits, values, weights, maxima, differences;
  std::vector<double> sums, scores;
  std::vector<int32_t> ids;
  std::vector<uint32_t> places;
};

/// Tokens that may be drawn, by id, and their logits. Each filter works on what
/// those before it have left, and leaves at least one.
class Candidates {
public:
  /// All tokens. `logits` stay as they are, and alive.
  Candidates(const float *logits, size_t count, Scratch &scratch)
      : Candidates(logits, nullptr, count, count, scratch) {}
  /// Some of the tokens of a vocabulary, by id. Logits and ids stay as they are
  /// (they may be those of `scratch`).
  Candidates(const float *logits, const int32_t *ids, size_t count,
             size_t vocabulary, Scratch &scratch);

  /// The token of the largest logit, the first of equals; that of the first
  /// NaN where there is one.
  int32_t findBest() const;
  /// The largest logit, where none is NaN.
  float getLargest() const { return largest; }
  bool containsNaN() const { return hasNaN; }
  /// The token that was the last to be chosen where the largest were: its logit
  /// is the least, and of equals its id the largest.
  std::pair<float, int32_t> findWorst() const;

  /// Top-k: the `most` largest logits, the first of equals.
  void keepLargest(size_t most);
  /// Typical: those closest to what is expected of a token (its surprise is
  /// close to the entropy), until they have that share of the probability.
  void keepTypical(double share);
  /// Top-p: the likeliest, until they have that share of the probability.
  void keepNucleus(double share);

  /// The least logit of a token that is at least `minP` times as likely as the
  /// likeliest.
  float getLeast(double minP) const;
  /// The token at a place, in [0, 1), of the probabilities by id. Tokens less
  /// likely than the likeliest times `minP` are left out.
  int32_t draw(double minP, double temperature, double place) const;

private:
  /// Weights at temperature 1 in `scratch.weights`; returns their sum.
  double weigh() const;
  /// How many of `places`, in order, reach a share of the sum `total`, once
  /// `sum` is reached by others.
  size_t countShare(const uint32_t *places, size_t count, double sum,
                    double target) const;
  void keepNucleusOfMany(double total, double target);
  /// Keeps those at the first `count` of `scratch.places`.
  void keepPlaces(size_t count);

  Scratch &scratch;
  /// Of the vocabulary.
  const size_t all;
  /// By place among the candidates. Where `ids` is null, those are all tokens.
  const float *values;
  const int32_t *ids = nullptr;
  size_t count;
  float largest;
  bool hasNaN;
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_SAMPLING_CANDIDATES_H

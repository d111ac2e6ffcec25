//===- Sampler.h - Choosing the next token ----------------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_EMBED_SAMPLER_H
#define LUMEN_RUNTIME_EMBED_SAMPLER_H

#include "runtime/embed/Failure.h"
#include "runtime/embed/Random.h"

#include <deque>
#include <vector>

namespace mlir::lumen {

/// What `lumen_mlir.generate.sampling` is to Python. Filters come in the order
/// repeat penalty, top-k, top-p, min-p, temperature; sums are added up in the
/// order in which NumPy adds them, so that the same tokens are drawn.
class Sampler {
public:
  explicit Sampler(const lumen_sampling &sampling);

  void accept(const int32_t *tokens, int count);
  int32_t sample(const float *logits, int count);

private:
  const float *penalize(const float *logits, int count);
  int32_t draw(const float *logits, int count);
  std::vector<int32_t> findCandidates(const float *logits, int count) const;
  size_t countNucleus(const std::vector<double> &weights, double total) const;

  const lumen_sampling sampling;
  Random random;
  std::deque<int32_t> recent;
  std::vector<float> penalized;
};

/// The defaults of `lumen generate`.
lumen_sampling getDefaultSampling();

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_EMBED_SAMPLER_H

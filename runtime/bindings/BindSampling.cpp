//===- BindSampling.cpp - Drawing tokens ----------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/ThreadTeam.h"
#include "runtime/bindings/Common.h"
#include "runtime/sampling/Random.h"
#include "runtime/sampling/Sampler.h"
#include "runtime/sampling/Weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

using namespace mlir::lumen;
using namespace mlir::lumen::python;

namespace {
using Tokens =
    nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Logits =
    nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using LogitsOfOne =
    nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

/// A sampler that notices when two threads use it at once.
struct SharedSampler : Sampler {
  explicit SharedSampler(const lumen_sampling &sampling) : Sampler(sampling) {}
  SharedSampler(const SharedSampler &other) : Sampler(other) {}

  std::atomic<bool> inUse{false};
};

/// Who uses samplers; throws where another thread does.
class Use {
public:
  explicit Use(const std::vector<SharedSampler *> &samplers)
      : samplers(samplers) {
    for (; taken < samplers.size(); ++taken)
      if (samplers[taken]->inUse.exchange(true)) {
        release();
        throw nb::value_error("a sampler is used twice at once");
      }
  }
  ~Use() { release(); }
  Use(const Use &) = delete;
  Use &operator=(const Use &) = delete;

private:
  void release() {
    while (taken)
      samplers[--taken]->inUse.store(false);
  }

  const std::vector<SharedSampler *> samplers;
  size_t taken = 0;
};

/// Runs what may fail, and raises ValueError.
template <typename Body> auto translated(Body body) {
  try {
    return body();
  } catch (const Failure &failure) {
    throw nb::value_error(failure.text.c_str());
  }
}

/// Rows of logits, each with a sampler.
struct Batch {
  std::vector<SharedSampler *> samplers;
  std::vector<AllowedTokens> allowed;
  const float *logits;
  size_t vocabulary;
  std::vector<int32_t> tokens;
  std::vector<std::string> errors;

  void sample(size_t row) noexcept {
    try {
      tokens[row] = samplers[row]->sample(logits + row * vocabulary,
                                          int(vocabulary), allowed[row]);
    } catch (const Failure &failure) {
      errors[row] = failure.text;
    } catch (const std::exception &) {
      errors[row] = "there is not enough memory";
    }
  }

  static void run(uint64_t *slots, lumen_worker *worker) {
    Batch &batch = *reinterpret_cast<Batch *>(*slots);
    while (true) {
      lumen_piece piece = lumen_claim(worker, batch.samplers.size());
      if (piece.first == piece.last)
        return;
      for (size_t row = piece.first; row < piece.last; ++row)
        batch.sample(row);
    }
  }
};
} // namespace

static std::pair<std::vector<int32_t>, std::vector<std::string>>
sample(const std::vector<SharedSampler *> &samplers, const Logits &logits,
       const std::vector<std::optional<Tokens>> &allowed, ThreadTeam *team) {
  size_t count = samplers.size();
  if (logits.shape(0) != count || (allowed.size() && allowed.size() != count))
    throw nb::value_error("each row of logits has a sampler");
  if (logits.shape(1) < 1 || logits.shape(1) > INT32_MAX)
    throw nb::value_error("there are no logits to draw from");
  if (std::count(samplers.begin(), samplers.end(), nullptr))
    throw nb::value_error("a sampler is missing");
  Use use(samplers);
  Batch batch{samplers,
              std::vector<AllowedTokens>(count),
              logits.data(),
              logits.shape(1),
              std::vector<int32_t>(count, -1),
              std::vector<std::string>(count)};
  for (size_t i = 0; i < allowed.size(); ++i)
    if (allowed[i])
      batch.allowed[i] = {
          reinterpret_cast<const uint32_t *>(allowed[i]->data()),
          allowed[i]->size()};
  {
    nb::gil_scoped_release release;
    uint64_t slot = reinterpret_cast<uint64_t>(&batch);
    if (team && count > 1)
      team->run(Batch::run, &slot);
    else
      for (size_t row = 0; row < count; ++row)
        batch.sample(row);
  }
  return {std::move(batch.tokens), std::move(batch.errors)};
}

static std::optional<int32_t>
findLargest(SharedSampler &self, const Logits &values, const Tokens &numbers,
            size_t vocabulary, const Tokens &banned,
            const std::optional<Tokens> &allowed) {
  const size_t size = values.shape(1);
  if (size < 1 || values.shape(0) != numbers.size())
    throw nb::value_error("each group has logits and a number");
  if (vocabulary < size || vocabulary > INT32_MAX)
    throw nb::value_error("a row has no fewer logits than a group");
  std::vector<int32_t> sorted(numbers.data(), numbers.data() + numbers.size());
  std::sort(sorted.begin(), sorted.end());
  bool isTwice =
      std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
  if (sorted.size() && (isTwice || sorted.front() < 0 ||
                        size_t(sorted.back()) >= countPieces(vocabulary, size)))
    throw nb::value_error("these are no numbers of groups");
  AllowedTokens mask;
  if (allowed)
    mask = {reinterpret_cast<const uint32_t *>(allowed->data()),
            allowed->size()};
  Use use({&self});
  return translated([&] {
    return self.findLargest(
        {size, values.data(), numbers.data(), numbers.size(), vocabulary},
        banned.data(), banned.size(), mask);
  });
}

static SharedSampler *
newSampler(double temperature, int topK, double typicalP, double topP,
           double minP, double repeatPenalty, int repeatLast,
           double presencePenalty, double frequencyPenalty, int64_t seed,
           const std::vector<std::pair<int32_t, float>> &biases) {
  lumen_sampling sampling = {temperature,
                             topK,
                             typicalP,
                             topP,
                             minP,
                             repeatPenalty,
                             repeatLast,
                             presencePenalty,
                             frequencyPenalty,
                             seed};
  return translated([&] {
    auto sampler = std::make_unique<SharedSampler>(sampling);
    for (auto [token, bias] : biases)
      sampler->setBias(token, bias);
    return sampler.release();
  });
}

void mlir::lumen::python::bindSampling(nb::module_ &m) {
  nb::class_<SharedSampler>(m, "Sampler", "Draws the tokens of one text.")
      .def(nb::new_(&newSampler), nb::arg("temperature"), nb::arg("top_k"),
           nb::arg("typical_p"), nb::arg("top_p"), nb::arg("min_p"),
           nb::arg("repeat_penalty"), nb::arg("repeat_last"),
           nb::arg("presence_penalty"), nb::arg("frequency_penalty"),
           nb::arg("seed"), nb::arg("logit_bias"))
      .def(
          "accept",
          [](SharedSampler &self, const Tokens &tokens, bool written) {
            Use use({&self});
            translated([&] {
              self.accept(tokens.data(), int(tokens.size()), written);
            });
          },
          nb::arg("tokens"), nb::arg("written"),
          "Counts tokens (int32) among the last ones, and perhaps among those "
          "that were written.")
      .def_prop_ro(
          "wanted",
          [](const SharedSampler &self) { return self.countWanted(); },
          "From how many groups of largest logits the next token can probably "
          "be drawn; 0 where it needs all logits.")
      .def("find_largest", &findLargest, nb::arg("values").noconvert(),
           nb::arg("numbers"), nb::arg("vocabulary"), nb::arg("banned"),
           nb::arg("allowed").none(),
           "What `sample` draws, where that follows from groups of logits: "
           "`values` (float32) and `numbers` (int32) as lumen.largest_groups "
           "makes them of a row, all ranks from 0 on. The logits of tokens "
           "`banned` count as -inf. Otherwise None. The token is not accepted.")
      .def_prop_rw(
          "number", [](const SharedSampler &self) { return self.getNumber(); },
          [](SharedSampler &self, uint64_t number) { self.setNumber(number); },
          "Of the next token, which its random number depends on.")
      .def(
          "fork",
          [](SharedSampler &self) {
            Use use({&self});
            return std::make_unique<SharedSampler>(self);
          },
          "Another one in the same state.");
  m.def("sample", &sample, nb::arg("samplers"), nb::arg("logits").noconvert(),
        nb::arg("allowed"), nb::arg("team").none(),
        "The tokens for rows of logits (float32), and what went wrong for each "
        "row (nothing: an empty text). Without Python's global lock, and on "
        "the threads of `team` unless that is None. `allowed` has bit masks of "
        "32 tokens to a word, or None, for each row; it may be empty.");
  m.def(
      "philox",
      [](std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
        return philox(counter, key);
      },
      nb::arg("counter"), nb::arg("key"), "Four random words (Philox4x32-10).");
  m.def(
      "log_sum",
      [](const LogitsOfOne &logits) {
        if (!logits.size())
          throw nb::value_error("there are no logits");
        nb::gil_scoped_release release;
        size_t count = logits.size();
        std::vector<float> maxima(countPieces(count, kGroup));
        findMaxima(logits.data(), count, maxima.data());
        float largest = *std::max_element(maxima.begin(), maxima.end());
        std::vector<double> sums(countPieces(count, kBlock));
        addWeights(logits.data(), count,
                   WeightScale(largest, 1, -INFINITY, count), sums.data());
        double sum = std::accumulate(sums.begin(), sums.end(), 0.0);
        return std::make_pair(double(largest), logarithm(sum));
      },
      nb::arg("logits").noconvert(),
      "The largest of logits, and the logarithm of the sum of the powers of e "
      "of how much more the logits are (at most 0 each).");
}

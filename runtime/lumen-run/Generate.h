//===- Generate.h - From a prompt to text --------------------- -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_LUMENRUN_GENERATE_H
#define LUMEN_RUNTIME_LUMENRUN_GENERATE_H

#include "Options.h"
#include "StopFilter.h"
#include "Streams.h"

#include <lumen.h>
#include <lumen_tokenizer.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

namespace lumen::run {

/// Set by Ctrl-C: the text ends at the next token.
extern volatile std::sig_atomic_t interrupted;

/// Counts and times, for the closing line.
struct Statistics {
  size_t context = 0, prompt = 0, tokens = 0, decoded = 0;
  double promptSeconds = 0, decodeSeconds = 0, loadSeconds = 0;
  /// There is no room for another token.
  bool contextFull = false;

  /// "48 tokens at 812/s, prompt 5 at 900/s, loaded in 0.02 s, 45 MB".
  std::string text() const;
};

/// A model with its tokenizer. What goes wrong is thrown as a Failure.
class Generator {
public:
  Generator(const Options &options, Statistics &statistics);

  /// Writes the text as it comes.
  void run(Output &output);

private:
  std::vector<int32_t> promptIds(const std::string &text) const;
  void compute(const int32_t *tokens, size_t count);
  int32_t draw();
  std::string read(lumen_decoder *decoder, int32_t token) const;
  std::string hiddenText(int32_t token, bool ends) const;

  struct Close {
    void operator()(lumen_model *model) const { lumen_close(model); }
    void operator()(lumen_sampler *sampler) const {
      lumen_sampler_free(sampler);
    }
    void operator()(lumen_tokenizer *tokenizer) const {
      lumen_tokenizer_close(tokenizer);
    }
    void operator()(lumen_decoder *decoder) const {
      lumen_decoder_free(decoder);
    }
  };
  template <typename T> using Owned = std::unique_ptr<T, Close>;

  const Options &options;
  Statistics &statistics;
  Owned<lumen_tokenizer> tokenizer;
  Owned<lumen_model> model;
  Owned<lumen_sampler> sampler;
  std::vector<float> logits;
};

} // namespace lumen::run

#endif // LUMEN_RUNTIME_LUMENRUN_GENERATE_H

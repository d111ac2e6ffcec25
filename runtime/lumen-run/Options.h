//===- Options.h - What the command line asks for ------------- -*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_LUMENRUN_OPTIONS_H
#define LUMEN_RUNTIME_LUMENRUN_OPTIONS_H

#include <lumen.h>

#include <optional>
#include <string>
#include <vector>

namespace lumen::run {

/// The program's answer to a mistake in its arguments.
struct UsageError {
  std::string text;
};

/// Something else that went wrong, in one line.
struct Failure {
  std::string text;
};

struct Options {
  std::string bundle;
  std::optional<std::string> prompt, file;
  /// Below 0: without a limit.
  long maxTokens = 256;
  std::optional<double> temperature, topP, minP, repeatPenalty, typicalP,
      presencePenalty, frequencyPenalty;
  std::optional<int> topK;
  std::optional<int64_t> seed;
  /// The text ends before the first of them.
  std::vector<std::string> stops;
  int threads = 0, context = 0;
  bool chat = false, escape = false, echo = false, special = false,
       ignoreEnds = false;
  bool quiet = false, help = false, version = false;

  /// Throws a UsageError, or a Failure.
  static Options parse(int count, char **arguments);
  static std::string helpText();

  /// The model's own parameters with what was asked for in their place.
  lumen_sampling sampling(const lumen_sampling &own) const;
  /// Which of the model's own parameters are used, for people; empty where
  /// none is.
  std::string ownSampling(const lumen_sampling &own) const;
  /// The text to go on with. Throws a Failure.
  std::string text() const;
};

} // namespace lumen::run

#endif // LUMEN_RUNTIME_LUMENRUN_OPTIONS_H

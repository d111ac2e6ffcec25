//===- Description.h - What code and weights say of themselves --*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// Text of lines "key value …". docs/decisions/ahead-of-time.md lists the keys.
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_EMBED_DESCRIPTION_H
#define LUMEN_RUNTIME_EMBED_DESCRIPTION_H

#include "runtime/embed/Failure.h"

#include <cstdint>
#include <string>
#include <vector>

namespace mlir::lumen {

/// One argument of the step.
struct StepArgument {
  enum class Kind {
    tokens,
    positions,
    rows,
    runs,
    places,
    pages,
    rope,
    cache,
    weight,
    logits
  };

  Kind kind;
  /// Of a weight.
  std::string name;
  /// Of a weight, and of a block of a cache (of all layers and heads).
  uint64_t bytes = 0;
  /// Of a weight: its address is a multiple of it.
  uint64_t alignment = 1;
  /// Of a rotary table: floats of a row.
  uint64_t dimensions = 0;
  /// Of a cache, its places and pages: a token looks back on so many positions;
  /// 0: on all.
  uint64_t window = 0;
};

/// What compiled code is and takes.
struct CodeDescription {
  std::string version, architecture, target, id;
  std::vector<std::string> needs;
  uint64_t abi = 0, vocabulary = 0, context = 0, chunk = 0;
  std::vector<StepArgument> arguments;

  /// Reads the text that the code has in it. `Failure` where it is of another
  /// version.
  static CodeDescription read(const char *text);
};

/// A rotary table: where the radians per position of its pairs lie (float64).
/// Contexts of more than `threshold` positions use the second ones.
struct RopeFrequencies {
  uint64_t dimensions;
  double magnitude;
  uint64_t offset;
  uint64_t threshold;
  uint64_t longOffset;
};

/// Where a weight lies.
struct WeightPlace {
  uint64_t offset;
  uint64_t bytes;
  std::string name;
};

/// What a file of weights holds.
struct WeightDescription {
  std::string version, architecture, target, code, model;
  lumen_sampling sampling;
  std::vector<RopeFrequencies> ropes;
  std::vector<WeightPlace> weights;

  /// Reads the text of a file. `path` is for messages.
  static WeightDescription read(const std::string &text,
                                const std::string &path);
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_EMBED_DESCRIPTION_H

//===- Model.h - A model of a bundle, ready to step -------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_EMBED_MODEL_H
#define LUMEN_RUNTIME_EMBED_MODEL_H

#include "runtime/ThreadTeam.h"
#include "runtime/embed/Memory.h"
#include "runtime/embed/WeightFile.h"

#include <memory>
#include <string>
#include <vector>

namespace mlir::lumen {

/// Most threads of a team.
constexpr int kMostThreads = 1024;

/// What `lumen_mlir.run.session` is to Python.
class Model {
public:
  Model(const std::string &bundle, const lumen_options &options);

  /// Runs tokens; writes the logits of the last one, if there is a place.
  void step(const int32_t *tokens, int count, float *logits);
  /// Forgets the tokens from `position` on.
  void rewind(int position);

  int getPosition() const { return int(position); }
  int getContext() const { return int(context); }
  int getVocabulary() const { return int(code.vocabulary); }
  int getThreads() const { return int(team->size()); }
  const CodeDescription &getCode() const { return code; }
  const WeightDescription &getWeights() const { return file->describe(); }

private:
  /// A rotary table of all positions of the context, filled up to a row.
  struct RopeTable {
    Memory memory;
    uint64_t dimensions;
    double magnitude;
    const uint8_t *frequencies;
  };

  void checkFit(const std::string &bundle) const;
  void allocate();
  uint64_t getPages(uint64_t window) const;
  bool canResume(uint64_t at) const;
  void fillRopes(uint64_t end);
  void runChunk(const int32_t *tokens, uint64_t count, float *logits);

  lumen_code entry;
  CodeDescription code;
  std::unique_ptr<WeightFile> file;
  std::unique_ptr<ThreadTeam> team;
  uint64_t context = 0;

  uint64_t position = 0;
  /// Positions that the KV cache was written up to.
  uint64_t written = 0;
  std::vector<int32_t> tokens;
  std::vector<float> unused;
  std::vector<RopeTable> ropes;
  uint64_t ropeRows = 0;
  std::vector<Memory> caches;
  Memory arena;

  std::vector<uint64_t> slots;
  /// The slots that change from step to step.
  size_t tokensSlot = 0, positionSlot = 0, firstSlot = 0, logitsSlot = 0;
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_EMBED_MODEL_H

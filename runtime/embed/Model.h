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

  /// Where the positions of layers of one window lie in their caches: page i of
  /// the sequence is page i % count, so that the last `count` are there.
  struct Pages {
    uint64_t window, count;
    std::vector<int32_t> table;
    std::vector<int32_t> places;
    size_t placesSlot;
  };

  void checkFit(const std::string &bundle) const;
  void allocate();
  /// Pages that layers of a window need.
  uint64_t countPages(uint64_t window) const;
  Pages &getPages(uint64_t window);
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
  std::vector<int32_t> tokens, positions;
  int32_t row = 0;
  /// The first row, how many, the sequence.
  int32_t run[3] = {0, 0, 0};
  std::vector<Pages> pages;
  std::vector<float> unused;
  std::vector<RopeTable> ropes;
  uint64_t ropeRows = 0;
  std::vector<Memory> caches;
  Memory arena;

  std::vector<uint64_t> slots;
  /// The slots that change from step to step.
  size_t tokensSlot = 0, positionsSlot = 0, rowsSlot = 0, logitsSlot = 0;
};

} // namespace mlir::lumen

#endif // LUMEN_RUNTIME_EMBED_MODEL_H

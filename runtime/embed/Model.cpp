//===- Model.cpp - A model of a bundle, ready to step ---------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/embed/Model.h"

#include "runtime/embed/Cores.h"
#include "runtime/embed/CpuFeatures.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace mlir::lumen;
using Kind = StepArgument::Kind;

#ifdef LUMEN_WITH_MODEL
extern "C" {
extern const char lumen_code_text[];
extern const int64_t lumen_arena_size_step;
void lumen_entry_step(uint64_t *slots, lumen_worker *worker);
}
#endif

/// Positions of a block of the KV cache, and of a page
/// (dialect/layout/CacheLayout.h).
static constexpr uint64_t kBlock = 16, kPage = 64;
/// The longest context that is taken without being asked for, as in Python.
static constexpr uint64_t kUsualContext = 32768;
/// Rows of the rotary table that are filled at first.
static constexpr uint64_t kFirstRows = 1024;
/// How entries are called; Python has the same number
/// (lumen_mlir.run.program.ABI_VERSION).
static constexpr uint64_t kEntryVersion = 6;

static lumen_code chooseCode(const lumen_options &options) {
  if (options.code) {
    if (!options.code->text || !options.code->step ||
        options.code->arena_bytes < 0)
      fail(LUMEN_ERROR_ARGUMENT, "the code of the options is not filled in");
    return *options.code;
  }
#ifdef LUMEN_WITH_MODEL
  return {lumen_code_text, lumen_entry_step, lumen_arena_size_step};
#else
  fail(LUMEN_ERROR_ARGUMENT,
       "this library was built without a model's code, and the options have "
       "none");
#endif
}

static void checkCpu(const CodeDescription &code) {
  std::string missing;
  for (const std::string &feature : code.needs)
    if (!hasFeature(feature))
      missing += (missing.empty() ? "" : ", ") + shown(feature);
  if (!missing.empty())
    fail(LUMEN_ERROR_CPU, "this CPU cannot run code for target %s: it lacks %s",
         shown(code.target).c_str(), missing.c_str());
}

static void checkVersion(const std::string &what, const std::string &version) {
  if (version != LUMEN_VERSION)
    fail(LUMEN_ERROR_VERSION,
         "%s: made by Lumen %s, but this is the library of Lumen %s",
         what.c_str(), shown(version).c_str(), LUMEN_VERSION);
}

Model::Model(const std::string &bundle, const lumen_options &options)
    : entry(chooseCode(options)), code(CodeDescription::read(entry.text)) {
  checkVersion("the model's code", code.version);
  if (code.abi != kEntryVersion)
    fail(LUMEN_ERROR_VERSION,
         "the model's code is called in way %d, but the library knows way %d",
         int(code.abi), int(kEntryVersion));
  if (options.threads < 0 || options.threads > kMostThreads)
    fail(LUMEN_ERROR_ARGUMENT, "threads is %d; 1 to %d, or 0, was expected",
         options.threads, kMostThreads);
  if (options.context < 0 || uint64_t(options.context) > code.context)
    fail(LUMEN_ERROR_ARGUMENT,
         "a context of %d tokens was asked for; the model has %d",
         options.context, int(code.context));
  context =
      options.context ? options.context : std::min(code.context, kUsualContext);
  std::string path = bundle + "/weights.lumen";
  // What it is for is looked at before its bytes are.
  file = std::make_unique<WeightFile>(path);
  checkFit(path);
  checkCpu(code);
  if (!options.skip_checksum)
    file->verify();
  allocate();
  team = std::make_unique<ThreadTeam>(options.threads ? options.threads
                                                      : countCores());
}

/// Refuses weights that are not those of the code.
void Model::checkFit(const std::string &path) const {
  const WeightDescription &weights = file->describe();
  checkVersion(path, weights.version);
  if (weights.architecture != getArchitecture())
    fail(LUMEN_ERROR_TARGET,
         "%s: made for %s (target %s); this program runs on %s", path.c_str(),
         shown(weights.architecture).c_str(), shown(weights.target).c_str(),
         getArchitecture());
  if (weights.target != code.target)
    fail(LUMEN_ERROR_TARGET,
         "%s: packed for target %s, but the code is for target %s",
         path.c_str(), shown(weights.target).c_str(),
         shown(code.target).c_str());
  if (weights.code != code.id)
    fail(LUMEN_ERROR_VERSION,
         "%s: belongs to other code (%s) than what is linked (%s)",
         path.c_str(), shown(weights.code).c_str(), shown(code.id).c_str());
}

/// Of so many positions, the first of which begins a page.
static uint64_t getWholePages(uint64_t positions) {
  return (positions + kPage - 1) / kPage;
}

uint64_t Model::countPages(uint64_t window) const {
  uint64_t whole = getWholePages(context);
  if (!window)
    return whole;
  return std::min(whole, getWholePages(window + code.chunk - 2) + 1);
}

Model::Pages &Model::getPages(uint64_t window) {
  for (Pages &each : pages)
    if (each.window == window)
      return each;
  fail(LUMEN_ERROR_DAMAGED, "the model's code does not take what it must");
}

/// Buffers, and the slots that pass them.
void Model::allocate() {
  const WeightDescription &weights = file->describe();
  tokens.resize(code.chunk);
  positions.resize(code.chunk);
  unused.resize(1);
  for (const StepArgument &argument : code.arguments) {
    if (argument.kind != Kind::pages)
      continue;
    uint64_t count = countPages(argument.window);
    Pages made = {argument.window, count, {}, {}, 0};
    made.places.resize(code.chunk);
    for (uint64_t page = 0; page < getWholePages(context); ++page)
      made.table.push_back(int32_t(page % count));
    pages.push_back(std::move(made));
  }
  size_t rope = 0, weight = 0;
  auto pass = [&](const void *address) {
    slots.push_back(reinterpret_cast<uintptr_t>(address));
  };
  auto count = [&](Kind kind) {
    return std::count_if(code.arguments.begin(), code.arguments.end(),
                         [&](const auto &each) { return each.kind == kind; });
  };
  for (Kind kind :
       {Kind::tokens, Kind::positions, Kind::rows, Kind::runs, Kind::logits})
    if (count(kind) != 1)
      fail(LUMEN_ERROR_DAMAGED, "the model's code does not take what it must");
  if (count(Kind::rope) != ptrdiff_t(weights.ropes.size()) ||
      count(Kind::weight) != ptrdiff_t(weights.weights.size()))
    fail(LUMEN_ERROR_DAMAGED, "the weights are not those that the code takes");
  for (const StepArgument &argument : code.arguments) {
    switch (argument.kind) {
    case Kind::tokens:
      tokensSlot = slots.size();
      pass(tokens.data());
      slots.push_back(0);
      break;
    case Kind::positions:
      positionsSlot = slots.size();
      pass(positions.data());
      slots.push_back(0);
      break;
    case Kind::rows:
      rowsSlot = slots.size();
      pass(&row);
      slots.push_back(0);
      break;
    case Kind::runs:
      pass(run);
      slots.push_back(1);
      break;
    case Kind::places: {
      Pages &held = getPages(argument.window);
      held.placesSlot = slots.size();
      pass(held.places.data());
      slots.push_back(0);
      break;
    }
    case Kind::pages: {
      Pages &held = getPages(argument.window);
      pass(held.table.data());
      slots.push_back(1);
      slots.push_back(held.table.size());
      break;
    }
    case Kind::rope: {
      const RopeFrequencies &found = weights.ropes[rope++];
      if (found.dimensions != argument.dimensions || found.dimensions % 2)
        fail(LUMEN_ERROR_DAMAGED, "the rotary table has %d dimensions, not %d",
             int(found.dimensions), int(argument.dimensions));
      bool isLong = found.threshold && context > found.threshold;
      ropes.push_back(
          {Memory(context * found.dimensions * sizeof(float)), found.dimensions,
           found.magnitude,
           file->at(isLong ? found.longOffset : found.offset,
                    found.dimensions / 2 * sizeof(double), sizeof(double))});
      pass(ropes.back().memory.as<float>());
      slots.push_back(context);
      break;
    }
    case Kind::cache: {
      uint64_t blocks = getPages(argument.window).count * (kPage / kBlock);
      caches.emplace_back(blocks * argument.bytes);
      pass(caches.back().as<void>());
      slots.push_back(blocks);
      break;
    }
    case Kind::weight: {
      const WeightPlace &place = weights.weights[weight++];
      if (place.name != argument.name || place.bytes != argument.bytes)
        fail(LUMEN_ERROR_DAMAGED,
             "the weight '%s' of %llu bytes was expected, not '%s' of %llu",
             shown(argument.name).c_str(),
             static_cast<unsigned long long>(argument.bytes),
             shown(place.name).c_str(),
             static_cast<unsigned long long>(place.bytes));
      pass(file->at(place.offset, place.bytes,
                    std::max<uint64_t>(argument.alignment, sizeof(float))));
      break;
    }
    case Kind::logits:
      logitsSlot = slots.size();
      pass(unused.data());
      slots.push_back(0);
      break;
    }
  }
  arena = Memory(entry.arena_bytes);
  pass(arena.as<void>());
}

/// Whether the KV cache still holds all that a step at a position looks back
/// on: pages before a sliding window are written again.
bool Model::canResume(uint64_t at) const {
  uint64_t end = getWholePages(written);
  for (const Pages &held : pages) {
    if (!held.window || !at)
      continue;
    uint64_t oldest = end > held.count ? (end - held.count) * kPage : 0;
    uint64_t begin = at + 1 > held.window ? at + 1 - held.window : 0;
    if (begin < oldest)
      return false;
  }
  return true;
}

void Model::rewind(int to) {
  if (to < 0 || uint64_t(to) > position)
    fail(LUMEN_ERROR_ARGUMENT, "position %d is not among the %d that are held",
         to, int(position));
  if (!canResume(to))
    fail(LUMEN_ERROR_CONTEXT,
         "what position %d looks back on is forgotten: of sliding windows only "
         "the last positions are kept",
         to);
  position = to;
  if (!to)
    written = 0;
}

/// Computes the rotary tables up to a row, twice as far each time that does not
/// suffice. In float64, so that no precision is lost far into a long context.
void Model::fillRopes(uint64_t end) {
  if (end <= ropeRows)
    return;
  uint64_t rows = std::min(context, std::max({end, 2 * ropeRows, kFirstRows}));
  for (const RopeTable &rope : ropes) {
    uint64_t half = rope.dimensions / 2;
    for (uint64_t pair = 0; pair < half; ++pair) {
      double frequency;
      std::memcpy(&frequency, rope.frequencies + pair * sizeof(double),
                  sizeof(double));
      for (uint64_t row = ropeRows; row < rows; ++row) {
        double angle = double(row) * frequency;
        float *values = rope.memory.as<float>() + row * rope.dimensions;
        values[pair] = float(rope.magnitude * std::cos(angle));
        values[half + pair] = float(rope.magnitude * std::sin(angle));
      }
    }
  }
  ropeRows = rows;
}

void Model::runChunk(const int32_t *begin, uint64_t count, float *logits) {
  fillRopes(position + count);
  std::copy_n(begin, count, tokens.begin());
  for (uint64_t i = 0; i < count; ++i)
    positions[i] = int32_t(position + i);
  for (Pages &held : pages) {
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t at = position + i;
      held.places[i] = held.table[at / kPage] * int32_t(kPage) + at % kPage;
    }
    slots[held.placesSlot + 1] = count;
  }
  row = int32_t(count) - 1;
  run[1] = int32_t(count);
  slots[tokensSlot + 1] = count;
  slots[positionsSlot + 1] = count;
  slots[rowsSlot + 1] = logits ? 1 : 0;
  slots[logitsSlot] =
      reinterpret_cast<uintptr_t>(logits ? logits : unused.data());
  slots[logitsSlot + 1] = logits ? 1 : 0;
  written = std::max(position ? written : 0, position + count);
  team->run(entry.step, slots.data());
  file->checkWhole();
  position += count;
}

void Model::step(const int32_t *given, int count, float *logits) {
  if (!given || count < 1)
    fail(LUMEN_ERROR_ARGUMENT, "a step takes at least one token");
  if (uint64_t(count) > context - position)
    fail(LUMEN_ERROR_CONTEXT,
         "%d tokens do not fit: the context of %d tokens holds %d already",
         count, int(context), int(position));
  for (int i = 0; i < count; ++i)
    if (given[i] < 0 || uint64_t(given[i]) >= code.vocabulary)
      fail(LUMEN_ERROR_ARGUMENT, "token %d is not in a vocabulary of %d tokens",
           int(given[i]), int(code.vocabulary));
  const uint64_t before = position;
  try {
    for (int begin = 0; begin < count;) {
      int size = std::min<int>(count - begin, int(code.chunk));
      bool last = begin + size == count;
      runChunk(given + begin, size, last ? logits : nullptr);
      begin += size;
    }
  } catch (...) {
    position = before;
    throw;
  }
}

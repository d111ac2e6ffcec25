//===- NamedPipelines.cpp - The stages as pipelines with names ------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// The order of passes is written in the Python package `pipelines`. The build
// writes it down for this file (pipelines.py).
//
//===----------------------------------------------------------------------===//

#include "tools/lumen-opt/NamedPipelines.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/ErrorHandling.h"

#include <set>

using namespace mlir;

namespace {
enum class Activations { int8, exact };

/// What `pipelines.stages` takes.
struct Options : PassPipelineOptions<Options> {
  Option<Activations> activations{
      *this, "activations", llvm::cl::init(Activations::int8),
      llvm::cl::desc("What quantized weights meet"),
      llvm::cl::values(clEnumValN(Activations::int8, "int8", "codes"),
                       clEnumValN(Activations::exact, "exact", "f32"))};
  Option<bool> profile{
      *this, "profile", llvm::cl::init(false),
      llvm::cl::desc("The code counts calls and time of its kernels")};
  Option<bool> launches{
      *this, "launches", llvm::cl::init(false),
      llvm::cl::desc("Kernels are launched one after the other")};
};

/// A stage as these options make it.
struct NamedPipeline {
  StringRef from, to;
  Activations activations;
  bool profile, launches;
  StringRef text;

  bool follows(const Options &options) const {
    return activations == options.activations && profile == options.profile &&
           launches == options.launches;
  }
};
} // namespace

#define PIPELINE(from, to, activations, profile, launches, text)               \
  {from, to, Activations::activations, profile, launches, text},
static const NamedPipeline kPipelines[] = {
#include "tools/lumen-opt/NamedPipelines.inc"
};

static void addPasses(const NamedPipeline &pipeline, OpPassManager &manager) {
  // The build has run all of them.
  if (failed(parsePassPipeline(pipeline.text, manager)))
    llvm::reportFatalInternalError("a pipeline names a pass that is unknown");
}

void mlir::lumen::registerNamedPipelines() {
  std::set<std::pair<StringRef, StringRef>> stages;
  for (const NamedPipeline &each : kPipelines)
    stages.emplace(each.from, each.to);
  // A registration holds what its name and description refer to.
  for (auto [from, to] : stages) {
    std::string name = ("lumen-" + from + "-to-" + to).str();
    std::string description =
        ("From the form '" + from + "' to '" + to + "'").str();
    PassPipelineRegistration<Options>(
        name, description,
        [from = from, to = to](OpPassManager &manager, const Options &options) {
          for (const NamedPipeline &each : kPipelines)
            if (each.from == from && each.to == to && each.follows(options))
              addPasses(each, manager);
        });
  }
  PassPipelineRegistration<Options>(
      "lumen-compile", "All stages, from 'lumen' to what is translated",
      [](OpPassManager &manager, const Options &options) {
        for (const NamedPipeline &each : kPipelines)
          if (each.follows(options))
            addPasses(each, manager);
      });
}

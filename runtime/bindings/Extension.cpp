//===- Extension.cpp - The module lumen_mlir._mlir ------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Common.h"

#include <csignal>

using namespace mlir::lumen::python;

namespace {
volatile std::sig_atomic_t interrupted;

/// While it lives, SIGINT waits, in all threads: numpy may have some. nanobind
/// ends the process where Python raises an exception in the middle of its work.
class InterruptsHeld {
public:
  InterruptsHeld() {
    interrupted = 0;
    struct sigaction waiting = {};
    waiting.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &waiting, &before);
  }
  ~InterruptsHeld() {
    sigaction(SIGINT, &before, nullptr);
    if (interrupted)
      std::raise(SIGINT);
  }
  InterruptsHeld(const InterruptsHeld &) = delete;
  InterruptsHeld &operator=(const InterruptsHeld &) = delete;

private:
  struct sigaction before;
};
} // namespace

NB_MODULE(_mlir, m) {
  InterruptsHeld held;
  m.doc() = "Lumen's MLIR: IR, passes, code generation and execution.";
  nb::module_ ir = m.def_submodule("ir", "The IR, under MLIR's Python names.");
  bindDiagnostics(ir);
  bindContext(ir);
  bindTypes(ir);
  bindAttributes(ir);
  bindDenseElements(ir);
  bindOperationContainers(ir);
  bindOperations(ir);
  bindModule(ir);
  bindBlocks(ir);
  nb::module_ passes = m.def_submodule("passmanager", "Pass pipelines.");
  bindPassManager(passes);
  nb::module_ codegen = m.def_submodule("codegen", "Machine code.");
  bindCodeGen(codegen);
  nb::module_ team = m.def_submodule("team", "Threads for machine code.");
  bindThreadTeam(team);
  nb::module_ memory = m.def_submodule("memory", "Bytes of files.");
  bindMemory(memory);
  nb::module_ opt = m.def_submodule("opt", "The program lumen-opt.");
  bindOpt(opt);
  nb::module_ layout = m.def_submodule(
      "layout", "Where packed weights and KV caches have what.");
  bindLayout(layout);
  nb::module_ sampling = m.def_submodule("sampling", "Drawing tokens.");
  bindSampling(sampling);
}

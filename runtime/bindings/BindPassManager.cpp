//===- BindPassManager.cpp - PassManager ----------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Diagnostics.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Support/Timing.h"

using namespace mlir;
using namespace mlir::lumen::python;

namespace {
class PyPassManager {
public:
  PyPassManager(ContextRef context, const std::string &anchor)
      : context(std::move(context)), manager(&this->context->context, anchor) {}

  static std::unique_ptr<PyPassManager> parse(const std::string &pipeline,
                                              const ContextRef &context);
  void add(const std::string &pipeline);
  void run(const OpRef &handle);

  ContextRef context;
  PassManager manager;
  bool printsIR = false;
  DefaultTimingManager timing;
  std::optional<TimingScope> timingScope;
};
} // namespace

/// The message of a pipeline parser error, without the source line it echoes.
static StringRef firstMessage(StringRef errors) {
  size_t prefix = errors.find("error: ");
  if (prefix != StringRef::npos)
    errors = errors.drop_front(prefix + strlen("error: "));
  StringRef message = errors.trim().split('\n').first;
  message.consume_front("<Pass-Options-Parser>: ");
  return message.empty() ? "the text is not a pass pipeline" : message;
}

std::unique_ptr<PyPassManager> PyPassManager::parse(const std::string &pipeline,
                                                    const ContextRef &context) {
  CaptureDiagnostics capture(context);
  std::string errors;
  llvm::raw_string_ostream stream(errors);
  // The overload that fills an existing manager nests the pipeline inside it,
  // where it matches nothing.
  FailureOr<OpPassManager> parsed = parsePassPipeline(pipeline, stream);
  if (failed(parsed))
    capture.fail("unable to parse pass pipeline '" + pipeline +
                 "': " + firstMessage(errors));
  auto made =
      std::make_unique<PyPassManager>(context, parsed->getOpAnchorName().str());
  static_cast<OpPassManager &>(made->manager) = std::move(*parsed);
  return made;
}

void PyPassManager::add(const std::string &pipeline) {
  CaptureDiagnostics capture(context);
  std::string errors;
  llvm::raw_string_ostream stream(errors);
  if (failed(parsePassPipeline(pipeline, manager, stream)))
    capture.fail("unable to parse passes '" + pipeline +
                 "': " + firstMessage(errors));
}

void PyPassManager::run(const OpRef &handle) {
  checkSameContext(context, handle->getContext(), "operation");
  CaptureDiagnostics capture(context);
  Operation *op = handle->getOp();
  // Printing the IR around passes needs them to run one after the other.
  bool threaded = context->context.isMultithreadingEnabled();
  if (printsIR)
    context->setThreaded(false);
  LogicalResult result = failure();
  {
    OpHandle::Exclusive exclusive(handle);
    runCompiler(context, [&] { result = manager.run(op); });
  }
  context->setThreaded(threaded);
  if (timingScope) {
    timingScope->stop();
    timing.print();
    timing.clear();
    timingScope.emplace(timing.getRootScope());
  }
  capture.check(result, "pass pipeline failed");
}

static void enablePrinting(PyPassManager &self, bool beforeAll, bool afterAll,
                           bool moduleScope, bool afterChange,
                           bool afterFailure,
                           std::optional<int64_t> largeElementsLimit,
                           bool enableDebugInfo, bool genericForm,
                           std::optional<std::string> treeDirectory) {
  OpPrintingFlags flags;
  if (largeElementsLimit) {
    flags.elideLargeElementsAttrs(*largeElementsLimit);
    flags.elideLargeResourceString(*largeElementsLimit);
  }
  if (enableDebugInfo)
    flags.enableDebugInfo(true, /*prettyForm=*/true);
  flags.printGenericOpForm(genericForm);
  auto before = [=](Pass *, Operation *) { return beforeAll; };
  auto after = [=](Pass *, Operation *) { return afterAll; };
  self.printsIR = true;
  if (treeDirectory)
    self.manager.enableIRPrintingToFileTree(before, after, moduleScope,
                                            afterChange, afterFailure,
                                            *treeDirectory, flags);
  else
    self.manager.enableIRPrinting(before, after, moduleScope, afterChange,
                                  afterFailure, llvm::errs(), flags);
}

void mlir::lumen::python::bindPassManager(nb::module_ &m) {
  nb::class_<PyPassManager>(m, "PassManager",
                            "A pipeline of passes and what to do around them.")
      .def(
          "__init__",
          [](PyPassManager *self, const std::string &anchor,
             std::optional<PyIRContext> context) {
            new (self) PyPassManager(resolveContext(context), anchor);
          },
          nb::arg("anchor_op") = "any", nb::arg("context") = nb::none())
      .def_static(
          "parse",
          [](const std::string &pipeline, std::optional<PyIRContext> context) {
            return PyPassManager::parse(pipeline, resolveContext(context));
          },
          nb::arg("pipeline"), nb::arg("context") = nb::none(),
          "From text such as 'builtin.module(canonicalize,cse)'; raises "
          "MLIRError.")
      .def("add", &PyPassManager::add, nb::arg("pipeline"),
           "Appends passes such as 'canonicalize,cse'.")
      .def(
          "run",
          [](PyPassManager &self, const OpOrModule &op) {
            self.run(handleOf(op));
          },
          nb::arg("operation"),
          "Runs the passes, without Python's global lock. What was fetched "
          "from inside the "
          "operation before is invalid afterwards. Raises MLIRError with the "
          "passes' errors.")
      .def("enable_ir_printing", &enablePrinting,
           nb::arg("print_before_all") = false,
           nb::arg("print_after_all") = true,
           nb::arg("print_module_scope") = false,
           nb::arg("print_after_change") = false,
           nb::arg("print_after_failure") = false,
           nb::arg("large_elements_limit") = nb::none(),
           nb::arg("enable_debug_info") = false,
           nb::arg("print_generic_op_form") = false,
           nb::arg("tree_printing_dir_path") = nb::none(),
           "Prints the IR around passes to stderr, or to files of a folder.")
      .def(
          "enable_timing",
          [](PyPassManager &self) {
            if (self.timingScope)
              return;
            self.timing.setEnabled(true);
            self.timingScope.emplace(self.timing.getRootScope());
            self.manager.enableTiming(*self.timingScope);
          },
          "Prints after each run how long the passes took, to stderr.")
      .def(
          "enable_verifier",
          [](PyPassManager &self, bool enable) {
            self.manager.enableVerifier(enable);
          },
          nb::arg("enable"))
      .def("__str__", [](PyPassManager &self) {
        return printed([&](llvm::raw_ostream &os) {
          self.manager.printAsTextualPipeline(os);
        });
      });
}

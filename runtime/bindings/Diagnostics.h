//===- Diagnostics.h - MLIR diagnostics as Python exceptions ----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_BINDINGS_DIAGNOSTICS_H
#define LUMEN_RUNTIME_BINDINGS_DIAGNOSTICS_H

#include "runtime/bindings/Context.h"

#include "mlir/IR/Diagnostics.h"

namespace mlir::lumen::python {

/// One diagnostic, with its notes.
struct PyDiagnosticInfo {
  DiagnosticSeverity severity;
  PyLocation location;
  std::string message;
  std::vector<PyDiagnosticInfo> notes;
};

/// Becomes `lumen_mlir.errors.MLIRError` in Python.
struct MLIRError {
  std::string message;
  std::vector<PyDiagnosticInfo> diagnostics;
};

/// Serializes calls into a context and collects its errors meanwhile. Warnings
/// and remarks go on to the handlers set before.
class CaptureDiagnostics {
public:
  explicit CaptureDiagnostics(const ContextRef &context);
  ~CaptureDiagnostics();

  /// Throws the collected errors as one exception.
  [[noreturn]] void fail(const llvm::Twine &message);
  void check(LogicalResult result, const llvm::Twine &message) {
    if (failed(result))
      fail(message);
  }

private:
  PyDiagnosticInfo convert(Diagnostic &diagnostic) const;

  ContextLock lock;
  ContextRef context;
  std::vector<PyDiagnosticInfo> diagnostics;
  std::unique_ptr<ScopedDiagnosticHandler> handler;
};

} // namespace mlir::lumen::python

#endif // LUMEN_RUNTIME_BINDINGS_DIAGNOSTICS_H

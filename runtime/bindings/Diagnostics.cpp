//===- Diagnostics.cpp - MLIR diagnostics as Python exceptions ------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Diagnostics.h"

using namespace mlir;
using namespace mlir::lumen::python;

CaptureDiagnostics::CaptureDiagnostics(const ContextRef &context)
    : lock(context), context(context),
      handler(std::make_unique<ScopedDiagnosticHandler>(
          &context->context, [this](Diagnostic &diagnostic) {
            if (diagnostic.getSeverity() != DiagnosticSeverity::Error)
              return failure();
            diagnostics.push_back(convert(diagnostic));
            return success();
          })) {}

CaptureDiagnostics::~CaptureDiagnostics() {
  // A crash may have left the handlers locked.
  if (context->crash)
    (void)handler.release();
}

PyDiagnosticInfo CaptureDiagnostics::convert(Diagnostic &diagnostic) const {
  PyDiagnosticInfo info{diagnostic.getSeverity(),
                        PyLocation{context, diagnostic.getLocation()},
                        diagnostic.str(),
                        {}};
  for (Diagnostic &note : diagnostic.getNotes())
    info.notes.push_back(convert(note));
  return info;
}

void CaptureDiagnostics::fail(const llvm::Twine &message) {
  throw MLIRError{message.str(), std::move(diagnostics)};
}

/// Raises lumen_mlir.errors.MLIRError(message, diagnostics).
static void raiseMLIRError(const std::exception_ptr &pointer, void *) {
  try {
    std::rethrow_exception(pointer);
  } catch (const MLIRError &error) {
    nb::object type =
        nb::module_::import_("lumen_mlir.errors").attr("MLIRError");
    nb::list diagnostics;
    for (const PyDiagnosticInfo &diagnostic : error.diagnostics)
      diagnostics.append(nb::cast(diagnostic));
    PyErr_SetObject(type.ptr(), type(error.message, diagnostics).ptr());
  }
}

void mlir::lumen::python::bindDiagnostics(nb::module_ &m) {
  nb::register_exception_translator(raiseMLIRError);

  nb::enum_<DiagnosticSeverity>(m, "DiagnosticSeverity")
      .value("ERROR", DiagnosticSeverity::Error)
      .value("WARNING", DiagnosticSeverity::Warning)
      .value("NOTE", DiagnosticSeverity::Note)
      .value("REMARK", DiagnosticSeverity::Remark);

  nb::class_<PyDiagnosticInfo>(m, "DiagnosticInfo",
                               "One diagnostic and its notes.")
      .def_ro("severity", &PyDiagnosticInfo::severity)
      .def_ro("location", &PyDiagnosticInfo::location)
      .def_ro("message", &PyDiagnosticInfo::message)
      .def_ro("notes", &PyDiagnosticInfo::notes)
      .def("__str__", [](const PyDiagnosticInfo &info) {
        return printed(
                   [&](llvm::raw_ostream &os) { os << info.location.loc; }) +
               ": " + info.message;
      });
}

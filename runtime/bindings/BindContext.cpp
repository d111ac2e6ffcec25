//===- BindContext.cpp - Context, Location --------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Diagnostics.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::lumen::python;

static void bindContextClass(nb::module_ &m) {
  nb::class_<PyIRContext>(
      m, "Context",
      "Owns types, attributes and operations. One context serves one parse, "
      "verification or pass run at a time; several contexts work in parallel.")
      .def("__init__",
           [](PyIRContext *self) {
             new (self) PyIRContext{std::make_shared<ContextState>()};
           })
      .def_prop_ro_static(
          "current",
          [](nb::handle) -> std::optional<PyIRContext> {
            if (frames().empty())
              return std::nullopt;
            return PyIRContext{frames().back().context};
          },
          "The context of the innermost 'with', or None.")
      .def("__enter__",
           [](nb::object self) {
             pushFrame({nb::cast<PyIRContext &>(self).ref, std::nullopt,
                        std::nullopt});
             return self;
           })
      .def("__exit__", [](PyIRContext &self, nb::args) { popFrame(self.ref); })
      .def_prop_rw(
          "allow_unregistered_dialects",
          [](PyIRContext &self) { return self->allowsUnregisteredDialects(); },
          [](PyIRContext &self, bool allow) {
            self->allowUnregisteredDialects(allow);
          })
      .def("enable_multithreading",
           [](PyIRContext &self, bool enable) {
             ContextLock lock(self.ref);
             self.ref->setThreaded(enable);
           })
      .def("is_registered_operation",
           [](PyIRContext &self, const std::string &name) {
             ContextLock lock(self.ref);
             self->getOrLoadDialect(StringRef(name).split('.').first);
             return self->isOperationRegistered(name);
           })
      .def_prop_ro("available_dialects",
                   [](PyIRContext &self) {
                     std::vector<std::string> names;
                     for (StringRef name : self->getAvailableDialects())
                       names.push_back(name.str());
                     return names;
                   })
      .def(
          "__eq__",
          [](PyIRContext &a, PyIRContext &b) { return a.ref == b.ref; },
          nb::is_operator())
      .def("__hash__",
           [](PyIRContext &self) { return size_t(self.ref.get()); });
}

static void bindLocationClass(nb::module_ &m) {
  const auto context = nb::arg("context") = nb::none();
  nb::class_<PyLocation>(m, "Location", "Where an operation comes from.")
      .def_static(
          "unknown",
          [](std::optional<PyIRContext> context) {
            ContextRef ref = resolveContext(context);
            return PyLocation{ref, UnknownLoc::get(&ref->context)};
          },
          context)
      .def_static(
          "file",
          [](std::string_view file, unsigned line, unsigned col,
             std::optional<PyIRContext> context) {
            ContextRef ref = resolveContext(context);
            return PyLocation{ref, FileLineColLoc::get(&ref->context,
                                                       toRef(file), line, col)};
          },
          nb::arg("filename"), nb::arg("line"), nb::arg("col"), context)
      .def_static(
          "name",
          [](std::string_view name, std::optional<PyLocation> child,
             std::optional<PyIRContext> context) {
            ContextRef ref =
                child && !context ? child->context : resolveContext(context);
            auto text = StringAttr::get(&ref->context, toRef(name));
            return PyLocation{ref, child ? NameLoc::get(text, child->loc)
                                         : NameLoc::get(text)};
          },
          nb::arg("name"), nb::arg("childLoc") = nb::none(), context)
      .def_static(
          "fused",
          [](const std::vector<PyLocation> &locations,
             std::optional<PyIRContext> context) {
            ContextRef ref = resolveContext(context);
            SmallVector<Location> locs;
            for (const PyLocation &location : locations) {
              checkSameContext(ref, location.context, "location");
              locs.push_back(location.loc);
            }
            return PyLocation{ref, FusedLoc::get(&ref->context, locs)};
          },
          nb::arg("locations"), context)
      .def_static(
          "callsite",
          [](const PyLocation &callee, const PyLocation &caller) {
            checkSameContext(callee.context, caller.context,
                             "caller's location");
            return PyLocation{callee.context,
                              CallSiteLoc::get(callee.loc, caller.loc)};
          },
          nb::arg("callee"), nb::arg("caller"))
      .def_prop_ro_static("current",
                          [](nb::handle) -> std::optional<PyLocation> {
                            for (const Frame &frame : llvm::reverse(frames()))
                              if (frame.location)
                                return frame.location;
                            return std::nullopt;
                          })
      .def("__enter__",
           [](nb::object self) {
             auto &location = nb::cast<PyLocation &>(self);
             pushFrame({location.context, location, std::nullopt});
             return self;
           })
      .def("__exit__",
           [](PyLocation &self, nb::args) { popFrame(self.context); })
      .def_prop_ro("context",
                   [](PyLocation &self) { return PyIRContext{self.context}; })
      .def_prop_ro(
          "filename",
          [](PyLocation &self) -> std::optional<std::string> {
            auto file = self.loc->findInstanceOf<FileLineColLoc>();
            if (!file)
              return std::nullopt;
            return file.getFilename().str();
          },
          "The file of the first file location inside, or None.")
      .def_prop_ro("line",
                   [](PyLocation &self) -> std::optional<unsigned> {
                     auto file = self.loc->findInstanceOf<FileLineColLoc>();
                     return file ? std::optional<unsigned>(file.getLine())
                                 : std::nullopt;
                   })
      .def(
          "__eq__", [](PyLocation &a, PyLocation &b) { return a.loc == b.loc; },
          nb::is_operator())
      .def("__hash__",
           [](PyLocation &self) { return size_t(hash_value(self.loc)); })
      .def("__str__", [](PyLocation &self) { return printedForm(self.loc); })
      .def("__repr__", [](PyLocation &self) { return printedForm(self.loc); });
}

void mlir::lumen::python::bindContext(nb::module_ &m) {
  bindContextClass(m);
  bindLocationClass(m);
}

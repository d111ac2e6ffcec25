//===- Operations.h - Operations seen from Python ---------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_BINDINGS_OPERATIONS_H
#define LUMEN_RUNTIME_BINDINGS_OPERATIONS_H

#include "runtime/bindings/Attributes.h"

namespace mlir::lumen::python {

/// Python's Operation.create.
PyOperation createOperation(
    const std::string &name, std::optional<std::vector<PyType>> results,
    std::optional<std::vector<PyValue>> operands,
    std::optional<std::unordered_map<std::string, PyAttribute>> attributes,
    std::optional<std::vector<PyBlock>> successors, unsigned regions,
    std::optional<PyLocation> loc, nb::object ip, bool inferType);

/// Shows a detached operation and inserts it at `ip`: None stands for the
/// current insertion point, False for none.
PyOperation place(const ContextRef &context, Operation *op, nb::handle ip);

/// Parses one operation of any kind.
PyOperation parseOperation(const std::string &source, const std::string &name,
                           const std::optional<PyIRContext> &context);

/// The IR as text.
std::string getAsm(const OpRef &handle,
                   std::optional<int64_t> largeElementsLimit = {},
                   bool enableDebugInfo = false, bool prettyDebugInfo = false,
                   bool genericForm = false, bool localScope = false,
                   bool assumeVerified = false, bool skipRegions = false);

/// OpOperandList and OpAttributeMap: an operation's operands and attributes as
/// Python containers.
struct OperandList {
  PyOperation op;
};
struct AttributeMap {
  PyOperation op;
};

/// What Operation and Module share: text, comparison, context.
template <typename T> void bindPrinting(nb::class_<T> &cls) {
  cls.def(
         "get_asm",
         [](T &self, std::optional<int64_t> largeElementsLimit,
            bool enableDebugInfo, bool prettyDebugInfo, bool genericForm,
            bool localScope, bool assumeVerified, bool skipRegions) {
           return getAsm(self.handle, largeElementsLimit, enableDebugInfo,
                         prettyDebugInfo, genericForm, localScope,
                         assumeVerified, skipRegions);
         },
         nb::kw_only(), nb::arg("large_elements_limit") = nb::none(),
         nb::arg("enable_debug_info") = false,
         nb::arg("pretty_debug_info") = false,
         nb::arg("print_generic_op_form") = false,
         nb::arg("use_local_scope") = false, nb::arg("assume_verified") = false,
         nb::arg("skip_regions") = false,
         "The IR as text. Constants of more than `large_elements_limit` "
         "elements are elided.")
      .def("__str__", [](T &self) { return getAsm(self.handle); })
      .def(
          "__eq__", [](T &a, T &b) { return a.handle == b.handle; },
          nb::is_operator())
      .def("__hash__", [](T &self) { return size_t(self.handle.get()); })
      .def_prop_ro("context", [](T &self) {
        return PyIRContext{self.handle->getContext()};
      });
}

} // namespace mlir::lumen::python

#endif // LUMEN_RUNTIME_BINDINGS_OPERATIONS_H

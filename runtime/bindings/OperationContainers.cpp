//===- OperationContainers.cpp - Operands and attributes ------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Operations.h"

using namespace mlir;
using namespace mlir::lumen::python;

/// The place in the operand list that a Python index means.
static unsigned at(const OperandList &self, int64_t index) {
  return checkedIndex(index, self.op.get()->getNumOperands());
}

static void bindOperandList(nb::module_ &m) {
  nb::class_<OperandList>(m, "OpOperandList",
                          "The operands of an operation; assignable.")
      .def("__len__",
           [](OperandList &self) { return self.op.get()->getNumOperands(); })
      .def("__getitem__",
           [](OperandList &self, int64_t i) {
             return wrapValue(self.op.context(),
                              self.op.get()->getOperand(at(self, i)));
           })
      .def("__setitem__",
           [](OperandList &self, int64_t i, const PyValue &value) {
             checkSameContext(self.op.context(), value.context(), "operand");
             self.op.get()->setOperand(at(self, i), value.get());
           });
}

static void bindAttributeMap(nb::module_ &m) {
  auto names = [](AttributeMap &self) {
    std::vector<std::string> names;
    for (NamedAttribute named : self.op.get()->getAttrDictionary())
      names.push_back(named.getName().str());
    return names;
  };
  nb::class_<AttributeMap>(m, "OpAttributeMap",
                           "The attributes of an operation by name.")
      .def("__len__",
           [](AttributeMap &self) {
             return self.op.get()->getAttrDictionary().size();
           })
      .def("__contains__",
           [](AttributeMap &self, std::string_view name) {
             return bool(self.op.get()->getAttr(toRef(name)));
           })
      .def("__getitem__",
           [](AttributeMap &self, std::string_view name) {
             Attribute attribute = self.op.get()->getAttr(toRef(name));
             if (!attribute)
               throw nb::key_error(std::string(name).c_str());
             return wrap(self.op.context(), attribute);
           })
      .def(
          "get",
          [](AttributeMap &self, std::string_view name,
             nb::object fallback) -> nb::object {
            Attribute attribute = self.op.get()->getAttr(toRef(name));
            return attribute ? wrap(self.op.context(), attribute) : fallback;
          },
          nb::arg("name"), nb::arg("default") = nb::none())
      .def("__setitem__",
           [](AttributeMap &self, std::string_view name,
              const PyAttribute &attribute) {
             checkSameContext(self.op.context(), attribute.context,
                              "attribute");
             self.op.get()->setAttr(toRef(name), attribute.value);
           })
      .def("__delitem__",
           [](AttributeMap &self, std::string_view name) {
             if (!self.op.get()->removeAttr(toRef(name)))
               throw nb::key_error(std::string(name).c_str());
           })
      .def("keys", names)
      .def("values",
           [](AttributeMap &self) {
             nb::list values;
             for (NamedAttribute named : self.op.get()->getAttrDictionary())
               values.append(wrap(self.op.context(), named.getValue()));
             return values;
           })
      .def("items",
           [](AttributeMap &self) {
             nb::list items;
             for (NamedAttribute named : self.op.get()->getAttrDictionary())
               items.append(
                   nb::make_tuple(named.getName().str(),
                                  wrap(self.op.context(), named.getValue())));
             return items;
           })
      .def("__iter__",
           [](nb::object self) { return nb::iter(self.attr("keys")()); });
}

void mlir::lumen::python::bindOperationContainers(nb::module_ &m) {
  bindOperandList(m);
  bindAttributeMap(m);
}

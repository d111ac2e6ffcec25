//===- BindAttributes.cpp - Attribute and its builtin subclasses ----------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Attributes.h"
#include "runtime/bindings/ParseLimits.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/SmallString.h"

using namespace mlir;
using namespace mlir::lumen::python;

using AttributeObject = nb::typed<nb::object, PyAttribute>;
using OptionalContext = std::optional<PyIRContext>;

static void bindAttributeRoot(nb::module_ &m) {
  auto cls = nb::class_<PyAttribute>(
      m, "Attribute", "An MLIR attribute; subclasses exist for builtin ones.");
  bindRoot(cls);
  cls.def_static(
         "parse",
         [](const std::string &text,
            OptionalContext context) -> AttributeObject {
           ContextRef ref = resolveContext(context);
           CaptureDiagnostics capture(ref);
           if (std::string problem = checkNesting(text); !problem.empty())
             capture.fail("unable to parse attribute: " + problem);
           Attribute attribute;
           runCompilerHere(
               ref, [&] { attribute = parseAttribute(text, &ref->context); });
           if (!attribute)
             capture.fail("unable to parse attribute: '" + text + "'");
           return wrap(ref, attribute);
         },
         nb::arg("asm"), nb::arg("context") = nb::none(),
         "Parses an attribute; raises MLIRError.")
      .def_prop_ro(
          "type",
          [](PyAttribute &self) {
            auto typed = dyn_cast<TypedAttr>(self.value);
            return wrap(self.context, typed ? typed.getType() : Type());
          },
          "The type of a typed attribute, else None.")
      .def("__repr__", [](PyAttribute &self) {
        return "Attribute(" + printedForm(self.value) + ")";
      });
}

static void bindNumbers(nb::module_ &m) {
  using Integer = Concrete<IntegerAttr, PyAttribute>;
  BindConcrete<IntegerAttr, PyAttribute>(m, "IntegerAttr")
      .def_static(
          "get",
          [](const PyType &type, int64_t value) -> AttributeObject {
            if (!type.value.isIntOrIndex())
              throw nb::value_error(
                  ("IntegerAttr takes an integer or index type, not " +
                   printedForm(type.value))
                      .c_str());
            unsigned width = isa<IndexType>(type.value)
                                 ? IndexType::kInternalStorageBitWidth
                                 : type.value.getIntOrFloatBitWidth();
            bool isSigned = !type.value.isUnsignedInteger();
            APInt bits(width, value, isSigned, /*implicitTrunc=*/true);
            return wrap(type.context, IntegerAttr::get(type.value, bits));
          },
          nb::arg("type"), nb::arg("value"))
      .def_prop_ro(
          "value",
          [](Integer &self) -> nb::object {
            APInt value = self.impl().getValue();
            bool isSigned = !self.impl().getType().isUnsignedInteger();
            // Digits of other bases take time that grows with their square.
            constexpr unsigned kBase = 16;
            SmallString<32> text;
            value.toString(text, kBase, isSigned);
            return nb::steal(PyLong_FromString(text.c_str(), nullptr, kBase));
          },
          "The number; signless types count as signed.")
      .def("__int__", [](nb::object self) { return self.attr("value"); });

  BindConcrete<BoolAttr, PyAttribute>(m, "BoolAttr")
      .def_static(
          "get",
          [](bool value, OptionalContext context) -> AttributeObject {
            ContextRef ref = resolveContext(context);
            return wrap(ref, BoolAttr::get(&ref->context, value));
          },
          nb::arg("value"), nb::arg("context") = nb::none())
      .def_prop_ro("value",
                   [](Concrete<BoolAttr, PyAttribute> &self) {
                     return self.impl().getValue();
                   })
      .def("__bool__", [](Concrete<BoolAttr, PyAttribute> &self) {
        return self.impl().getValue();
      });

  // `true` and `false` are integer attributes of type i1.
  registerWrap<Attribute>(
      IntegerAttr::getTypeID(),
      [](const ContextRef &context, Attribute attribute) -> nb::object {
        if (isa<BoolAttr>(attribute))
          return BindConcrete<BoolAttr, PyAttribute>::wrapSelf(context,
                                                               attribute);
        return BindConcrete<IntegerAttr, PyAttribute>::wrapSelf(context,
                                                                attribute);
      });

  BindConcrete<FloatAttr, PyAttribute>(m, "FloatAttr")
      .def_static(
          "get",
          [](const PyType &type, double value) -> AttributeObject {
            if (!isa<FloatType>(type.value))
              throw nb::value_error(("FloatAttr takes a float type, not " +
                                     printedForm(type.value))
                                        .c_str());
            return wrap(type.context, FloatAttr::get(type.value, value));
          },
          nb::arg("type"), nb::arg("value"))
      .def_static(
          "get_f32",
          [](double value, OptionalContext context) -> AttributeObject {
            ContextRef ref = resolveContext(context);
            return wrap(ref, Builder(&ref->context).getF32FloatAttr(value));
          },
          nb::arg("value"), nb::arg("context") = nb::none())
      .def_prop_ro("value",
                   [](Concrete<FloatAttr, PyAttribute> &self) {
                     return self.impl().getValueAsDouble();
                   })
      .def("__float__", [](Concrete<FloatAttr, PyAttribute> &self) {
        return self.impl().getValueAsDouble();
      });
}

static void bindNames(nb::module_ &m) {
  const auto context = nb::arg("context") = nb::none();
  BindConcrete<StringAttr, PyAttribute>(m, "StringAttr")
      .def_static(
          "get",
          [](std::string_view value,
             OptionalContext context) -> AttributeObject {
            ContextRef ref = resolveContext(context);
            return wrap(ref, StringAttr::get(&ref->context, toRef(value)));
          },
          nb::arg("value"), context)
      .def_prop_ro("value", [](Concrete<StringAttr, PyAttribute> &self) {
        return self.impl().getValue().str();
      });

  BindConcrete<SymbolRefAttr, PyAttribute>(m, "SymbolRefAttr")
      .def_static(
          "get",
          [](const std::vector<std::string> &path,
             OptionalContext context) -> AttributeObject {
            if (path.empty())
              throw nb::value_error(
                  "a symbol reference needs at least one name");
            ContextRef ref = resolveContext(context);
            SmallVector<FlatSymbolRefAttr> nested;
            for (const std::string &name : llvm::drop_begin(path))
              nested.push_back(FlatSymbolRefAttr::get(&ref->context, name));
            auto root = StringAttr::get(&ref->context, path.front());
            return wrap(ref, SymbolRefAttr::get(root, nested));
          },
          nb::arg("symbols"), context)
      .def_prop_ro("value", [](Concrete<SymbolRefAttr, PyAttribute> &self) {
        std::vector<std::string> path{self.impl().getRootReference().str()};
        for (FlatSymbolRefAttr nested : self.impl().getNestedReferences())
          path.push_back(nested.getValue().str());
        return path;
      });
  BindConcrete<FlatSymbolRefAttr, PyAttribute>(m, "FlatSymbolRefAttr")
      .def_static(
          "get",
          [](std::string_view value,
             OptionalContext context) -> AttributeObject {
            ContextRef ref = resolveContext(context);
            return wrap(ref,
                        FlatSymbolRefAttr::get(&ref->context, toRef(value)));
          },
          nb::arg("value"), context)
      .def_prop_ro("value", [](Concrete<FlatSymbolRefAttr, PyAttribute> &self) {
        return self.impl().getValue().str();
      });
  registerWrap<Attribute>(
      SymbolRefAttr::getTypeID(),
      [](const ContextRef &context, Attribute attribute) -> nb::object {
        if (isa<FlatSymbolRefAttr>(attribute))
          return BindConcrete<FlatSymbolRefAttr, PyAttribute>::wrapSelf(
              context, attribute);
        return BindConcrete<SymbolRefAttr, PyAttribute>::wrapSelf(context,
                                                                  attribute);
      });

  BindConcrete<TypeAttr, PyAttribute>(m, "TypeAttr")
      .def_static(
          "get",
          [](const PyType &value) -> AttributeObject {
            return wrap(value.context, TypeAttr::get(value.value));
          },
          nb::arg("value"))
      .def_prop_ro("value", [](Concrete<TypeAttr, PyAttribute> &self) {
        return wrap(self.context, self.impl().getValue());
      });
  BindConcrete<UnitAttr, PyAttribute>(m, "UnitAttr")
      .def_static(
          "get",
          [](OptionalContext context) -> AttributeObject {
            ContextRef ref = resolveContext(context);
            return wrap(ref, UnitAttr::get(&ref->context));
          },
          context);
}

static void bindContainers(nb::module_ &m) {
  const auto context = nb::arg("context") = nb::none();
  using Array = Concrete<ArrayAttr, PyAttribute>;
  BindConcrete<ArrayAttr, PyAttribute>(m, "ArrayAttr")
      .def_static(
          "get",
          [](const std::vector<PyAttribute> &items,
             OptionalContext context) -> AttributeObject {
            ContextRef ref = contextOf(context, items);
            return wrap(ref,
                        ArrayAttr::get(&ref->context,
                                       unwrapAll(ref, items, "attribute")));
          },
          nb::arg("attributes"), context)
      .def("__len__", [](Array &self) { return self.impl().size(); })
      .def("__getitem__", [](Array &self, int64_t index) {
        return wrap(self.context,
                    self.impl()[checkedIndex(index, self.impl().size())]);
      });

  using Dict = Concrete<DictionaryAttr, PyAttribute>;
  BindConcrete<DictionaryAttr, PyAttribute>(m, "DictAttr")
      .def_static(
          "get",
          [](const std::unordered_map<std::string, PyAttribute> &items,
             OptionalContext context) -> AttributeObject {
            ContextRef ref = context || items.empty()
                                 ? resolveContext(context)
                                 : items.begin()->second.context;
            SmallVector<NamedAttribute> named;
            for (const auto &[name, attribute] : items) {
              checkSameContext(ref, attribute.context, "attribute");
              named.emplace_back(StringAttr::get(&ref->context, name),
                                 attribute.value);
            }
            return wrap(ref, DictionaryAttr::get(&ref->context, named));
          },
          nb::arg("value"), context)
      .def("__len__", [](Dict &self) { return self.impl().size(); })
      .def("__contains__",
           [](Dict &self, std::string_view name) {
             return self.impl().contains(toRef(name));
           })
      .def("__getitem__",
           [](Dict &self, std::string_view name) {
             Attribute attribute = self.impl().get(toRef(name));
             if (!attribute)
               throw nb::key_error(std::string(name).c_str());
             return wrap(self.context, attribute);
           })
      .def("keys",
           [](Dict &self) {
             std::vector<std::string> names;
             for (NamedAttribute named : self.impl())
               names.push_back(named.getName().str());
             return names;
           })
      .def("__iter__",
           [](nb::object self) { return nb::iter(self.attr("keys")()); });
}

/// `array<i32: ...>` and its kin.
template <typename Impl, typename T>
static void bindDenseArray(nb::module_ &m, const char *name) {
  using Self = Concrete<Impl, PyAttribute>;
  BindConcrete<Impl, PyAttribute>(m, name)
      .def_static(
          "get",
          [](const std::vector<T> &values,
             OptionalContext context) -> AttributeObject {
            ContextRef ref = resolveContext(context);
            return wrap(ref, Impl::get(&ref->context, values));
          },
          nb::arg("values"), nb::arg("context") = nb::none())
      .def("__len__", [](Self &self) { return self.impl().size(); })
      .def("__getitem__", [](Self &self, int64_t index) {
        return self.impl()[checkedIndex(index, self.impl().size())];
      });
}

template <typename... Impl>
static nb::object wrapFirstOf(const ContextRef &context, Attribute attribute) {
  nb::object found;
  (void)((isa<Impl>(attribute) &&
          (found =
               BindConcrete<Impl, PyAttribute>::wrapSelf(context, attribute),
           true)) ||
         ...);
  return found ? found : nb::cast(PyAttribute{context, attribute});
}

static void bindDenseArrays(nb::module_ &m) {
  bindDenseArray<DenseI8ArrayAttr, int8_t>(m, "DenseI8ArrayAttr");
  bindDenseArray<DenseI32ArrayAttr, int32_t>(m, "DenseI32ArrayAttr");
  bindDenseArray<DenseI64ArrayAttr, int64_t>(m, "DenseI64ArrayAttr");
  bindDenseArray<DenseF32ArrayAttr, float>(m, "DenseF32ArrayAttr");
  registerWrap<Attribute>(DenseArrayAttr::getTypeID(),
                          wrapFirstOf<DenseI8ArrayAttr, DenseI32ArrayAttr,
                                      DenseI64ArrayAttr, DenseF32ArrayAttr>);
}

void mlir::lumen::python::bindAttributes(nb::module_ &m) {
  bindAttributeRoot(m);
  bindNumbers(m);
  bindNames(m);
  bindContainers(m);
  bindDenseArrays(m);
}

//===- Attributes.h - Types and attributes seen from Python -----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_BINDINGS_ATTRIBUTES_H
#define LUMEN_RUNTIME_BINDINGS_ATTRIBUTES_H

#include "runtime/bindings/Diagnostics.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"

namespace mlir::lumen::python {

struct PyType {
  ContextRef context;
  Type value;
};
struct PyShapedType : PyType {};
struct PyFloatType : PyType {};

struct PyAttribute {
  ContextRef context;
  Attribute value;
};

/// The C++ type behind the Python class of the MLIR type or attribute `Impl`.
template <typename Impl, typename Base> struct Concrete : Base {
  Impl impl() const { return cast<Impl>(this->value); }
};

template <typename Value>
using WrapFunction = nb::object (*)(const ContextRef &, Value);

/// By the TypeID of a type or attribute, what makes an object of its class.
template <typename Value>
llvm::DenseMap<TypeID, WrapFunction<Value>> &wrapFunctions() {
  static llvm::DenseMap<TypeID, WrapFunction<Value>> map;
  return map;
}

/// Lets wrap() return the class registered for this TypeID.
template <typename Value>
void registerWrap(TypeID id, WrapFunction<Value> function) {
  wrapFunctions<Value>()[id] = function;
}

template <typename Root>
nb::typed<nb::object, Root> wrapAs(const ContextRef &context,
                                   decltype(Root::value) value) {
  if (!value)
    return nb::none();
  auto &functions = wrapFunctions<decltype(Root::value)>();
  if (auto function = functions.lookup(value.getTypeID()))
    return function(context, value);
  return nb::cast(Root{context, value});
}

/// The Python object of a type or attribute, of its most specific class.
inline auto wrap(const ContextRef &context, Type type) {
  return wrapAs<PyType>(context, type);
}
inline auto wrap(const ContextRef &context, Attribute attribute) {
  return wrapAs<PyAttribute>(context, attribute);
}

/// Declares the Python class of an MLIR type or attribute: the cast from the
/// base class, isinstance, and wrap(). Where one kind of attribute has several
/// Python classes, a chooser is registered for it afterwards.
template <typename Impl, typename Base>
class BindConcrete : public nb::class_<Concrete<Impl, Base>, Base> {
public:
  using Self = Concrete<Impl, Base>;
  using Root =
      std::conditional_t<std::is_base_of_v<PyType, Base>, PyType, PyAttribute>;
  using Value = decltype(Root::value);

  BindConcrete(nb::module_ &m, const char *name, const char *doc = "")
      : nb::class_<Self, Base>(m, name, doc) {
    std::string className = name;
    this->def("__init__", [className](Self *self, const Root &other) {
      if (!isa<Impl>(other.value))
        throw nb::value_error(
            ("cannot cast " + printedForm(other.value) + " to " + className)
                .c_str());
      Self made;
      made.context = other.context;
      made.value = other.value;
      new (self) Self(made);
    });
    this->def_static("isinstance",
                     [](const Root &other) { return isa<Impl>(other.value); });
    // Classes that narrow another one (BoolAttr) have no kind of their own.
    if constexpr (std::is_same_v<decltype(&Impl::getTypeID), TypeID (*)()>)
      registerWrap<Value>(Impl::getTypeID(), &BindConcrete::wrapSelf);
  }

  static nb::object wrapSelf(const ContextRef &context, Value value) {
    Self made;
    made.context = context;
    made.value = value;
    return nb::cast(made);
  }
};

/// The base class's own methods: printing, comparison, context.
template <typename Root> void bindRoot(nb::class_<Root> &cls) {
  cls.def_prop_ro("context",
                  [](Root &self) { return PyIRContext{self.context}; })
      .def(
          "__eq__", [](Root &a, Root &b) { return a.value == b.value; },
          nb::is_operator())
      .def("__hash__",
           [](Root &self) { return size_t(hash_value(self.value)); })
      .def("__str__", [](Root &self) { return printedForm(self.value); });
}

/// Values of a list of wrapped objects, all of the same context.
template <typename Root>
auto unwrapAll(const ContextRef &context, const std::vector<Root> &list,
               const char *what) {
  SmallVector<decltype(Root::value)> values;
  for (const Root &item : list) {
    checkSameContext(context, item.context, what);
    values.push_back(item.value);
  }
  return values;
}

/// The given context, else that of the first item, else the default one.
template <typename Root>
ContextRef contextOf(const std::optional<PyIRContext> &context,
                     const std::vector<Root> &list) {
  return context || list.empty() ? resolveContext(context)
                                 : list.front().context;
}

/// The number of elements of a type of static shape; throws where 64 bits do
/// not hold their bytes.
inline int64_t countElements(ShapedType type) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 16;
  int64_t count = 1;
  for (int64_t size : type.getShape()) {
    if (size && count > kMost / size)
      throw nb::value_error(
          (printedForm(Type(type)) + " has more elements than can be counted")
              .c_str());
    count *= size;
  }
  return count;
}

/// How getChecked reports: at the given or default location.
inline auto emitErrorAt(Location loc) {
  return [loc] { return emitError(loc); };
}

} // namespace mlir::lumen::python

#endif // LUMEN_RUNTIME_BINDINGS_ATTRIBUTES_H

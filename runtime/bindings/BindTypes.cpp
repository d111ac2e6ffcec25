//===- BindTypes.cpp - Type and its builtin subclasses --------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Attributes.h"
#include "runtime/bindings/ParseLimits.h"

#include "mlir/AsmParser/AsmParser.h"

using namespace mlir;
using namespace mlir::lumen::python;

using TypeObject = nb::typed<nb::object, PyType>;
using OptionalContext = std::optional<PyIRContext>;
using OptionalLocation = std::optional<PyLocation>;

static void bindTypeRoot(nb::module_ &m) {
  auto cls = nb::class_<PyType>(
      m, "Type", "An MLIR type; subclasses exist for builtin types.");
  bindRoot(cls);
  cls.def_static(
         "parse",
         [](const std::string &text, OptionalContext context) -> TypeObject {
           ContextRef ref = resolveContext(context);
           CaptureDiagnostics capture(ref);
           if (std::string problem = checkNesting(text); !problem.empty())
             capture.fail("unable to parse type: " + problem);
           Type type;
           runCompilerHere(ref, [&] { type = parseType(text, &ref->context); });
           if (!type)
             capture.fail("unable to parse type: '" + text + "'");
           return wrap(ref, type);
         },
         nb::arg("asm"), nb::arg("context") = nb::none(),
         "Parses a type; raises MLIRError.")
      .def("__repr__", [](PyType &self) {
        return "Type(" + printedForm(self.value) + ")";
      });
}

/// A type with no parameters.
template <typename Impl, typename Base>
static void bindPlain(nb::module_ &m, const char *name) {
  BindConcrete<Impl, Base>(m, name).def_static(
      "get",
      [](OptionalContext context) -> TypeObject {
        ContextRef ref = resolveContext(context);
        return wrap(ref, Impl::get(&ref->context));
      },
      nb::arg("context") = nb::none());
}

static void bindScalars(nb::module_ &m) {
  using Signedness = IntegerType::SignednessSemantics;
  auto make = [](Signedness signedness) {
    return [signedness](unsigned width, OptionalContext context) -> TypeObject {
      ContextRef ref = resolveContext(context);
      if (width > IntegerType::kMaxWidth)
        throw nb::value_error("an integer type has at most 2^24 - 1 bits");
      return wrap(ref, IntegerType::get(&ref->context, width, signedness));
    };
  };
  const auto context = nb::arg("context") = nb::none();
  auto integer = BindConcrete<IntegerType, PyType>(m, "IntegerType");
  integer
      .def_static("get_signless", make(Signedness::Signless), nb::arg("width"),
                  context)
      .def_static("get_signed", make(Signedness::Signed), nb::arg("width"),
                  context)
      .def_static("get_unsigned", make(Signedness::Unsigned), nb::arg("width"),
                  context)
      .def_prop_ro("width",
                   [](Concrete<IntegerType, PyType> &self) {
                     return self.impl().getWidth();
                   })
      .def_prop_ro("is_signless",
                   [](Concrete<IntegerType, PyType> &self) {
                     return self.impl().isSignless();
                   })
      .def_prop_ro("is_signed",
                   [](Concrete<IntegerType, PyType> &self) {
                     return self.impl().isSigned();
                   })
      .def_prop_ro("is_unsigned", [](Concrete<IntegerType, PyType> &self) {
        return self.impl().isUnsigned();
      });
  bindPlain<IndexType, PyType>(m, "IndexType");
  bindPlain<NoneType, PyType>(m, "NoneType");

  nb::class_<PyFloatType, PyType>(m, "FloatType")
      .def_static("isinstance",
                  [](PyType &other) { return isa<FloatType>(other.value); })
      .def_prop_ro("width", [](PyFloatType &self) {
        return cast<FloatType>(self.value).getWidth();
      });
  bindPlain<Float16Type, PyFloatType>(m, "F16Type");
  bindPlain<BFloat16Type, PyFloatType>(m, "BF16Type");
  bindPlain<Float32Type, PyFloatType>(m, "F32Type");
  bindPlain<Float64Type, PyFloatType>(m, "F64Type");
  bindPlain<Float4E2M1FNType, PyFloatType>(m, "Float4E2M1FNType");
  bindPlain<Float8E4M3FNType, PyFloatType>(m, "Float8E4M3FNType");
  bindPlain<Float8E5M2Type, PyFloatType>(m, "Float8E5M2Type");
  bindPlain<Float8E8M0FNUType, PyFloatType>(m, "Float8E8M0FNUType");
}

static ShapedType ranked(const PyShapedType &self) {
  auto type = cast<ShapedType>(self.value);
  if (!type.hasRank())
    throw nb::value_error(
        ("type has no rank: " + printedForm(self.value)).c_str());
  return type;
}

static int64_t dimension(const PyShapedType &self, unsigned dim) {
  ShapedType type = ranked(self);
  if (dim >= type.getRank())
    throw nb::index_error(("dimension " + std::to_string(dim) +
                           " of a type of rank " +
                           std::to_string(type.getRank()))
                              .c_str());
  return type.getDimSize(dim);
}

static void bindShapedRoot(nb::module_ &m) {
  nb::class_<PyShapedType, PyType>(m, "ShapedType",
                                   "Vector, tensor or memref type.")
      .def_static("isinstance",
                  [](PyType &other) { return isa<ShapedType>(other.value); })
      .def_static(
          "get_dynamic_size", [] { return ShapedType::kDynamic; },
          "The number that stands for '?' in a shape.")
      .def_static(
          "is_dynamic_size",
          [](int64_t size) { return ShapedType::isDynamic(size); },
          nb::arg("dim_size"))
      .def_prop_ro("element_type",
                   [](PyShapedType &self) {
                     return wrap(self.context,
                                 cast<ShapedType>(self.value).getElementType());
                   })
      .def_prop_ro("has_rank",
                   [](PyShapedType &self) {
                     return cast<ShapedType>(self.value).hasRank();
                   })
      .def_prop_ro("rank",
                   [](PyShapedType &self) { return ranked(self).getRank(); })
      .def_prop_ro(
          "shape",
          [](PyShapedType &self) {
            ArrayRef<int64_t> shape = ranked(self).getShape();
            return std::vector<int64_t>(shape.begin(), shape.end());
          },
          "Sizes; a dynamic one is ShapedType.get_dynamic_size().")
      .def_prop_ro("has_static_shape",
                   [](PyShapedType &self) {
                     return cast<ShapedType>(self.value).hasStaticShape();
                   })
      .def_prop_ro("num_elements",
                   [](PyShapedType &self) {
                     ShapedType type = ranked(self);
                     if (!type.hasStaticShape())
                       throw nb::value_error(
                           "a type with dynamic sizes has no element count");
                     return countElements(type);
                   })
      .def("get_dim_size", &dimension, nb::arg("dim"))
      .def(
          "is_dynamic_dim",
          [](PyShapedType &self, unsigned dim) {
            return ShapedType::isDynamic(dimension(self, dim));
          },
          nb::arg("dim"));
}

/// Builds a type of `shape` x `element`, reporting what its verifier says.
template <typename Build>
static TypeObject buildShaped(const PyType &element,
                              const OptionalLocation &loc, Build build) {
  CaptureDiagnostics capture(element.context);
  Type type = build(emitErrorAt(resolveLocation(loc, element.context)));
  if (!type)
    capture.fail("invalid type");
  return wrap(element.context, type);
}

static Attribute unwrapOptional(const ContextRef &context,
                                const std::optional<PyAttribute> &attribute,
                                const char *what) {
  if (!attribute)
    return {};
  checkSameContext(context, attribute->context, what);
  return attribute->value;
}

static void bindShapedTypes(nb::module_ &m) {
  const auto loc = nb::arg("loc") = nb::none();
  BindConcrete<VectorType, PyShapedType>(m, "VectorType")
      .def_static(
          "get",
          [](const std::vector<int64_t> &shape, const PyType &element,
             OptionalLocation loc) {
            return buildShaped(element, loc, [&](auto emitError) {
              return VectorType::getChecked(emitError, shape, element.value,
                                            ArrayRef<bool>());
            });
          },
          nb::arg("shape"), nb::arg("element_type"), loc);

  using Tensor = Concrete<RankedTensorType, PyShapedType>;
  BindConcrete<RankedTensorType, PyShapedType>(m, "RankedTensorType")
      .def_static(
          "get",
          [](const std::vector<int64_t> &shape, const PyType &element,
             std::optional<PyAttribute> encoding, OptionalLocation loc) {
            Attribute attr =
                unwrapOptional(element.context, encoding, "encoding");
            return buildShaped(element, loc, [&](auto emitError) {
              return RankedTensorType::getChecked(emitError, shape,
                                                  element.value, attr);
            });
          },
          nb::arg("shape"), nb::arg("element_type"),
          nb::arg("encoding") = nb::none(), loc)
      .def_prop_ro(
          "encoding",
          [](Tensor &self) {
            return wrap(self.context, self.impl().getEncoding());
          },
          "The encoding attribute, or None.");

  using MemRef = Concrete<MemRefType, PyShapedType>;
  BindConcrete<MemRefType, PyShapedType>(m, "MemRefType")
      .def_static(
          "get",
          [](const std::vector<int64_t> &shape, const PyType &element,
             std::optional<PyAttribute> layout,
             std::optional<PyAttribute> memorySpace, OptionalLocation loc) {
            Attribute attr = unwrapOptional(element.context, layout, "layout");
            Attribute space =
                unwrapOptional(element.context, memorySpace, "memory space");
            if (attr && !isa<MemRefLayoutAttrInterface>(attr))
              throw nb::value_error(
                  (printedForm(attr) + " is not a memref layout").c_str());
            return buildShaped(element, loc, [&](auto emitError) {
              return MemRefType::getChecked(
                  emitError, shape, element.value,
                  attr ? cast<MemRefLayoutAttrInterface>(attr)
                       : MemRefLayoutAttrInterface(),
                  space);
            });
          },
          nb::arg("shape"), nb::arg("element_type"),
          nb::arg("layout") = nb::none(), nb::arg("memory_space") = nb::none(),
          loc)
      .def_prop_ro("layout",
                   [](MemRef &self) {
                     return wrap(self.context, self.impl().getLayout());
                   })
      .def_prop_ro(
          "memory_space",
          [](MemRef &self) {
            return wrap(self.context, self.impl().getMemorySpace());
          },
          "The memory space attribute, or None.");
}

static void bindFunctionType(nb::module_ &m) {
  using Function = Concrete<FunctionType, PyType>;
  auto wrapAll = [](const ContextRef &context, ArrayRef<Type> types) {
    nb::list list;
    for (Type type : types)
      list.append(wrap(context, type));
    return list;
  };
  BindConcrete<FunctionType, PyType>(m, "FunctionType")
      .def_static(
          "get",
          [](const std::vector<PyType> &inputs,
             const std::vector<PyType> &results,
             OptionalContext context) -> TypeObject {
            ContextRef ref =
                contextOf(context, inputs.empty() ? results : inputs);
            return wrap(
                ref, FunctionType::get(&ref->context,
                                       unwrapAll(ref, inputs, "input type"),
                                       unwrapAll(ref, results, "result type")));
          },
          nb::arg("inputs"), nb::arg("results"),
          nb::arg("context") = nb::none())
      .def_prop_ro("inputs",
                   [=](Function &self) {
                     return wrapAll(self.context, self.impl().getInputs());
                   })
      .def_prop_ro("results", [=](Function &self) {
        return wrapAll(self.context, self.impl().getResults());
      });
}

void mlir::lumen::python::bindTypes(nb::module_ &m) {
  bindTypeRoot(m);
  bindScalars(m);
  bindShapedRoot(m);
  bindShapedTypes(m);
  bindFunctionType(m);
}

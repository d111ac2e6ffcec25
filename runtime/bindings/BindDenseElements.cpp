//===- BindDenseElements.cpp - Dense constants and NumPy arrays -----------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Attributes.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::lumen::python;

using AttributeObject = nb::typed<nb::object, PyAttribute>;
using Dense = Concrete<DenseElementsAttr, PyAttribute>;
using Array = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using DataType = nb::dlpack::dtype;
using Code = nb::dlpack::dtype_code;

/// The element type that holds values of a NumPy dtype.
static Type elementTypeOf(MLIRContext *context, DataType dtype, bool signless) {
  Builder builder(context);
  switch (Code(dtype.code)) {
  case Code::Bool:
    return builder.getI1Type();
  case Code::Int:
    return signless ? builder.getIntegerType(dtype.bits)
                    : builder.getIntegerType(dtype.bits, /*isSigned=*/true);
  case Code::UInt:
    return signless ? builder.getIntegerType(dtype.bits)
                    : builder.getIntegerType(dtype.bits, /*isSigned=*/false);
  case Code::Float:
    switch (dtype.bits) {
    case 16:
      return builder.getF16Type();
    case 32:
      return builder.getF32Type();
    case 64:
      return builder.getF64Type();
    }
    break;
  case Code::Bfloat:
    return builder.getBF16Type();
  default:
    break;
  }
  throw nb::type_error(
      "arrays of this dtype have no MLIR element type: give type=");
}

/// The NumPy dtype that holds an element type; formats that NumPy lacks come
/// as unsigned integers of their size.
static DataType dtypeOf(Type type) {
  auto make = [](Code code, unsigned bits) {
    return DataType{uint8_t(code), uint8_t(bits), 1};
  };
  if (type.isInteger(1))
    return make(Code::Bool, 8);
  unsigned bits = isa<IndexType>(type) ? 64 : type.getIntOrFloatBitWidth();
  if (bits != 8 && bits != 16 && bits != 32 && bits != 64)
    throw nb::type_error(
        ("NumPy has no dtype for elements of type " + printedForm(type))
            .c_str());
  if (type.isF16() || type.isF32() || type.isF64())
    return make(Code::Float, bits);
  if (isa<FloatType>(type) || type.isUnsignedInteger())
    return make(Code::UInt, bits);
  return make(Code::Int, bits);
}

static DenseElementsAttr fromArray(MLIRContext *context, const Array &array,
                                   bool signless,
                                   std::optional<ShapedType> type) {
  if (!type) {
    SmallVector<int64_t> shape;
    for (size_t i = 0; i < array.ndim(); ++i)
      shape.push_back(array.shape(i));
    type = RankedTensorType::get(
        shape, elementTypeOf(context, array.dtype(), signless));
  }
  if (!type->hasStaticShape() || !type->getElementType().isIntOrIndexOrFloat())
    throw nb::value_error(
        ("elements need a static shape and a numeric type, not " +
         printedForm(Type(*type)))
            .c_str());
  int64_t count = array.size();
  if (count != countElements(*type) && count != 1)
    throw nb::value_error(("an array of " + std::to_string(count) +
                           " elements for type " + printedForm(Type(*type)))
                              .c_str());
  unsigned bits = dtypeOf(type->getElementType()).bits;
  if (array.itemsize() * 8 != bits)
    throw nb::value_error(("array elements of " +
                           std::to_string(array.itemsize()) +
                           " bytes for type " + printedForm(Type(*type)))
                              .c_str());
  auto *data = static_cast<const char *>(array.data());
  if (type->getElementType().isInteger(1)) {
    SmallVector<bool> values(data, data + count);
    return DenseElementsAttr::get(*type, values);
  }
  return DenseElementsAttr::getFromRawBuffer(
      *type, ArrayRef<char>(data, count * array.itemsize()));
}

/// A writable copy of all elements, splats written out.
static nb::object toArray(const Dense &self) {
  DenseElementsAttr elements = self.impl();
  DataType dtype = dtypeOf(elements.getElementType());
  size_t itemSize = dtype.bits / 8, count = countElements(elements.getType());
  auto data = std::make_unique<char[]>(std::max<size_t>(1, itemSize * count));
  if (elements.getElementType().isInteger(1)) {
    llvm::copy(elements.getValues<bool>(),
               reinterpret_cast<bool *>(data.get()));
  } else {
    ArrayRef<char> raw = elements.getRawData();
    size_t step = elements.isSplat() ? 0 : itemSize;
    if (step)
      std::copy(raw.begin(), raw.end(), data.get());
    else
      for (size_t i = 0; i < count; ++i)
        std::copy_n(raw.data(), itemSize, data.get() + i * itemSize);
  }
  SmallVector<size_t> shape(elements.getType().getShape());
  char *start = data.release();
  nb::capsule owner(start, [](void *memory) noexcept {
    delete[] static_cast<char *>(memory);
  });
  nb::ndarray<nb::numpy> array(start, shape.size(), shape.data(), owner,
                               nullptr, dtype);
  return nb::cast(array);
}

void mlir::lumen::python::bindDenseElements(nb::module_ &m) {
  BindConcrete<DenseElementsAttr, PyAttribute>(
      m, "DenseElementsAttr", "Constant elements of a tensor or vector.")
      .def_static(
          "get",
          [](const Array &array, bool signless, std::optional<PyType> type,
             std::optional<PyIRContext> context) -> AttributeObject {
            ContextRef ref =
                type && !context ? type->context : resolveContext(context);
            std::optional<ShapedType> shaped;
            if (type) {
              checkSameContext(ref, type->context, "type");
              shaped = dyn_cast<ShapedType>(type->value);
              if (!shaped || !*shaped)
                throw nb::value_error("type= takes a tensor or vector type");
            }
            return wrap(ref, fromArray(&ref->context, array, signless, shaped));
          },
          nb::arg("array"), nb::arg("signless") = true,
          nb::arg("type") = nb::none(), nb::arg("context") = nb::none(),
          "From a C-contiguous array. `type` gives another element type of the "
          "same "
          "size (bf16 from uint16) or shape.")
      .def_static(
          "get_splat",
          [](const PyType &type,
             const PyAttribute &element) -> AttributeObject {
            auto shaped = dyn_cast<ShapedType>(type.value);
            auto typed = dyn_cast<TypedAttr>(element.value);
            if (!shaped || !shaped.hasStaticShape() || !typed ||
                typed.getType() != shaped.getElementType())
              throw nb::value_error(("cannot fill " + printedForm(type.value) +
                                     " with " + printedForm(element.value))
                                        .c_str());
            return wrap(type.context,
                        DenseElementsAttr::get(shaped, element.value));
          },
          nb::arg("shaped_type"), nb::arg("element_attr"))
      .def_prop_ro("is_splat",
                   [](Dense &self) { return self.impl().isSplat(); })
      .def("get_splat_value",
           [](Dense &self) {
             if (!self.impl().isSplat())
               throw nb::value_error("the elements are not all equal");
             return wrap(self.context, self.impl().getSplatValue<Attribute>());
           })
      .def("__len__",
           [](Dense &self) { return countElements(self.impl().getType()); })
      .def("to_numpy", &toArray,
           "A copy as an array of the type's shape; bf16 and 8-bit floats come "
           "as uint16/uint8.")
      .def(
          "__array__",
          [](Dense &self, nb::object dtype, nb::object) {
            nb::object array = toArray(self);
            return dtype.is_none() ? array : array.attr("astype")(dtype);
          },
          nb::arg("dtype") = nb::none(), nb::arg("copy") = nb::none());
  registerWrap<Attribute>(
      DenseIntOrFPElementsAttr::getTypeID(),
      &BindConcrete<DenseElementsAttr, PyAttribute>::wrapSelf);
}

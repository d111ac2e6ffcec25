//===- BindLayout.cpp - Where packed weights and KV caches have what ------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Common.h"

#include "dialect/layout/CacheLayout.h"
#include "dialect/layout/PackedLayout.h"
#include "passes/Registration.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Parser/Parser.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// The context of all formats seen here. It is never destroyed: types of packed
/// components live in it.
MLIRContext &getContext() {
  static MLIRContext *context = [] {
    DialectRegistry registry;
    registerAll(registry);
    auto *context = new MLIRContext(registry, MLIRContext::Threading::DISABLED);
    context->loadDialect<LumenDialect>();
    return context;
  }();
  return *context;
}

/// Gathers what is said while it lives.
class Messages {
public:
  Messages()
      : handler(&getContext(), [this](Diagnostic &diagnostic) {
          text += (text.empty() ? "" : "; ") + diagnostic.str();
        }) {}
  /// Throws ValueError with what was said.
  [[noreturn]] void fail() const { throw nb::value_error(text.c_str()); }
  template <typename T> T check(T result) const {
    if (!result)
      fail();
    return result;
  }

private:
  std::string text;
  ScopedDiagnosticHandler handler;
};

/// The format of a text, or null for elements that are floats.
class ParsedFormat {
public:
  ParsedFormat(const std::optional<std::string> &text,
               const Messages &messages) {
    if (!text)
      return;
    module = parseSourceString<ModuleOp>(*text, ParserConfig(&getContext()));
    if (!module)
      messages.fail();
    auto formats = module->getOps<FormatOp>();
    if (!llvm::hasSingleElement(formats))
      throw nb::value_error("the text of one lumen.format was expected");
    format = *formats.begin();
  }
  FormatOp get() const { return format; }

private:
  OwningOpRef<ModuleOp> module;
  FormatOp format;
};

/// What a weight of this format, or of these floats, has for elements.
Type getElementType(FormatOp format, const std::string &floatType,
                    const Messages &messages) {
  if (format)
    return QuantType::get(&getContext(),
                          FlatSymbolRefAttr::get(format.getSymNameAttr()));
  Type type = messages.check(parseType(floatType, &getContext()));
  if (!type.isF32() && !type.isF16() && !type.isBF16())
    throw nb::value_error("weights have elements of f32, f16 or bf16");
  return type;
}

/// Throws where there is no weight of this shape.
void checkShape(int64_t rows, int64_t columns, int64_t block) {
  if (rows < 1 || columns < 1 || columns % block)
    throw nb::value_error(("there is no weight of " + std::to_string(rows) +
                           " x " + std::to_string(columns) + " in blocks of " +
                           std::to_string(block))
                              .c_str());
  // The bytes of so many elements, filled up, are far from 64 bits.
  constexpr int64_t kMost = int64_t(1) << 48;
  int64_t elements;
  if (llvm::MulOverflow(rows, columns, elements) || elements > kMost)
    throw nb::value_error("there is no weight of so many elements");
}

/// A component as Python sees it.
struct Component {
  std::string kind;
  int64_t factor, bitOffset, bits, offset;
  bool isSigned, isWhole;
  std::vector<int64_t> shape, strides;
};

/// The layout of weights of a format.
class PackedWeightLayout {
public:
  PackedWeightLayout(const std::optional<std::string> &formatText,
                     const std::string &floatType, int64_t rows, int64_t k,
                     bool signedCodes, bool wholeCodes) {
    Messages messages;
    ParsedFormat parsed(formatText, messages);
    FormatOp format = parsed.get();
    Type type = getElementType(format, floatType, messages);
    auto fail = [] { return mlir::emitError(UnknownLoc::get(&getContext())); };
    layout = messages.check(PackedAttr::getChecked(fail, &getContext(), rows, k,
                                                   signedCodes, wholeCodes));
    components = getPackedComponents(format, type, layout);
    if (format)
      block = format.getBlock();
  }

  /// The components of a weight of `n` rows.
  std::vector<Component> place(int64_t n, int64_t columns) const {
    check(n, columns);
    std::vector<Component> placed;
    int64_t begin = 0, end = 0;
    for (const PackedComponent &component : components) {
      if (component.beginsStream) {
        begin = end;
        end += getStreamBytes(component, n, columns, layout);
      }
      SmallVector<int64_t> inUnit = getShape(component);
      Component result;
      result.kind = getKind(component);
      result.factor = component.factor;
      result.bitOffset = component.plane.offset;
      result.bits = component.plane.width;
      result.offset = begin + component.offset;
      result.isSigned = component.isSigned;
      result.isWhole = component.isWhole;
      int64_t tiles = llvm::divideCeil(n, layout.getRows());
      result.shape = {tiles, component.getUnits(columns)};
      result.strides = {getTileBytes(component, columns), component.unitBytes};
      llvm::append_range(result.shape, inUnit);
      llvm::append_range(result.strides, component.getStrides(inUnit));
      placed.push_back(std::move(result));
    }
    return placed;
  }

  std::vector<int64_t> getStreams(int64_t n, int64_t columns) const {
    check(n, columns);
    std::vector<int64_t> bytes;
    for (const PackedComponent &component : components)
      if (component.beginsStream)
        bytes.push_back(getTileBytes(component, columns));
    return bytes;
  }

  int64_t getBytes(int64_t n, int64_t columns) const {
    check(n, columns);
    return getPackedBytes(components, n, columns, layout);
  }

private:
  void check(int64_t n, int64_t columns) const {
    checkShape(n, columns, block);
  }

  static const char *getKind(const PackedComponent &component) {
    switch (component.kind) {
    case PackedComponent::Kind::Codes:
      return "codes";
    case PackedComponent::Kind::Factor:
      return "factor";
    case PackedComponent::Kind::Values:
      return "values";
    }
    llvm_unreachable("all kinds are covered");
  }

  /// What a unit holds: loads of codes by the bits of their numbers, [row][k];
  /// entries of factors, [row]; floats, [row][k].
  SmallVector<int64_t> getShape(const PackedComponent &component) const {
    if (component.kind == PackedComponent::Kind::Factor)
      return {component.entries, layout.getRows()};
    SmallVector<int64_t> shape(llvm::Log2_64(component.entries), 2);
    if (component.isWhole)
      shape = {component.entries};
    shape.append({layout.getRows(), layout.getK()});
    return shape;
  }

  PackedAttr layout;
  SmallVector<PackedComponent> components;
  int64_t block = 1;
};

std::tuple<int64_t, int64_t, bool, bool>
getTile(const std::string &targetText,
        const std::optional<std::string> &formatText,
        const std::string &floatType) {
  Messages messages;
  auto target = dyn_cast<TargetAttr>(
      messages.check(parseAttribute(targetText, &getContext())));
  if (!target)
    throw nb::value_error("a #lumen.target was expected");
  ParsedFormat parsed(formatText, messages);
  FormatOp format = parsed.get();
  Type type = getElementType(format, floatType, messages);
  PackedAttr layout = getPackedLayout(target, type, format);
  return {layout.getRows(), layout.getK(), layout.getSignedCodes(),
          layout.getWholeCodes()};
}

int64_t getRawBytes(const std::string &formatText, int64_t rows,
                    int64_t columns) {
  Messages messages;
  ParsedFormat format(formatText, messages);
  checkShape(rows, columns, format.get().getBlock());
  return rows * format.get().getRowBytes(columns);
}

std::vector<int64_t> getBlock(const std::string &elementType, bool isKey,
                              int64_t headDim) {
  Messages messages;
  Type type = messages.check(parseType(elementType, &getContext()));
  if (headDim < 1 || headDim > std::numeric_limits<int32_t>::max() ||
      (type.isInteger() && !QuantizedBlock::fits(headDim)))
    throw nb::value_error(("a block of " + elementType + " has no heads of " +
                           std::to_string(headDim) + " values")
                              .c_str());
  SmallVector<int64_t> shape = getBlockShape(type, isKey, headDim);
  return {shape.begin(), shape.end()};
}

} // namespace

void mlir::lumen::python::bindLayout(nb::module_ &m) {
  m.attr("SPAN") = kSpan;
  m.attr("ALIGNMENT") = kAlignment;
  m.attr("CACHE_BLOCK") = kCacheBlock;
  m.attr("CACHE_PAGE") = kCachePage;
  m.attr("CACHE_GROUP") = QuantizedBlock::kGroup;
  m.attr("KEY_BIAS") = QuantizedBlock::kKeyBias;

  nb::class_<Component>(m, "Component",
                        "One array inside a packed weight, [tile][unit] and "
                        "what a unit holds.")
      .def_ro("kind", &Component::kind, "'codes', 'factor' or 'values'.")
      .def_ro("factor", &Component::factor,
              "Of a factor: its number among what is kept of the format.")
      .def_ro("bit_offset", &Component::bitOffset,
              "The first bit of a code or factor that it holds.")
      .def_ro("bits", &Component::bits, "How many bits it holds of each.")
      .def_ro("offset", &Component::offset, "Bytes from the buffer's start.")
      .def_ro("signed", &Component::isSigned,
              "Of codes: whether they are stored less by 128, as signed bytes.")
      .def_ro("whole", &Component::isWhole,
              "Of codes: whether loads hold them whole (see code_pieces).")
      .def_ro("shape", &Component::shape)
      .def_ro("strides", &Component::strides, "In bytes, by dimension.");

  nb::class_<PackedWeightLayout>(
      m, "PackedLayout",
      "The layout of packed weights: of a format, given as the text of a "
      "lumen.format, or of floats; in tiles of `rows` rows, `k` columns of "
      "each to a step; `signed_codes`: codes that take a byte are stored as "
      "signed ones; `whole_codes`: those of 3, 5, 6 and 7 bits are whole. "
      "Raises ValueError.")
      .def(nb::init<const std::optional<std::string> &, const std::string &,
                    int64_t, int64_t, bool, bool>(),
           nb::arg("format").none(), nb::arg("float_type"), nb::arg("rows"),
           nb::arg("k"), nb::arg("signed_codes") = false,
           nb::arg("whole_codes") = false)
      .def("components", &PackedWeightLayout::place, nb::arg("rows"),
           nb::arg("columns"),
           "The components of a weight of rows x columns, in buffer order.")
      .def("stream_bytes", &PackedWeightLayout::getStreams, nb::arg("rows"),
           nb::arg("columns"), "The bytes of a tile in each stream.")
      .def("bytes", &PackedWeightLayout::getBytes, nb::arg("rows"),
           nb::arg("columns"), "The bytes of a weight.");

  m.def("raw_bytes", &getRawBytes, nb::arg("format"), nb::arg("rows"),
        nb::arg("columns"),
        "The bytes of a weight in the layout of files. Raises ValueError.");
  m.def(
      "align",
      [](int64_t size) -> int64_t { return llvm::alignTo(size, kAlignment); },
      nb::arg("size"), "`size` rounded up to a multiple of ALIGNMENT.");
  m.def(
      "step_size",
      [](bool isFloat) -> int64_t { return isFloat ? 1 : kDotStep; },
      nb::arg("is_float"),
      "Consecutive columns that a step of a product takes of a row.");
  m.def(
      "code_pieces",
      [](int64_t bits) {
        if (bits < 1 || bits > 8 || !leavesBits(bits))
          throw nb::value_error("codes of 3, 5, 6 or 7 bits can lie whole");
        std::vector<std::vector<std::tuple<int64_t, int64_t, int64_t>>> steps;
        for (int64_t step = 0; step < kSpan / kDotStep; ++step) {
          steps.emplace_back();
          for (CodePiece piece : getCodePieces(bits, step))
            steps.back().emplace_back(piece.load, piece.bit, piece.width);
        }
        return steps;
      },
      nb::arg("bits"),
      "Where the bits of whole codes lie: for each step of a span (load, first "
      "bit, bits), upper bits first. Raises ValueError.");
  m.def("tile", &getTile, nb::arg("target"), nb::arg("format").none(),
        nb::arg("float_type"),
        "(rows, k, signed_codes, whole_codes): how weights of a format, or of "
        "floats, are "
        "packed for a "
        "#lumen.target.");
  m.def(
      "cache_block", &getBlock, nb::arg("element_type"), nb::arg("is_key"),
      nb::arg("head_size"),
      "The dimensions of a block of a KV cache. Raises ValueError where heads "
      "of this size cannot be kept so.");
  m.def(
      "cache_groups",
      [](int64_t headDim) { return QuantizedBlock{headDim}.getGroups(); },
      nb::arg("head_size"), "Scales of one position in a block of codes.");
}

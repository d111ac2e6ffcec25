//===- BindModule.cpp - Module, SymbolTable, parsing ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Operations.h"
#include "runtime/bindings/ParseLimits.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;
using namespace mlir::lumen::python;

using OptionalContext = std::optional<PyIRContext>;
using OptionalLocation = std::optional<PyLocation>;

/// Parses without Python's global lock.
template <typename Container>
static OpRef parseSource(const ContextRef &context, const std::string &source,
                         const std::string &name, const char *what) {
  CaptureDiagnostics capture(context);
  OwningOpRef<Container> parsed;
  if (std::string problem = checkNesting(source); !problem.empty())
    capture.fail(llvm::Twine("unable to parse ") + what + ": " + problem);
  std::string problem;
  runCompiler(context, [&] {
    parsed = parseSourceString<Container>(
        source, ParserConfig(&context->context), name);
    if (parsed)
      problem = checkExpansion(*parsed);
  });
  if (!problem.empty())
    capture.fail(llvm::Twine("unable to parse ") + what + ": " + problem);
  if (!parsed)
    capture.fail(llvm::Twine("unable to parse ") + what);
  return OpHandle::get(context, parsed.release());
}

static OpRef parseFile(const ContextRef &context, const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer)
    throw MLIRError{"unable to parse module file '" + path +
                        "': " + buffer.getError().message(),
                    {}};
  return parseSource<ModuleOp>(context, (*buffer)->getBuffer().str(), path,
                               "module file");
}

PyOperation
mlir::lumen::python::parseOperation(const std::string &source,
                                    const std::string &name,
                                    const OptionalContext &context) {
  return {parseSource<Operation *>(resolveContext(context), source, name,
                                   "operation")};
}

static void bindModuleClass(nb::module_ &m) {
  nb::class_<PyModule> cls(m, "Module",
                           "A builtin.module at the top of the IR.");
  bindPrinting(cls);
  cls.def_static(
         "parse",
         [](const std::string &source, OptionalContext context) {
           return PyModule{parseSource<ModuleOp>(resolveContext(context),
                                                 source, "-", "module")};
         },
         nb::arg("asm"), nb::arg("context") = nb::none(),
         "Parses a module; raises MLIRError with the locations of the errors.")
      .def_static(
          "parseFile",
          [](const std::string &path, OptionalContext context) {
            return PyModule{parseFile(resolveContext(context), path)};
          },
          nb::arg("path"), nb::arg("context") = nb::none(),
          "Parses a file of text or bytecode.")
      .def_static(
          "create",
          [](OptionalLocation loc) {
            ContextRef context =
                loc ? loc->context : resolveContext(std::nullopt);
            ModuleOp module = ModuleOp::create(resolveLocation(loc, context));
            return PyModule{OpHandle::get(context, module)};
          },
          nb::arg("loc") = nb::none(), "An empty module.")
      .def(
          "clone",
          [](PyModule &self) {
            Operation *copy = self.handle->getOp()->clone();
            return PyModule{OpHandle::get(self.handle->getContext(), copy)};
          },
          "A copy of the module.")
      .def_prop_ro("operation",
                   [](PyModule &self) { return PyOperation{self.handle}; })
      .def_prop_ro("body",
                   [](PyModule &self) {
                     return PyBlock(
                         self.handle,
                         cast<ModuleOp>(self.handle->getOp()).getBody());
                   })
      .def("__repr__", [](PyModule &) { return "<Module>"; });
}

struct PySymbolTable {
  PyOperation op;
  std::optional<PyOperation> find(std::string_view name) const {
    Operation *found = SymbolTable::lookupSymbolIn(op.get(), toRef(name));
    if (!found)
      return std::nullopt;
    return PyOperation{OpHandle::get(op.context(), found)};
  }
};

static void bindSymbolTable(nb::module_ &m) {
  nb::class_<PySymbolTable>(m, "SymbolTable",
                            "The symbols that an operation defines.")
      .def("__init__",
           [](PySymbolTable *self, PyOperation op) {
             if (!op.get()->hasTrait<OpTrait::SymbolTable>())
               throw nb::value_error(("operation '" +
                                      op.get()->getName().getStringRef() +
                                      "' defines no symbols")
                                         .str()
                                         .c_str());
             new (self) PySymbolTable{op};
           })
      .def("__contains__",
           [](PySymbolTable &self, std::string_view name) {
             return self.find(name).has_value();
           })
      .def("__getitem__",
           [](PySymbolTable &self, std::string_view name) {
             std::optional<PyOperation> found = self.find(name);
             if (!found)
               throw nb::key_error(std::string(name).c_str());
             return *found;
           })
      .def(
          "insert",
          [](PySymbolTable &self, PyOperation &symbol) {
            checkSameContext(self.op.context(), symbol.context(), "symbol");
            Operation *op = symbol.get();
            if (op->getBlock() || !op->getAttrOfType<StringAttr>("sym_name"))
              throw nb::value_error(
                  "a symbol to insert is detached and has a sym_name");
            StringAttr name = SymbolTable(self.op.get()).insert(op);
            symbol.handle->updateParent();
            return wrap(self.op.context(), Attribute(name));
          },
          nb::arg("operation"),
          "Adds a symbol at the end, renamed where its name is taken; returns "
          "its name.");
}

void mlir::lumen::python::bindModule(nb::module_ &m) {
  bindModuleClass(m);
  bindSymbolTable(m);
}

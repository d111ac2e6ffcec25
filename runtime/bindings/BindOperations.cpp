//===- BindOperations.cpp - Operation, Module, SymbolTable ----------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Attributes.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Parser/Parser.h"

using namespace mlir;
using namespace mlir::lumen::python;

using OptionalContext = std::optional<PyIRContext>;
using OptionalLocation = std::optional<PyLocation>;

//===----------------------------------------------------------------------===//
// Creating and parsing
//===----------------------------------------------------------------------===//

/// Where a new operation goes: None means the current insertion point, False
/// means nowhere.
static const PyInsertionPoint *resolveInsertionPoint(nb::handle ip) {
  if (ip.is_none())
    return currentInsertionPoint();
  if (ip.ptr() == Py_False)
    return nullptr;
  return nb::cast<PyInsertionPoint *>(ip);
}

static PyOperation place(const ContextRef &context, Operation *op, nb::handle ip) {
  PyOperation made{OpHandle::get(context, op)};
  if (const PyInsertionPoint *point = resolveInsertionPoint(ip))
    point->insert(made);
  return made;
}

/// Result types by the operation's own inference.
static void inferResults(OperationState &state, CaptureDiagnostics &capture) {
  auto *interface = state.name.getInterface<InferTypeOpInterface>();
  if (!interface)
    capture.fail("operation '" + state.name.getStringRef() + "' cannot infer its result types");
  DictionaryAttr attributes = state.attributes.getDictionary(state.getContext());
  // The inference reads properties; a scratch operation holds them.
  OperationState scratch(state.location, state.name, {}, {}, state.attributes.getAttrs());
  Operation *holder = Operation::create(scratch);
  LogicalResult inferred = interface->inferReturnTypes(
      state.getContext(), state.location, state.operands, attributes,
      holder->getPropertiesStorage(), state.regions, state.types);
  holder->destroy();
  capture.check(inferred, "cannot infer the result types of '" + state.name.getStringRef() + "'");
}

static PyOperation createOperation(const std::string &name,
                                   std::optional<std::vector<PyType>> results,
                                   std::optional<std::vector<PyValue>> operands,
                                   std::optional<std::unordered_map<std::string, PyAttribute>> attributes,
                                   std::optional<std::vector<PyBlock>> successors, unsigned regions,
                                   OptionalLocation loc, nb::object ip, bool inferType) {
  const PyInsertionPoint *point = resolveInsertionPoint(ip);
  ContextRef context = loc ? loc->context
                       : !frames().empty() || !point ? resolveContext(std::nullopt)
                                                     : point->block.context();
  Location location = resolveLocation(loc, context);
  CaptureDiagnostics capture(context);
  OperationState state(location, name);
  if (!state.name.isRegistered()) {
    context->context.getOrLoadDialect(StringRef(name).split('.').first);
    state.name = OperationName(name, &context->context);
    if (!state.name.isRegistered() && !context->context.allowsUnregisteredDialects())
      capture.fail("operation '" + name + "' is not known: its dialect is not registered or has "
                   "no such operation");
  }
  if (operands)
    for (const PyValue &operand : *operands) {
      checkSameContext(context, operand.context(), "operand");
      state.operands.push_back(operand.get());
    }
  if (results)
    state.addTypes(unwrapAll(context, *results, "result type"));
  if (attributes)
    for (const auto &[key, attribute] : *attributes) {
      checkSameContext(context, attribute.context, "attribute");
      state.addAttribute(key, attribute.value);
    }
  if (auto registered = state.name.getRegisteredInfo())
    capture.check(registered->verifyInherentAttrs(state.attributes, emitErrorAt(location)),
                  "cannot create operation '" + name + "'");
  if (successors)
    for (const PyBlock &successor : *successors) {
      checkSameContext(context, successor.context(), "successor");
      state.addSuccessors(successor.get());
    }
  for (unsigned i = 0; i < regions; ++i)
    state.addRegion();
  if (inferType)
    inferResults(state, capture);
  return place(context, Operation::create(state), ip);
}

/// Parses without Python's global lock.
template <typename Container>
static OpRef parseSource(const ContextRef &context, const std::string &source,
                         const std::string &name, const char *what) {
  CaptureDiagnostics capture(context);
  OwningOpRef<Container> parsed;
  {
    nb::gil_scoped_release release;
    parsed = parseSourceString<Container>(source, ParserConfig(&context->context), name);
  }
  if (!parsed)
    capture.fail(llvm::Twine("unable to parse ") + what);
  return OpHandle::get(context, parsed.release());
}

static OpRef parseFile(const ContextRef &context, const std::string &path) {
  CaptureDiagnostics capture(context);
  OwningOpRef<ModuleOp> parsed;
  {
    nb::gil_scoped_release release;
    parsed = parseSourceFile<ModuleOp>(path, ParserConfig(&context->context));
  }
  if (!parsed)
    capture.fail("unable to parse module file '" + path + "'");
  return OpHandle::get(context, parsed.release());
}

//===----------------------------------------------------------------------===//
// Printing, verifying, walking
//===----------------------------------------------------------------------===//

static std::string getAsm(const OpRef &handle, std::optional<int64_t> largeElementsLimit,
                          bool enableDebugInfo, bool prettyDebugInfo, bool genericForm,
                          bool localScope, bool assumeVerified, bool skipRegions) {
  OpPrintingFlags flags;
  if (largeElementsLimit) {
    flags.elideLargeElementsAttrs(*largeElementsLimit);
    flags.elideLargeResourceString(*largeElementsLimit);
  }
  if (enableDebugInfo)
    flags.enableDebugInfo(true, prettyDebugInfo);
  flags.printGenericOpForm(genericForm).useLocalScope(localScope);
  flags.assumeVerified(assumeVerified).skipRegions(skipRegions);
  return printed([&](llvm::raw_ostream &os) { handle->getOp()->print(os, flags); });
}

static bool verifyOperation(const OpRef &handle) {
  CaptureDiagnostics capture(handle->getContext());
  Operation *op = handle->getOp();
  LogicalResult result = failure();
  {
    nb::gil_scoped_release release;
    result = verify(op);
  }
  capture.check(result, "verification failed");
  return true;
}

enum class PyWalkResult { Advance, Skip, Interrupt };
enum class PyWalkOrder { PreOrder, PostOrder };

/// Visits `handle` and what is inside. The callback may erase or move any
/// operation: children are listed before and those gone by then are left out.
static PyWalkResult walk(const OpRef &handle, const nb::callable &callback, PyWalkOrder order) {
  auto visit = [&] {
    nb::object result = callback(PyOperation{handle});
    return result.is_none() ? PyWalkResult::Advance : nb::cast<PyWalkResult>(result);
  };
  if (order == PyWalkOrder::PreOrder) {
    PyWalkResult result = visit();
    if (result == PyWalkResult::Interrupt)
      return result;
    if (result == PyWalkResult::Skip || !handle->isValid())
      return PyWalkResult::Advance;
  }
  std::vector<OpRef> children;
  for (Region &region : handle->getOp()->getRegions())
    for (Operation &op : region.getOps())
      children.push_back(OpHandle::get(handle->getContext(), &op));
  for (const OpRef &child : children)
    if (child->isValid() && child->getParent() == handle &&
        walk(child, callback, order) == PyWalkResult::Interrupt)
      return PyWalkResult::Interrupt;
  if (order == PyWalkOrder::PostOrder && handle->isValid())
    return visit();
  return PyWalkResult::Advance;
}

//===----------------------------------------------------------------------===//
// Operands and attributes as containers
//===----------------------------------------------------------------------===//

struct OperandList {
  PyOperation op;
  unsigned index(int64_t i) const {
    unsigned size = op.get()->getNumOperands();
    int64_t wrapped = i < 0 ? i + int64_t(size) : i;
    if (wrapped < 0 || wrapped >= size)
      throw nb::index_error(
          ("operand " + std::to_string(i) + " of " + std::to_string(size)).c_str());
    return wrapped;
  }
};

struct AttributeMap {
  PyOperation op;
};

static void bindOperandList(nb::module_ &m) {
  nb::class_<OperandList>(m, "OpOperandList", "The operands of an operation; assignable.")
      .def("__len__", [](OperandList &self) { return self.op.get()->getNumOperands(); })
      .def("__getitem__",
           [](OperandList &self, int64_t i) {
             return wrapValue(self.op.context(), self.op.get()->getOperand(self.index(i)));
           })
      .def("__setitem__", [](OperandList &self, int64_t i, const PyValue &value) {
        checkSameContext(self.op.context(), value.context(), "operand");
        self.op.get()->setOperand(self.index(i), value.get());
      });
}

static void bindAttributeMap(nb::module_ &m) {
  auto names = [](AttributeMap &self) {
    std::vector<std::string> names;
    for (NamedAttribute named : self.op.get()->getAttrDictionary())
      names.push_back(named.getName().str());
    return names;
  };
  nb::class_<AttributeMap>(m, "OpAttributeMap", "The attributes of an operation by name.")
      .def("__len__", [](AttributeMap &self) { return self.op.get()->getAttrDictionary().size(); })
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
      .def("get",
           [](AttributeMap &self, std::string_view name, nb::object fallback) -> nb::object {
             Attribute attribute = self.op.get()->getAttr(toRef(name));
             return attribute ? wrap(self.op.context(), attribute) : fallback;
           },
           nb::arg("name"), nb::arg("default") = nb::none())
      .def("__setitem__",
           [](AttributeMap &self, std::string_view name, const PyAttribute &attribute) {
             checkSameContext(self.op.context(), attribute.context, "attribute");
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
               items.append(nb::make_tuple(named.getName().str(),
                                           wrap(self.op.context(), named.getValue())));
             return items;
           })
      .def("__iter__", [](nb::object self) { return nb::iter(self.attr("keys")()); });
}

//===----------------------------------------------------------------------===//
// Operation
//===----------------------------------------------------------------------===//

/// Takes the operation out of its block and puts it next to another one.
static void moveNextTo(PyOperation &self, PyOperation &other, bool after) {
  checkSameContext(self.context(), other.context(), "operation to move to");
  Operation *op = self.get(), *place = other.get();
  if (!place->getBlock())
    throw nb::value_error("the operation to move to is not in a block");
  if (op->isAncestor(place))
    throw nb::value_error("an operation cannot be moved into itself");
  // A detached operation has no block to leave.
  if (!op->getBlock())
    place->getBlock()->getOperations().insert(
        after ? std::next(place->getIterator()) : place->getIterator(), op);
  else if (after)
    op->moveAfter(place);
  else
    op->moveBefore(place);
  self.handle->updateParent();
}

static void eraseOperation(PyOperation &self) {
  if (!self.get()->use_empty())
    throw nb::value_error(("operation '" + self.get()->getName().getStringRef() +
                           "' still has uses")
                              .str()
                              .c_str());
  self.handle->erase();
}

template <typename T>
static void bindPrinting(nb::class_<T> &cls) {
  cls.def("get_asm",
          [](T &self, std::optional<int64_t> largeElementsLimit, bool enableDebugInfo,
             bool prettyDebugInfo, bool genericForm, bool localScope, bool assumeVerified,
             bool skipRegions) {
            return getAsm(self.handle, largeElementsLimit, enableDebugInfo, prettyDebugInfo,
                          genericForm, localScope, assumeVerified, skipRegions);
          },
          nb::kw_only(), nb::arg("large_elements_limit") = nb::none(),
          nb::arg("enable_debug_info") = false, nb::arg("pretty_debug_info") = false,
          nb::arg("print_generic_op_form") = false, nb::arg("use_local_scope") = false,
          nb::arg("assume_verified") = false, nb::arg("skip_regions") = false,
          "The IR as text. Constants of more than `large_elements_limit` elements are elided.")
      .def("__str__",
           [](T &self) {
             return getAsm(self.handle, std::nullopt, false, false, false, false, false, false);
           })
      .def("__eq__", [](T &a, T &b) { return a.handle == b.handle; }, nb::is_operator())
      .def("__hash__", [](T &self) { return size_t(self.handle.get()); })
      .def_prop_ro("context", [](T &self) { return PyIRContext{self.handle->getContext()}; });
}

static void bindOperationClass(nb::module_ &m) {
  nb::enum_<PyWalkResult>(m, "WalkResult")
      .value("ADVANCE", PyWalkResult::Advance)
      .value("SKIP", PyWalkResult::Skip)
      .value("INTERRUPT", PyWalkResult::Interrupt);
  nb::enum_<PyWalkOrder>(m, "WalkOrder")
      .value("PRE_ORDER", PyWalkOrder::PreOrder)
      .value("POST_ORDER", PyWalkOrder::PostOrder);

  nb::class_<PyOperation> cls(m, "Operation", "An operation of any dialect.");
  bindPrinting(cls);
  cls.def_static("create", &createOperation, nb::arg("name"), nb::arg("results") = nb::none(),
                 nb::arg("operands") = nb::none(), nb::arg("attributes") = nb::none(),
                 nb::arg("successors") = nb::none(), nb::arg("regions") = 0,
                 nb::arg("loc") = nb::none(), nb::arg("ip") = nb::none(),
                 nb::arg("infer_type") = false,
                 "Creates an operation at `ip`: None for the current insertion point, False for "
                 "none.")
      .def_static("parse",
                  [](const std::string &source, const std::string &name, OptionalContext context) {
                    return PyOperation{parseSource<Operation *>(resolveContext(context), source,
                                                                name, "operation")};
                  },
                  nb::arg("source"), nb::kw_only(), nb::arg("source_name") = "-",
                  nb::arg("context") = nb::none(), "Parses one operation; raises MLIRError.")
      .def_prop_ro("name",
                   [](PyOperation &self) { return self.get()->getName().getStringRef().str(); })
      .def_prop_ro("operation", [](nb::object self) { return self; })
      .def_prop_ro("opview", [](nb::object self) { return self; })
      .def_prop_ro("operands", [](PyOperation &self) { return OperandList{self}; })
      .def_prop_ro("attributes", [](PyOperation &self) { return AttributeMap{self}; })
      .def_prop_ro("results",
                   [](PyOperation &self) {
                     nb::list list;
                     for (Value result : self.get()->getResults())
                       list.append(wrapValue(self.context(), result));
                     return list;
                   })
      .def_prop_ro("result",
                   [](PyOperation &self) {
                     Operation *op = self.get();
                     if (op->getNumResults() != 1)
                       throw nb::value_error(("operation '" + op->getName().getStringRef() +
                                              "' has " + llvm::Twine(op->getNumResults()) +
                                              " results, not one")
                                                 .str()
                                                 .c_str());
                     return wrapValue(self.context(), op->getResult(0));
                   },
                   "The only result; raises ValueError if there is not exactly one.")
      .def_prop_ro("regions",
                   [](PyOperation &self) {
                     std::vector<PyRegion> list;
                     for (Region &region : self.get()->getRegions())
                       list.emplace_back(self.handle, &region);
                     return list;
                   })
      .def_prop_ro("successors",
                   [](PyOperation &self) {
                     std::vector<PyBlock> list;
                     for (Block *block : self.get()->getSuccessors())
                       list.emplace_back(OpHandle::get(self.context(), block->getParentOp()),
                                         block);
                     return list;
                   })
      .def_prop_ro("parent",
                   [](PyOperation &self) -> std::optional<PyOperation> {
                     self.get();
                     if (!self.handle->getParent())
                       return std::nullopt;
                     return PyOperation{self.handle->getParent()};
                   },
                   "The operation around this one, or None.")
      .def_prop_ro("block",
                   [](PyOperation &self) -> std::optional<PyBlock> {
                     Block *block = self.get()->getBlock();
                     if (!block)
                       return std::nullopt;
                     return PyBlock(self.handle->getParent(), block);
                   })
      .def_prop_rw(
          "location",
          [](PyOperation &self) { return PyLocation{self.context(), self.get()->getLoc()}; },
          [](PyOperation &self, PyLocation location) {
            checkSameContext(self.context(), location.context, "location");
            self.get()->setLoc(location.loc);
          })
      .def("verify", [](PyOperation &self) { return verifyOperation(self.handle); },
           "True, or raises MLIRError with what is wrong.")
      .def("walk",
           [](PyOperation &self, nb::callable callback, PyWalkOrder order) {
             self.get();
             walk(self.handle, callback, order);
           },
           nb::arg("callback"), nb::arg("walk_order") = PyWalkOrder::PostOrder,
           "Calls `callback(op)` for this operation and all inside; it may return a WalkResult.")
      .def("clone",
           [](PyOperation &self, nb::object ip) {
             return place(self.context(), self.get()->clone(), ip);
           },
           nb::arg("ip") = nb::none())
      .def("erase", &eraseOperation, "Erases the operation; its results must have no uses.")
      .def("detach_from_parent",
           [](PyOperation &self) {
             if (!self.get()->getBlock())
               throw nb::value_error("the operation is not in a block");
             self.get()->remove();
             self.handle->updateParent();
             return self;
           })
      .def("move_before", [](PyOperation &self, PyOperation &other) {
             moveNextTo(self, other, /*after=*/false);
           },
           nb::arg("other"))
      .def("move_after", [](PyOperation &self, PyOperation &other) {
             moveNextTo(self, other, /*after=*/true);
           },
           nb::arg("other"))
      .def("is_before_in_block",
           [](PyOperation &self, PyOperation &other) {
             Block *block = self.get()->getBlock();
             if (!block || block != other.get()->getBlock())
               throw nb::value_error("the operations are not in one block");
             return self.get()->isBeforeInBlock(other.get());
           },
           nb::arg("other"))
      .def("__repr__", [](PyOperation &self) {
        if (!self.handle->isValid())
          return std::string("<Operation: invalidated>");
        return "<Operation '" + self.get()->getName().getStringRef().str() + "'>";
      });
}

//===----------------------------------------------------------------------===//
// Module, SymbolTable
//===----------------------------------------------------------------------===//

static void bindModule(nb::module_ &m) {
  nb::class_<PyModule> cls(m, "Module", "A builtin.module at the top of the IR.");
  bindPrinting(cls);
  cls.def_static("parse",
                 [](const std::string &source, OptionalContext context) {
                   return PyModule{
                       parseSource<ModuleOp>(resolveContext(context), source, "-", "module")};
                 },
                 nb::arg("asm"), nb::arg("context") = nb::none(),
                 "Parses a module; raises MLIRError with the locations of the errors.")
      .def_static("parseFile",
                  [](const std::string &path, OptionalContext context) {
                    return PyModule{parseFile(resolveContext(context), path)};
                  },
                  nb::arg("path"), nb::arg("context") = nb::none(),
                  "Parses a file of text or bytecode.")
      .def_static("create",
                  [](OptionalLocation loc) {
                    ContextRef context = loc ? loc->context : resolveContext(std::nullopt);
                    ModuleOp module = ModuleOp::create(resolveLocation(loc, context));
                    return PyModule{OpHandle::get(context, module)};
                  },
                  nb::arg("loc") = nb::none(), "An empty module.")
      .def_prop_ro("operation", [](PyModule &self) { return PyOperation{self.handle}; })
      .def_prop_ro("body",
                   [](PyModule &self) {
                     return PyBlock(self.handle, cast<ModuleOp>(self.handle->getOp()).getBody());
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
  nb::class_<PySymbolTable>(m, "SymbolTable", "The symbols that an operation defines.")
      .def("__init__",
           [](PySymbolTable *self, PyOperation op) {
             if (!op.get()->hasTrait<OpTrait::SymbolTable>())
               throw nb::value_error(
                   ("operation '" + op.get()->getName().getStringRef() + "' defines no symbols")
                       .str()
                       .c_str());
             new (self) PySymbolTable{op};
           })
      .def("__contains__",
           [](PySymbolTable &self, std::string_view name) { return self.find(name).has_value(); })
      .def("__getitem__",
           [](PySymbolTable &self, std::string_view name) {
             std::optional<PyOperation> found = self.find(name);
             if (!found)
               throw nb::key_error(std::string(name).c_str());
             return *found;
           })
      .def("insert",
           [](PySymbolTable &self, PyOperation &symbol) {
             checkSameContext(self.op.context(), symbol.context(), "symbol");
             Operation *op = symbol.get();
             if (op->getBlock() || !op->getAttrOfType<StringAttr>("sym_name"))
               throw nb::value_error("a symbol to insert is detached and has a sym_name");
             StringAttr name = SymbolTable(self.op.get()).insert(op);
             symbol.handle->updateParent();
             return wrap(self.op.context(), Attribute(name));
           },
           nb::arg("operation"),
           "Adds a symbol at the end, renamed where its name is taken; returns its name.");
}

void mlir::lumen::python::bindOperations(nb::module_ &m) {
  bindOperandList(m);
  bindAttributeMap(m);
  bindOperationClass(m);
  bindModule(m);
  bindSymbolTable(m);
}

//===- BindOperations.cpp - Operation -------------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Operations.h"

#include "mlir/IR/Verifier.h"

using namespace mlir;
using namespace mlir::lumen::python;

std::string mlir::lumen::python::getAsm(
    const OpRef &handle, std::optional<int64_t> largeElementsLimit,
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
  Operation *op = handle->getOp();
  ContextLock lock(handle->getContext());
  std::string text;
  runCompiler(
      handle->getContext(),
      [&] {
        text = printed([&](llvm::raw_ostream &os) { op->print(os, flags); });
      },
      /*keepsPython=*/true);
  return text;
}

static bool verifyOperation(const OpRef &handle) {
  CaptureDiagnostics capture(handle->getContext());
  Operation *op = handle->getOp();
  LogicalResult result = failure();
  runCompiler(handle->getContext(), [&] { result = verify(op); });
  capture.check(result, "verification failed");
  return true;
}

enum class PyWalkResult { Advance, Skip, Interrupt };
enum class PyWalkOrder { PreOrder, PostOrder };

/// Visits `handle` and what is inside. The callback may erase or move any
/// operation: children are listed before and those gone by then are left out.
static PyWalkResult walk(const OpRef &handle, const nb::callable &callback,
                         PyWalkOrder order) {
  auto visit = [&] {
    nb::object result = callback(PyOperation{handle});
    return result.is_none() ? PyWalkResult::Advance
                            : nb::cast<PyWalkResult>(result);
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
    throw nb::value_error(("operation '" +
                           self.get()->getName().getStringRef() +
                           "' still has uses")
                              .str()
                              .c_str());
  self.handle->erase();
}

void mlir::lumen::python::bindOperations(nb::module_ &m) {
  nb::enum_<PyWalkResult>(m, "WalkResult")
      .value("ADVANCE", PyWalkResult::Advance)
      .value("SKIP", PyWalkResult::Skip)
      .value("INTERRUPT", PyWalkResult::Interrupt);
  nb::enum_<PyWalkOrder>(m, "WalkOrder")
      .value("PRE_ORDER", PyWalkOrder::PreOrder)
      .value("POST_ORDER", PyWalkOrder::PostOrder);

  nb::class_<PyOperation> cls(m, "Operation", "An operation of any dialect.");
  bindPrinting(cls);
  cls.def_static(
         "create", &createOperation, nb::arg("name"),
         nb::arg("results") = nb::none(), nb::arg("operands") = nb::none(),
         nb::arg("attributes") = nb::none(), nb::arg("successors") = nb::none(),
         nb::arg("regions") = 0, nb::arg("loc") = nb::none(),
         nb::arg("ip") = nb::none(), nb::arg("infer_type") = false,
         "Creates an operation at `ip`: None for the current insertion point, "
         "False for "
         "none.")
      .def_static("parse", &parseOperation, nb::arg("source"), nb::kw_only(),
                  nb::arg("source_name") = "-", nb::arg("context") = nb::none(),
                  "Parses one operation; raises MLIRError.")
      .def_prop_ro("name",
                   [](PyOperation &self) {
                     return self.get()->getName().getStringRef().str();
                   })
      .def_prop_ro("operation", [](nb::object self) { return self; })
      .def_prop_ro("opview", [](nb::object self) { return self; })
      .def_prop_ro("operands",
                   [](PyOperation &self) { return OperandList{self}; })
      .def_prop_ro("attributes",
                   [](PyOperation &self) { return AttributeMap{self}; })
      .def_prop_ro("results",
                   [](PyOperation &self) {
                     return wrapValues(self.context(),
                                       self.get()->getResults());
                   })
      .def_prop_ro(
          "result",
          [](PyOperation &self) {
            Operation *op = self.get();
            if (op->getNumResults() != 1)
              throw nb::value_error(
                  ("operation '" + op->getName().getStringRef() + "' has " +
                   llvm::Twine(op->getNumResults()) + " results, not one")
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
                       list.emplace_back(
                           OpHandle::get(self.context(), block->getParentOp()),
                           block);
                     return list;
                   })
      .def_prop_ro(
          "parent",
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
          [](PyOperation &self) {
            return PyLocation{self.context(), self.get()->getLoc()};
          },
          [](PyOperation &self, PyLocation location) {
            checkSameContext(self.context(), location.context, "location");
            self.get()->setLoc(location.loc);
          })
      .def(
          "verify",
          [](PyOperation &self) { return verifyOperation(self.handle); },
          "True, or raises MLIRError with what is wrong.")
      .def(
          "walk",
          [](PyOperation &self, nb::callable callback, PyWalkOrder order) {
            self.get();
            walk(self.handle, callback, order);
          },
          nb::arg("callback"), nb::arg("walk_order") = PyWalkOrder::PostOrder,
          "Calls `callback(op)` for this operation and all inside; it may "
          "return a WalkResult.")
      .def(
          "clone",
          [](PyOperation &self, nb::object ip) {
            return place(self.context(), self.get()->clone(), ip);
          },
          nb::arg("ip") = nb::none())
      .def("erase", &eraseOperation,
           "Erases the operation; its results must have no uses.")
      .def("detach_from_parent",
           [](PyOperation &self) {
             if (!self.get()->getBlock())
               throw nb::value_error("the operation is not in a block");
             self.get()->remove();
             self.handle->updateParent();
             return self;
           })
      .def(
          "move_before",
          [](PyOperation &self, PyOperation &other) {
            moveNextTo(self, other, /*after=*/false);
          },
          nb::arg("other"))
      .def(
          "move_after",
          [](PyOperation &self, PyOperation &other) {
            moveNextTo(self, other, /*after=*/true);
          },
          nb::arg("other"))
      .def(
          "is_before_in_block",
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
        return "<Operation '" + self.get()->getName().getStringRef().str() +
               "'>";
      });
}

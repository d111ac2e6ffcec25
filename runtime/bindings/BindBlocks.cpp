//===- BindBlocks.cpp - Region, Block, Value, InsertionPoint --------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Attributes.h"

#include "mlir/IR/AsmState.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/Region.h"

using namespace mlir;
using namespace mlir::lumen::python;

/// Adds arguments of these types to a new block.
static void addArguments(Block *block, const ContextRef &context,
                         const std::vector<PyType> &types,
                         const std::optional<std::vector<PyLocation>> &locs) {
  if (locs && locs->size() != types.size())
    throw nb::value_error((std::to_string(types.size()) +
                           " argument types but " +
                           std::to_string(locs->size()) + " locations")
                              .c_str());
  for (auto [i, type] : llvm::enumerate(types)) {
    checkSameContext(context, type.context, "argument type");
    block->addArgument(type.value,
                       locs ? (*locs)[i].loc : resolveLocation({}, context));
  }
}

static std::unique_ptr<Block>
makeBlock(const ContextRef &context, const std::vector<PyType> &types,
          const std::optional<std::vector<PyLocation>> &locs) {
  auto block = std::make_unique<Block>();
  addArguments(block.get(), context, types, locs);
  return block;
}

//===----------------------------------------------------------------------===//
// Region
//===----------------------------------------------------------------------===//

struct BlockList {
  PyRegion region;
};

static std::vector<PyBlock> listBlocks(const PyRegion &region) {
  std::vector<PyBlock> list;
  for (Block &block : *region.get())
    list.emplace_back(region.owner, &block);
  return list;
}

static void bindRegion(nb::module_ &m) {
  nb::class_<BlockList>(m, "BlockList", "The blocks of a region.")
      .def(
          "__len__",
          [](BlockList &self) { return self.region.get()->getBlocks().size(); })
      .def(
          "__getitem__",
          [](BlockList &self, nb::object index) {
            return nb::cast(listBlocks(self.region)).attr("__getitem__")(index);
          })
      .def("__iter__",
           [](BlockList &self) {
             return nb::iter(nb::cast(listBlocks(self.region)));
           })
      .def(
          "append",
          [](BlockList &self, nb::args types,
             std::optional<std::vector<PyLocation>> locs) {
            auto block =
                makeBlock(self.region.context(),
                          nb::cast<std::vector<PyType>>(nb::list(types)), locs);
            self.region.get()->push_back(block.release());
            return PyBlock(self.region.owner, &self.region.get()->back());
          },
          nb::arg("args"), nb::kw_only(), nb::arg("arg_locs") = nb::none(),
          "Adds a block with arguments of the given types.");

  nb::class_<PyRegion>(m, "Region")
      .def_prop_ro("blocks", [](PyRegion &self) { return BlockList{self}; })
      .def_prop_ro("owner",
                   [](PyRegion &self) {
                     self.check();
                     return PyOperation{self.owner};
                   })
      .def(
          "__eq__",
          [](PyRegion &a, PyRegion &b) { return a.region == b.region; },
          nb::is_operator())
      .def("__hash__", [](PyRegion &self) { return size_t(self.region); });
}

//===----------------------------------------------------------------------===//
// Block
//===----------------------------------------------------------------------===//

static nb::list listOperations(const PyBlock &self) {
  nb::list list;
  for (Operation &op : *self.get())
    list.append(PyOperation{OpHandle::get(self.context(), &op)});
  return list;
}

static void bindBlock(nb::module_ &m) {
  nb::class_<PyBlock>(m, "Block")
      .def_static(
          "create_at_start",
          [](PyRegion &parent, const std::vector<PyType> &types,
             std::optional<std::vector<PyLocation>> locs) {
            auto block = makeBlock(parent.context(), types, locs);
            parent.get()->push_front(block.release());
            return PyBlock(parent.owner, &parent.get()->front());
          },
          nb::arg("parent"), nb::arg("arg_types") = std::vector<PyType>(),
          nb::arg("arg_locs") = nb::none())
      .def_prop_ro("arguments",
                   [](PyBlock &self) {
                     return wrapValues(self.context(),
                                       self.get()->getArguments());
                   })
      .def(
          "add_argument",
          [](PyBlock &self, const PyType &type, std::optional<PyLocation> loc) {
            checkSameContext(self.context(), type.context, "argument type");
            Value argument = self.get()->addArgument(
                type.value, resolveLocation(loc, self.context()));
            return wrapValue(self.context(), argument);
          },
          nb::arg("type"), nb::arg("loc") = nb::none())
      .def_prop_ro("operations", &listOperations,
                   "The operations of the block, as a list.")
      .def("__iter__",
           [](PyBlock &self) { return nb::iter(listOperations(self)); })
      .def_prop_ro(
          "terminator",
          [](PyBlock &self) -> std::optional<PyOperation> {
            Block *block = self.get();
            if (block->empty() ||
                !block->back().mightHaveTrait<OpTrait::IsTerminator>())
              return std::nullopt;
            return PyOperation{OpHandle::get(self.context(), &block->back())};
          },
          "The terminator, or None.")
      .def(
          "append",
          [](PyBlock &self, PyOperation &op) {
            if (op.get()->getBlock()) {
              if (op.get()->isAncestor(self.get()->getParentOp()))
                throw nb::value_error(
                    "an operation cannot be moved into itself");
              op.get()->remove();
              op.handle->updateParent();
            }
            PyInsertionPoint{self, std::nullopt}.insert(op);
          },
          nb::arg("operation"), "Moves an operation to the end of the block.")
      .def_prop_ro("owner",
                   [](PyBlock &self) {
                     self.check();
                     return PyOperation{self.owner};
                   })
      .def_prop_ro("region",
                   [](PyBlock &self) {
                     return PyRegion(self.owner, self.get()->getParent());
                   })
      .def(
          "__eq__", [](PyBlock &a, PyBlock &b) { return a.block == b.block; },
          nb::is_operator())
      .def("__hash__", [](PyBlock &self) { return size_t(self.block); })
      .def("__str__", [](PyBlock &self) {
        return printed([&](llvm::raw_ostream &os) { self.get()->print(os); });
      });
}

//===----------------------------------------------------------------------===//
// Value
//===----------------------------------------------------------------------===//

static std::string valueName(const PyValue &self, bool localScope) {
  OpPrintingFlags flags;
  if (localScope)
    flags.useLocalScope();
  return printed(
      [&](llvm::raw_ostream &os) { self.get().printAsOperand(os, flags); });
}

static void bindValue(nb::module_ &m) {
  struct Use {
    PyOperation owner;
    unsigned operandNumber;
  };
  nb::class_<Use>(m, "OpOperand", "One use of a value.")
      .def_ro("owner", &Use::owner)
      .def_ro("operand_number", &Use::operandNumber);

  nb::class_<PyValue>(m, "Value")
      .def_prop_ro("type",
                   [](PyValue &self) {
                     return wrap(self.context(), self.get().getType());
                   })
      .def(
          "set_type",
          [](PyValue &self, const PyType &type) {
            checkSameContext(self.context(), type.context, "type");
            self.get().setType(type.value);
          },
          nb::arg("type"))
      .def_prop_ro("context",
                   [](PyValue &self) { return PyIRContext{self.context()}; })
      .def_prop_ro(
          "owner",
          [](PyValue &self) -> nb::object {
            if (auto argument = dyn_cast<BlockArgument>(self.get()))
              return nb::cast(PyBlock(self.owner, argument.getOwner()));
            return nb::cast(PyOperation{self.owner});
          },
          "The operation of a result, the block of an argument.")
      .def_prop_ro("uses",
                   [](PyValue &self) {
                     std::vector<Use> uses;
                     for (OpOperand &use : self.get().getUses())
                       uses.push_back({PyOperation{OpHandle::get(
                                           self.context(), use.getOwner())},
                                       use.getOperandNumber()});
                     return uses;
                   })
      .def(
          "replace_all_uses_with",
          [](PyValue &self, const PyValue &with) {
            checkSameContext(self.context(), with.context(), "value");
            self.get().replaceAllUsesWith(with.get());
          },
          nb::arg("with"))
      .def("get_name", &valueName, nb::arg("use_local_scope") = false,
           "The name the printer gives the value, as '%0'.")
      .def(
          "__eq__", [](PyValue &a, PyValue &b) { return a.value == b.value; },
          nb::is_operator())
      .def("__hash__",
           [](PyValue &self) { return size_t(hash_value(self.value)); })
      .def("__str__", [](PyValue &self) { return printedForm(self.get()); })
      .def("__repr__", [](PyValue &self) {
        return "Value(" + printedForm(self.get()) + ")";
      });
  nb::class_<PyOpResult, PyValue>(m, "OpResult")
      .def_prop_ro("result_number", [](PyOpResult &self) {
        return cast<OpResult>(self.get()).getResultNumber();
      });
  nb::class_<PyBlockArgument, PyValue>(m, "BlockArgument")
      .def_prop_ro("arg_number", [](PyBlockArgument &self) {
        return cast<BlockArgument>(self.get()).getArgNumber();
      });
}

//===----------------------------------------------------------------------===//
// InsertionPoint
//===----------------------------------------------------------------------===//

static PyInsertionPoint beforeOperation(const PyOperation &op) {
  Block *block = op.get()->getBlock();
  if (!block)
    throw nb::value_error(
        "the operation of an insertion point must be in a block");
  return {PyBlock(op.handle->getParent(), block), op};
}

static PyInsertionPoint beforeOrEnd(const PyBlock &block, Operation *op) {
  if (!op)
    return {block, std::nullopt};
  return {block, PyOperation{OpHandle::get(block.context(), op)}};
}

static void bindInsertionPoint(nb::module_ &m) {
  nb::class_<PyInsertionPoint>(m, "InsertionPoint", "Where new operations go.")
      .def(
          "__init__",
          [](PyInsertionPoint *self, const PyBlock &block) {
            block.check();
            new (self) PyInsertionPoint{block, std::nullopt};
          },
          nb::arg("block"), "At the end of a block.")
      .def(
          "__init__",
          [](PyInsertionPoint *self, const PyOperation &op) {
            new (self) PyInsertionPoint(beforeOperation(op));
          },
          nb::arg("beforeOperation"), "Before an operation.")
      .def_static(
          "at_block_begin",
          [](const PyBlock &block) {
            Block *at = block.get();
            return beforeOrEnd(block, at->empty() ? nullptr : &at->front());
          },
          nb::arg("block"))
      .def_static(
          "at_block_terminator",
          [](const PyBlock &block) {
            Block *at = block.get();
            if (at->empty() ||
                !at->back().mightHaveTrait<OpTrait::IsTerminator>())
              throw nb::value_error("the block has no terminator");
            return beforeOrEnd(block, &at->back());
          },
          nb::arg("block"))
      .def_static(
          "after",
          [](const PyOperation &op) {
            return beforeOrEnd(beforeOperation(op).block,
                               op.get()->getNextNode());
          },
          nb::arg("operation"))
      .def_prop_ro_static("current",
                          [](nb::handle) -> std::optional<PyInsertionPoint> {
                            const PyInsertionPoint *point =
                                currentInsertionPoint();
                            if (!point)
                              return std::nullopt;
                            return *point;
                          })
      .def("__enter__",
           [](nb::object self) {
             auto &point = nb::cast<PyInsertionPoint &>(self);
             pushFrame({point.block.context(), std::nullopt, point});
             return self;
           })
      .def("__exit__", [](PyInsertionPoint &self,
                          nb::args) { popFrame(self.block.context()); })
      .def("insert", &PyInsertionPoint::insert, nb::arg("operation"),
           "Puts a detached operation here.")
      .def_prop_ro("block", [](PyInsertionPoint &self) { return self.block; })
      .def_prop_ro("ref_operation",
                   [](PyInsertionPoint &self) { return self.before; });
}

void mlir::lumen::python::bindBlocks(nb::module_ &m) {
  bindRegion(m);
  bindBlock(m);
  bindValue(m);
  bindInsertionPoint(m);
}

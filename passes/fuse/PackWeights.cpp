// SPDX-License-Identifier: Apache-2.0
#include "dialect/layout/PackedLayout.h"
#include "passes/Passes.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/DenseMap.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_PACKWEIGHTSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// The layouts in which an argument is read: that of the file, and tiles of so
/// many rows (0: none).
struct Layouts {
  bool raw = false;
  int64_t rows = 0;

  bool operator==(Layouts other) const {
    return raw == other.raw && rows == other.rows;
  }
  bool operator!=(Layouts other) const { return !(*this == other); }
  /// Both; tiles of fewer rows serve whoever wants more.
  Layouts operator|(Layouts other) const {
    int64_t least = std::min(rows, other.rows);
    return {raw || other.raw, least ? least : std::max(rows, other.rows)};
  }
};

/// Reads the whole module first, then rewrites every function and every call
/// once.
class WeightPacker {
public:
  /// `rows` is what all tiles have; 0: what the target says.
  WeightPacker(ModuleOp module, TargetAttr target, int64_t rows)
      : module(module), target(target), rows(rows) {}

  /// Finds the layouts that every argument is read in.
  LogicalResult analyze();
  /// Gives the arguments their types, adds the second ones, passes them in
  /// calls.
  void rewrite();

private:
  func::FuncOp lookup(func::CallOp call) {
    return symbols.lookupNearestSymbolFrom<func::FuncOp>(call,
                                                         call.getCalleeAttr());
  }
  Layouts getLayouts(Value value) const { return layouts.lookup(value); }
  /// How this use reads its value, as far as is known.
  Layouts getLayouts(OpOperand &use);
  /// Every packed operand of `op` must be an argument.
  LogicalResult checkOperands(Operation *op);
  void rewriteArguments(func::FuncOp function);
  void rewriteCall(func::CallOp call);

  /// Rows of the tiles in which weight `number` of a product is packed.
  int64_t getRows(QLinearOp product, unsigned number);
  PackedAttr getLayout(Type elementType, int64_t rows) const {
    auto type = RankedTensorType::get({1, 1}, elementType);
    FormatOp format = lookupFormat(type, module);
    return PackedAttr::get(
        elementType.getContext(), rows, getStepSize(elementType, target),
        storesSignedCodes(target, format), storesWholeCodes(target, format));
  }
  RankedTensorType getPackedType(Type type, int64_t rows) const {
    auto tensor = cast<RankedTensorType>(type);
    return RankedTensorType::get(tensor.getShape(), tensor.getElementType(),
                                 getLayout(tensor.getElementType(), rows));
  }

  ModuleOp module;
  TargetAttr target;
  int64_t rows;
  SymbolTableCollection symbols;
  llvm::DenseMap<Value, Layouts> layouts;
  /// The packed form of an argument that is read in both layouts.
  llvm::DenseMap<Value, Value> second;
};

} // namespace

/// A matrix in the file's layout.
static bool isRawWeight(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() == 2 && !type.getEncoding();
}

/// The number of the weight that `use` is of its product, if it is one.
static std::optional<unsigned> getWeightNumber(OpOperand &use) {
  auto product = dyn_cast<QLinearOp>(use.getOwner());
  if (!product)
    return std::nullopt;
  unsigned number =
      use.getOperandNumber() - product.getWeights().getBeginOperandIndex();
  if (number >= product.getWeights().size())
    return std::nullopt;
  return number;
}

static bool isProductWeight(OpOperand &use) {
  return getWeightNumber(use).has_value();
}

/// `value` and what meets it in element-wise ops that may follow a product.
static llvm::SetVector<Value> collectJoined(Value value) {
  llvm::SetVector<Value> joined;
  joined.insert(value);
  for (size_t i = 0; i < joined.size(); ++i) {
    Operation *maker = joined[i].getDefiningOp();
    if (maker && maker->hasTrait<ProductEpilogue>())
      joined.insert_range(maker->getOperands());
    for (Operation *user : joined[i].getUsers()) {
      if (isElementwise(user))
        joined.insert_range(user->getOperands());
      if (user->hasTrait<ProductEpilogue>())
        joined.insert(user->getResult(0));
    }
  }
  return joined;
}

int64_t WeightPacker::getRows(QLinearOp product, unsigned number) {
  if (rows)
    return rows;
  auto rowsOf = [&](unsigned i) {
    auto type = cast<RankedTensorType>(product.getWeights()[i].getType());
    return getPackedLayout(target, type, product).getRows();
  };
  int64_t least = rowsOf(number);
  // What meets behind the product (gate and up) is computed tile by tile.
  for (Value value : collectJoined(product.getOutputs()[number]))
    if (value.getDefiningOp() == product)
      least = std::min(least, rowsOf(cast<OpResult>(value).getResultNumber()));
  // A tile holds rows of one expert.
  int64_t n = cast<RankedTensorType>(product.getWeights()[number].getType())
                  .getDimSize(0);
  if (product.getGroups() && !ShapedType::isDynamic(n))
    while (least > target.getLanes() && n / product.getExperts() % least)
      least /= 2;
  return least;
}

Layouts WeightPacker::getLayouts(OpOperand &use) {
  if (std::optional<unsigned> number = getWeightNumber(use))
    return {false, getRows(cast<QLinearOp>(use.getOwner()), *number)};
  if (auto call = dyn_cast<func::CallOp>(use.getOwner()))
    if (func::FuncOp callee = lookup(call); callee && !callee.isDeclaration())
      return getLayouts(callee.getArgument(use.getOperandNumber()));
  return {true, 0};
}

LogicalResult WeightPacker::analyze() {
  // Calls hand the needs of the callee to the caller: repeat until nothing is
  // new.
  for (bool changed = true; changed;) {
    changed = false;
    for (auto function : module.getOps<func::FuncOp>())
      for (BlockArgument argument : function.getArguments()) {
        if (!isRawWeight(argument))
          continue;
        Layouts found;
        for (OpOperand &use : argument.getUses())
          found = found | getLayouts(use);
        changed |= found != layouts[argument];
        layouts[argument] = found;
      }
  }
  WalkResult result = module.walk([&](Operation *op) {
    bool relevant = isa<QLinearOp, func::CallOp>(op);
    return relevant && failed(checkOperands(op)) ? WalkResult::interrupt()
                                                 : WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

LogicalResult WeightPacker::checkOperands(Operation *op) {
  for (OpOperand &use : op->getOpOperands()) {
    Value value = use.get();
    if (!isRawWeight(value) || !getLayouts(use).rows || layouts.count(value))
      continue;
    InFlightDiagnostic diag =
        op->emitOpError()
        << "operand " << use.getOperandNumber()
        << " is a product weight and must be a function argument to be packed";
    diag.attachNote(value.getLoc()) << "the weight is made here";
    return diag;
  }
  return success();
}

void WeightPacker::rewriteArguments(func::FuncOp function) {
  // From the last on, so that an inserted argument moves none that is still to
  // come.
  for (unsigned i = function.getNumArguments(); i-- > 0;) {
    BlockArgument argument = function.getArgument(i);
    Layouts needs = getLayouts(argument);
    if (!needs.rows)
      continue;
    PackedAttr tile =
        getLayout(getElementTypeOrSelf(argument.getType()), needs.rows);
    if (!needs.raw) {
      if (function.isPublic())
        function.setArgAttr(i, LumenDialect::kTileAttr, tile);
      argument.setType(getPackedType(argument.getType(), needs.rows));
      continue;
    }
    auto attributes = function.getArgAttrDict(i);
    if (failed(function.insertArgument(
            i + 1, getPackedType(argument.getType(), needs.rows), attributes,
            argument.getLoc())))
      llvm_unreachable("the type of a function with a body can be rebuilt");
    if (function.isPublic())
      function.setArgAttr(i + 1, LumenDialect::kTileAttr, tile);
    Value packed = function.getArgument(i + 1);
    second[argument] = packed;
    argument.replaceUsesWithIf(packed, isProductWeight);
  }
  function.setType(FunctionType::get(function.getContext(),
                                     function.getBody().getArgumentTypes(),
                                     function.getResultTypes()));
}

void WeightPacker::rewriteCall(func::CallOp call) {
  func::FuncOp callee = lookup(call);
  if (!callee || callee.isDeclaration())
    return;
  auto select = [&](Value value, Value argument) {
    return value.getType() == argument.getType() ? value : second.lookup(value);
  };
  // The operands stand for the arguments from before the second ones came in.
  SmallVector<Value> operands;
  for (Value value : call.getOperands()) {
    Value argument = callee.getArgument(operands.size());
    operands.push_back(select(value, argument));
    if (Value packed = second.lookup(argument))
      operands.push_back(select(value, packed));
  }
  call->setOperands(operands);
}

void WeightPacker::rewrite() {
  for (auto function : module.getOps<func::FuncOp>())
    if (!function.isDeclaration())
      rewriteArguments(function);
  module.walk([&](func::CallOp call) { rewriteCall(call); });
}

namespace {

struct PackWeightsPass : lumen::impl::PackWeightsPassBase<PackWeightsPass> {
  using PackWeightsPassBase::PackWeightsPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    TargetAttr target = TargetAttr::lookup(module);
    if (!rows && !target) {
      module.emitError() << "needs the module attribute "
                         << LumenDialect::kTargetAttr
                         << " (lumen-opt --target=native gives it one) or the "
                            "option rows to choose a packed layout";
      return signalPassFailure();
    }
    if (rows && !PackedAttr::getChecked([&] { return module.emitError(); },
                                        &getContext(), int64_t(rows),
                                        int64_t(1), false, false))
      return signalPassFailure();
    WeightPacker packer(module, target, rows);
    if (failed(packer.analyze()))
      return signalPassFailure();
    packer.rewrite();
  }
};

} // namespace

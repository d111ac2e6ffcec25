// SPDX-License-Identifier: Apache-2.0
#include "passes/target/gpu/LaneLayout.h"

#include "dialect/LumenDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

bool LaneLayout::isPossible(int64_t elements, int64_t chunk) {
  if (elements % chunk)
    return false;
  int64_t chunks = elements / chunk;
  return chunks % kWarp == 0 || (chunks < kWarp && llvm::isPowerOf2_64(chunks));
}

bool mlir::lumen::isConstantVector(Value value) {
  return isa<VectorType>(value.getType()) &&
         value.getDefiningOp<arith::ConstantOp>();
}

int64_t NumberRule::apply(int64_t number) const {
  int64_t value = first;
  for (const Field &field : fields)
    value += (number >> field.shift & ((int64_t(1) << field.bits) - 1)) *
             field.weight;
  return value;
}

std::optional<NumberRule>
mlir::lumen::findNumberRule(DenseElementsAttr elements) {
  auto integers = dyn_cast<DenseIntElementsAttr>(elements);
  if (!integers || !integers.getElementType().isInteger(32))
    return std::nullopt;
  SmallVector<int64_t> values;
  for (const APInt &value : integers.getValues<APInt>())
    values.push_back(value.getSExtValue());
  NumberRule rule = {values.front(), {}};
  for (int64_t bit = 0; int64_t(1) << bit < int64_t(values.size()); ++bit) {
    int64_t weight = values[int64_t(1) << bit] - rule.first;
    if (!rule.fields.empty()) {
      NumberRule::Field &last = rule.fields.back();
      if (weight == last.weight << last.bits) {
        ++last.bits;
        continue;
      }
    }
    rule.fields.push_back({bit, 1, weight});
  }
  llvm::erase_if(rule.fields, [](auto &field) { return field.weight == 0; });
  for (auto [number, value] : llvm::enumerate(values))
    if (rule.apply(number) != value)
      return std::nullopt;
  return rule;
}

int64_t mlir::lumen::getSumChunk(OpOperand &operand) {
  Operation *op = operand.getOwner();
  unsigned number = operand.getOperandNumber();
  if (auto mma = dyn_cast<MmaOp>(op))
    return (number < 2 ? mma.getShape().getK() : mma.getShape().getN()) / 4;
  if (isa<Dot4Op, Dot2Op>(op))
    return number == 2 ? 1 : isa<Dot4Op>(op) ? 4 : 2;
  return 0;
}

/// Whether a lane can compute what it has of a constant.
static bool isComputable(arith::ConstantOp constant) {
  auto elements = cast<DenseElementsAttr>(constant.getValue());
  return elements.isSplat() || findNumberRule(elements);
}

namespace {

/// A vector of which elements may be anywhere.
bool isFree(Value value) {
  return isa<VectorType>(value.getType()) && !isConstantVector(value);
}

int64_t getBytes(Value vector) {
  Type element = cast<VectorType>(vector.getType()).getElementType();
  return element.isIndex() ? 8
                           : std::max(1u, element.getIntOrFloatBitWidth() / 8);
}

class LayoutFinder {
public:
  LogicalResult run(func::FuncOp function);
  DenseMap<Value, LaneLayout> layouts;

private:
  /// A value whose chunks have as many elements, or (`bytes`) as many bytes.
  struct Neighbour {
    Value value;
    bool bytes;
  };

  void connect(Value a, Value b, bool bytes = false);
  void connect(Operation *op);
  LogicalResult force(Operation *op);
  LogicalResult force(vector::ShuffleOp op);
  LogicalResult assign(Operation *op, Value value, int64_t chunk);

  DenseMap<Value, SmallVector<Neighbour>> neighbours;
};

void LayoutFinder::connect(Value a, Value b, bool bytes) {
  if (!isFree(a) || !isFree(b) || a == b)
    return;
  neighbours[a].push_back({b, bytes});
  neighbours[b].push_back({a, bytes});
}

/// Says which values of `op` are laid out alike.
void LayoutFinder::connect(Operation *op) {
  if (auto loop = dyn_cast<scf::ForOp>(op)) {
    for (auto [init, argument, yielded, result] :
         llvm::zip(loop.getInitArgs(), loop.getRegionIterArgs(),
                   loop.getYieldedValues(), loop.getResults())) {
      connect(init, argument);
      connect(argument, yielded);
      connect(argument, result);
    }
  } else if (auto branch = dyn_cast<scf::IfOp>(op)) {
    for (auto [i, result] : llvm::enumerate(branch.getResults()))
      for (Region *region : branch.getRegions())
        connect(result, region->front().getTerminator()->getOperand(i));
  } else if (isa<vector::BitCastOp>(op)) {
    connect(op->getOperand(0), op->getResult(0), /*bytes=*/true);
  } else if (auto gather = dyn_cast<vector::GatherOp>(op)) {
    connect(gather.getIndices(), gather.getResult());
  } else if (auto scatter = dyn_cast<vector::ScatterOp>(op)) {
    connect(scatter.getIndices(), scatter.getValueToStore());
  } else if (op->hasTrait<OpTrait::Elementwise>()) {
    SmallVector<Value> values(op->getOperands());
    llvm::append_range(values, op->getResults());
    Value first;
    for (Value value : values) {
      if (!isFree(value))
        continue;
      if (first)
        connect(first, value);
      first = value;
    }
  }
}

/// Gives `value` chunks of this size, and all that are laid out alike.
LogicalResult LayoutFinder::assign(Operation *op, Value value, int64_t chunk) {
  SmallVector<std::pair<Value, int64_t>> work = {{value, chunk}};
  while (!work.empty()) {
    auto [each, size] = work.pop_back_val();
    if (!isFree(each))
      continue;
    int64_t elements = cast<VectorType>(each.getType()).getNumElements();
    if (!size || !LaneLayout::isPossible(elements, size))
      return op->emitOpError("cannot be distributed: of ")
             << each.getType() << ", lanes cannot have " << size
             << " elements at a time";
    auto [known, isNew] = layouts.try_emplace(each, LaneLayout{elements, size});
    if (!isNew) {
      if (known->second.chunk != size)
        return op->emitOpError("cannot be distributed: lanes have ")
               << known->second.chunk << " elements of " << each.getType()
               << " at a time, but it needs " << size;
      continue;
    }
    for (const Neighbour &next : neighbours[each])
      work.push_back(
          {next.value,
           next.bytes ? size * getBytes(each) / getBytes(next.value) : size});
  }
  return success();
}

/// What changes places is all in one lane, unless others say where its result
/// is.
LogicalResult LayoutFinder::force(vector::ShuffleOp op) {
  if (auto known = layouts.find(op.getResult());
      known != layouts.end() && !known->second.isUniform())
    return success();
  for (Value value : {op.getV1(), op.getV2(), op.getResult()})
    if (failed(assign(op, value,
                      cast<VectorType>(value.getType()).getNumElements())))
      return failure();
  return success();
}

/// Lanes have all codes of a sum.
LogicalResult LayoutFinder::force(Operation *op) {
  bool hasTable = llvm::any_of(op->getOperands(), [](Value operand) {
    return isConstantVector(operand) &&
           !isComputable(operand.getDefiningOp<arith::ConstantOp>());
  });
  if (hasTable) {
    // Who takes them has all, too.
    ResultRange results = isa<scf::YieldOp>(op)
                              ? op->getParentOp()->getResults()
                              : op->getResults();
    for (Value result : results)
      if (isFree(result) &&
          failed(assign(op, result,
                        cast<VectorType>(result.getType()).getNumElements())))
        return failure();
    return success();
  }
  for (OpOperand &operand : op->getOpOperands())
    if (int64_t chunk = getSumChunk(operand))
      if (failed(assign(op, operand.get(), chunk)))
        return failure();
  if (isa<Dot4Op, Dot2Op, MmaOp>(op))
    return assign(op, op->getResult(0), getSumChunk(op->getOpOperand(2)));
  return success();
}

LogicalResult LayoutFinder::run(func::FuncOp function) {
  SmallVector<std::pair<Operation *, Value>> values;
  function.walk([&](Operation *op) {
    connect(op);
    for (Value result : op->getResults())
      if (isFree(result))
        values.push_back({op, result});
  });
  WalkResult walk = function.walk([&](Operation *op) -> WalkResult {
    for (Value value : op->getResults())
      if (auto type = dyn_cast<VectorType>(value.getType());
          type && (type.getRank() != 1 || type.isScalable()))
        return op->emitOpError("cannot be distributed over the lanes of a "
                               "warp: it makes a ")
               << type;
    return force(op);
  });
  if (!walk.wasInterrupted())
    walk = function.walk(
        [&](vector::ShuffleOp op) { return WalkResult(force(op)); });
  if (walk.wasInterrupted())
    return failure();
  // Of bits that are several types, the widest first: its elements are whole.
  llvm::stable_sort(values, [](auto &a, auto &b) {
    return getBytes(a.second) > getBytes(b.second);
  });
  for (auto [op, value] : values) {
    if (layouts.contains(value))
      continue;
    int64_t elements = cast<VectorType>(value.getType()).getNumElements();
    int64_t chunk = LaneLayout::isPossible(elements, 1) ? 1 : elements;
    if (failed(assign(op, value, chunk)))
      return failure();
  }
  walk = function.walk([&](Operation *op) -> WalkResult {
    for (Value operand : op->getOperands())
      if (isFree(operand) && !layouts.contains(operand))
        return op->emitOpError("cannot be distributed over the lanes of a "
                               "warp: nothing in its kernel makes the vector");
    return success();
  });
  return failure(walk.wasInterrupted());
}

} // namespace

FailureOr<LaneLayouts> LaneLayouts::find(func::FuncOp function) {
  LayoutFinder finder;
  if (failed(finder.run(function)))
    return failure();
  LaneLayouts found;
  found.layouts = std::move(finder.layouts);
  return found;
}

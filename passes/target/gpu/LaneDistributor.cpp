// SPDX-License-Identifier: Apache-2.0
#include "passes/target/gpu/LaneDistributor.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::lumen;

LogicalResult LaneDistributor::replace(Value old, Value now) {
  layouts.set(now, layouts.lookup(old));
  old.replaceAllUsesWith(now);
  dead.push_back(old.getDefiningOp());
  return success();
}

void LaneDistributor::takeOwn(Value value) {
  if (layouts.contains(value))
    value.setType(layouts.lookup(value).getType(
        cast<VectorType>(value.getType()).getElementType()));
}

Value LaneDistributor::makeConstant(Value constant, LaneLayout layout) {
  auto op = constant.getDefiningOp<arith::ConstantOp>();
  auto elements = cast<DenseElementsAttr>(op.getValue());
  Type element = elements.getElementType(), type = layout.getType(element);
  if (elements.isSplat()) {
    auto value = elements.getSplatValue<TypedAttr>();
    if (type != element)
      value = DenseElementsAttr::get(cast<VectorType>(type), Attribute(value));
    return arith::ConstantOp::create(b, value);
  }
  if (layout.isUniform())
    return arith::ConstantOp::create(b, elements);
  auto rule = findNumberRule(elements);
  if (!rule)
    return nullptr;
  SmallVector<Value> own;
  for (int64_t i = 0; i < layout.getOwn(); ++i) {
    Value number = getElementNumber(b, lane, layout, i);
    Value value = b.integer(element, rule->first);
    for (auto [shift, bits, weight] : rule->fields) {
      Value field = number;
      if (shift)
        field = arith::ShRUIOp::create(b, field, b.integer(element, shift));
      if (int64_t(1) << (shift + bits) < layout.elements)
        field = arith::AndIOp::create(
            b, field, b.integer(element, (int64_t(1) << bits) - 1));
      field = arith::MulIOp::create(b, field, b.integer(element, weight));
      value = arith::AddIOp::create(b, field, value);
    }
    own.push_back(value);
  }
  return joinElements(b, layout, own);
}

LogicalResult
LaneDistributor::makeConstants(Operation *op,
                               function_ref<LaneLayout(OpOperand &)> layoutOf) {
  for (OpOperand &operand : op->getOpOperands()) {
    if (!isConstantVector(operand.get()))
      continue;
    LaneLayout layout = layoutOf(operand);
    Value made = makeConstant(operand.get(), layout);
    if (!made)
      return operand.get().getDefiningOp()->emitOpError(
          "cannot be distributed: its elements follow no rule that lanes could "
          "compute");
    layouts.set(made, layout);
    operand.set(made);
  }
  return success();
}

/// Chunks of an operand that is laid out like nothing else.
static int64_t getChunk(OpOperand &operand) {
  int64_t elements = cast<VectorType>(operand.get().getType()).getNumElements();
  if (int64_t chunk = getSumChunk(operand))
    return chunk;
  return LaneLayout::isPossible(elements, 1) ? 1 : elements;
}

/// The vectors of an op that moves single elements, which are laid out alike.
static SmallVector<Value> getAlike(Operation *op) {
  if (auto gather = dyn_cast<vector::GatherOp>(op))
    return {gather.getResult()};
  if (auto scatter = dyn_cast<vector::ScatterOp>(op))
    return {scatter.getValueToStore(), scatter.getIndices()};
  return {};
}

/// The vectors that an op takes and makes.
static auto getValues(Operation *op) {
  SmallVector<Value> values(op->getOperands());
  llvm::append_range(values, op->getResults());
  return values;
}

LogicalResult LaneDistributor::distributeElementwise(Operation *op) {
  SmallVector<Value> values = getValues(op);
  auto *like = llvm::find_if(
      values, [&](Value value) { return layouts.contains(value); });
  int64_t chunk = layouts.lookup(*like).chunk;
  if (failed(makeConstants(op, [&](OpOperand &operand) {
        auto type = cast<VectorType>(operand.get().getType());
        return LaneLayout{type.getNumElements(), chunk};
      })))
    return failure();
  for (Value result : op->getResults())
    takeOwn(result);
  return success();
}

LogicalResult LaneDistributor::distribute(scf::ForOp op) {
  if (failed(makeConstants(op, [&](OpOperand &operand) {
        return layouts.lookup(op.getTiedLoopResult(&operand));
      })))
    return failure();
  for (auto [argument, result] :
       llvm::zip(op.getRegionIterArgs(), op.getResults())) {
    if (layouts.contains(result))
      takeOwn(argument);
    takeOwn(result);
  }
  return success();
}

LogicalResult LaneDistributor::distributeBranch(Operation *op) {
  for (Value result : op->getResults())
    takeOwn(result);
  return success();
}

LogicalResult LaneDistributor::distribute(scf::YieldOp op) {
  if (!isa<scf::ForOp, scf::IfOp>(op->getParentOp()))
    return op.emitOpError("cannot be distributed over the lanes of a warp");
  return makeConstants(op, [&](OpOperand &operand) {
    return layouts.lookup(
        op->getParentOp()->getResult(operand.getOperandNumber()));
  });
}

LogicalResult LaneDistributor::distribute(vector::BroadcastOp op) {
  LaneLayout layout = layouts.lookup(op.getResult());
  Value source = op.getSource();
  if (layouts.contains(source))
    source = gatherElement(b, source, layouts.lookup(source),
                           b.integer(b.getI32Type(), 0), 0, 0);
  return replace(op.getResult(),
                 isa<VectorType>(layout.getType(source.getType()))
                     ? b.broadcast(source, layout.getOwn())
                     : source);
}

LogicalResult LaneDistributor::distribute(vector::BitCastOp op) {
  LaneLayout layout = layouts.lookup(op.getResult());
  Type element = op.getResultVectorType().getElementType();
  auto type = VectorType::get(layout.getOwn(), element);
  Value own = op.getSource();
  if (!isa<VectorType>(own.getType()))
    own = b.broadcast(own, 1);
  own = vector::BitCastOp::create(b, type, own);
  if (layout.getType(element) == element)
    own = getOwnElement(b, own, 0);
  return replace(op.getResult(), own);
}

/// lumen.dot4 and lumen.dot2, which work on vectors.
LogicalResult LaneDistributor::distributeSum(Operation *op) {
  for (OpOperand &operand : op->getOpOperands())
    if (!isa<VectorType>(operand.get().getType()))
      operand.set(b.broadcast(operand.get(), 1));
  Value result = op->getResult(0);
  LaneLayout layout = layouts.lookup(result);
  Type element = cast<VectorType>(result.getType()).getElementType();
  result.setType(VectorType::get(layout.getOwn(), element));
  if (layout.getType(element) != element)
    return success();
  b.setInsertionPointAfter(op);
  auto sum = vector::ExtractOp::create(b, result, 0);
  layouts.set(sum.getResult(), layout);
  result.replaceAllUsesExcept(sum.getResult(), sum);
  return success();
}

bool LaneDistributor::isUniform(Operation *op) const {
  return llvm::all_of(getValues(op), [&](Value value) {
    return !layouts.contains(value) || layouts.lookup(value).isUniform();
  });
}

LogicalResult LaneDistributor::distribute(Operation *op) {
  b.setInsertionPoint(op);
  b.setLoc(op->getLoc());
  if (auto memory = dyn_cast<memref::AllocaOp>(op))
    return distribute(memory);
  SmallVector<Value> values = getValues(op);
  bool isLaidOut = llvm::any_of(
      values, [&](Value value) { return layouts.contains(value); });
  bool isConstant = llvm::any_of(op->getOperands(), isConstantVector);
  if (!isLaidOut && !isConstant)
    return success();
  if (auto loop = dyn_cast<scf::ForOp>(op))
    return distribute(loop);
  if (auto yield = dyn_cast<scf::YieldOp>(op))
    return distribute(yield);
  if (isa<scf::IfOp>(op))
    return distributeBranch(op);
  // Where all lanes have everything, each does the same with it.
  if (isLaidOut && op->getNumRegions() == 0 && isUniform(op)) {
    if (auto load = dyn_cast<vector::LoadOp>(op))
      align(load, load);
    return success();
  }
  if (op->hasTrait<OpTrait::Elementwise>() && !isa<vector::BitCastOp>(op))
    return distributeElementwise(op);
  SmallVector<Value> alike = getAlike(op);
  auto *like = llvm::find_if(
      alike, [&](Value value) { return layouts.contains(value); });
  if (failed(makeConstants(op, [&](OpOperand &operand) {
        int64_t elements =
            cast<VectorType>(operand.get().getType()).getNumElements();
        return like != alike.end() ? layouts.lookup(*like)
                                   : LaneLayout{elements, getChunk(operand)};
      })))
    return failure();
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<Dot4Op, Dot2Op>([&](auto each) { return distributeSum(each); })
      .Case<vector::LoadOp, vector::StoreOp, vector::BroadcastOp,
            vector::BitCastOp, vector::ReductionOp, vector::ExtractOp,
            vector::ExtractStridedSliceOp, vector::DeinterleaveOp,
            vector::InsertStridedSliceOp, vector::InterleaveOp,
            vector::GatherOp, vector::ScatterOp, vector::ShuffleOp, MmaOp>(
          [&](auto each) { return distribute(each); })
      .Default([](Operation *each) {
        return each->emitOpError(
            "cannot be distributed over the lanes of a warp");
      });
}

LogicalResult LaneDistributor::run() {
  b.setInsertionPointToStart(&function.getBody().front());
  lane = LaneOp::create(b);
  laneIndex = b.toIndex(lane);
  SmallVector<Operation *> ops;
  function.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (op != function)
      ops.push_back(op);
  });
  for (Operation *op : ops)
    if (failed(distribute(op)))
      return failure();
  for (Operation *op : llvm::reverse(dead))
    op->erase();
  return success();
}

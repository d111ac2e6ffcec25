// SPDX-License-Identifier: Apache-2.0
//
// Gives every thread of a warp its lane of each vector.
#include "passes/Passes.h"
#include "passes/target/gpu/LaneGather.h"
#include "passes/target/gpu/LaneLayout.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_DISTRIBUTELANESPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Of four codes.
constexpr int64_t kWordBytes = 4;

/// Of what a warp shares: that of the largest elements that a lane moves.
constexpr int64_t kScratchAlignment = 16;

/// Ops are changed in place, so that a value is what the lane has of it once
/// its op is behind.
class Distributor {
public:
  Distributor(func::FuncOp function, LaneLayouts layouts)
      : function(function), layouts(std::move(layouts)),
        b(function.getLoc(), function.getContext()) {}

  LogicalResult run();
  /// Bytes of a warp's scratch memory.
  int64_t scratch = 0;

private:
  LogicalResult distribute(Operation *op);
  bool isUniform(Operation *op);
  LogicalResult distributeElementwise(Operation *op);
  void distribute(scf::ForOp op);
  void distribute(vector::LoadOp op);
  void distribute(vector::StoreOp op);
  void distribute(vector::BroadcastOp op);
  void distribute(vector::BitCastOp op);
  void distribute(vector::ReductionOp op);
  LogicalResult distribute(vector::ExtractOp op);
  void distribute(vector::InsertStridedSliceOp op);
  void distribute(vector::InterleaveOp op);
  void distributeSum(Operation *op);
  void distribute(memref::AllocaOp op);

  /// `result` is, at element e, element factor * e + offset of `source`.
  void pick(Value result, Value source, LaneLayout from, int64_t factor,
            int64_t offset);
  Value makeConstant(arith::ConstantOp op, LaneLayout layout);
  /// Replaces constants among the operands, which are laid out like this.
  LogicalResult makeConstants(Operation *op, LaneLayout layout);
  void replace(Value old, Value now);
  void makeScalarLike(Value value);
  SmallVector<Value> offsetLast(ValueRange indices, LaneLayout layout,
                                int64_t turn);

  func::FuncOp function;
  LaneLayouts layouts;
  KernelBuilder b;
  Value lane, laneIndex;
  SmallVector<Operation *> dead;
};

void Distributor::replace(Value old, Value now) {
  layouts.set(now, layouts.lookup(old));
  old.replaceAllUsesWith(now);
  dead.push_back(old.getDefiningOp());
}

void Distributor::makeScalarLike(Value value) {
  if (layouts.contains(value))
    value.setType(layouts.lookup(value).getType(
        cast<VectorType>(value.getType()).getElementType()));
}

/// What a lane has of a constant; null where that follows no simple rule.
Value Distributor::makeConstant(arith::ConstantOp op, LaneLayout layout) {
  auto elements = cast<DenseElementsAttr>(op.getValue());
  Type element = elements.getElementType();
  if (elements.isSplat()) {
    auto value = elements.getSplatValue<TypedAttr>();
    Type own = layout.getType(element);
    return arith::ConstantOp::create(
        b, own == element ? value
                          : TypedAttr(DenseElementsAttr::get(
                                cast<VectorType>(own), Attribute(value))));
  }
  if (layout.isUniform())
    return arith::ConstantOp::create(b, elements);
  auto progression = getProgression(elements);
  if (!progression)
    return nullptr;
  auto [first, step] = *progression;
  SmallVector<Value> own;
  for (int64_t i = 0; i < layout.getOwn(); ++i) {
    Value number = getElementNumber(b, lane, layout, i);
    number = arith::MulIOp::create(b, number, b.integer(element, step));
    own.push_back(arith::AddIOp::create(b, number, b.integer(element, first)));
  }
  return joinElements(b, layout, own);
}

LogicalResult Distributor::makeConstants(Operation *op, LaneLayout layout) {
  for (OpOperand &operand : op->getOpOperands()) {
    if (!isConstantVector(operand.get()))
      continue;
    auto constant = operand.get().getDefiningOp<arith::ConstantOp>();
    LaneLayout own = layout;
    own.elements = cast<VectorType>(constant.getType()).getNumElements();
    Value made = makeConstant(constant, own);
    if (!made)
      return constant.emitOpError("cannot be distributed: its elements follow "
                                  "no rule that lanes could compute");
    operand.set(made);
  }
  return success();
}

LogicalResult Distributor::distributeElementwise(Operation *op) {
  Value like;
  for (Value value : llvm::concat<Value>(SmallVector<Value>(op->getResults()),
                                         SmallVector<Value>(op->getOperands())))
    if (layouts.contains(value)) {
      like = value;
      break;
    }
  if (!like)
    return success();
  if (failed(makeConstants(op, layouts.lookup(like))))
    return failure();
  for (Value result : op->getResults())
    makeScalarLike(result);
  return success();
}

void Distributor::distribute(scf::ForOp op) {
  for (auto [init, argument, result] : llvm::zip(
           op.getInitArgsMutable(), op.getRegionIterArgs(), op.getResults())) {
    if (!layouts.contains(result))
      continue;
    LaneLayout layout = layouts.lookup(result);
    if (isConstantVector(init.get()))
      init.set(
          makeConstant(init.get().getDefiningOp<arith::ConstantOp>(), layout));
    makeScalarLike(argument);
    makeScalarLike(result);
  }
}

/// Where in memory chunk `turn` of the lane begins.
SmallVector<Value> Distributor::offsetLast(ValueRange indices,
                                           LaneLayout layout, int64_t turn) {
  SmallVector<Value> result(indices);
  Value offset;
  if (layout.getPeriod() > 1) {
    offset = laneIndex;
    if (layout.getPeriod() < kWarp)
      offset = b.remainder(offset, layout.getPeriod());
    offset = b.multiply(offset, layout.chunk);
    result.back() = arith::AddIOp::create(b, result.back(), offset);
  }
  result.back() = b.add(result.back(), turn * kWarp * layout.chunk);
  return result;
}

/// Codes and activations that are added up lie in words. (Wherever else a chunk
/// is as large as that, it may lie anywhere.)
static bool isWord(vector::LoadOp op) {
  SmallVector<Operation *> users(op->getUsers());
  while (!users.empty()) {
    Operation *user = users.pop_back_val();
    if (isa<Dot4Op, Dot2Op>(user))
      return true;
    // Codes are unpacked first.
    if (user->getNumResults() == 1 &&
        user->getResult(0).getType() == op.getType() &&
        user->hasTrait<OpTrait::Elementwise>())
      llvm::append_range(users, user->getUsers());
  }
  return false;
}

void Distributor::distribute(vector::LoadOp op) {
  LaneLayout layout = layouts.lookup(op.getResult());
  SmallVector<Value> own;
  for (int64_t turn = 0; turn < layout.getTurns(); ++turn) {
    SmallVector<Value> at = offsetLast(op.getIndices(), layout, turn);
    if (layout.chunk == 1) {
      own.push_back(b.load(op.getBase(), at));
      continue;
    }
    Value chunk = b.load(layout.chunk, op.getBase(), at);
    if (isWord(op))
      chunk.getDefiningOp<vector::LoadOp>().setAlignment(kWordBytes);
    if (layout.getTurns() == 1)
      return replace(op.getResult(), chunk);
    for (int64_t i = 0; i < layout.chunk; ++i)
      own.push_back(getOwnElement(b, chunk, i));
  }
  replace(op.getResult(), joinElements(b, layout, own));
}

void Distributor::distribute(vector::StoreOp op) {
  LaneLayout layout = layouts.lookup(op.getValueToStore());
  for (int64_t turn = 0; turn < layout.getTurns(); ++turn) {
    SmallVector<Value> at = offsetLast(op.getIndices(), layout, turn);
    Value value = op.getValueToStore();
    if (layout.chunk == 1)
      value = getOwnElement(b, value, turn);
    else if (layout.getTurns() > 1)
      value = b.extract(value, turn * layout.chunk, layout.chunk);
    b.store(value, op.getBase(), at);
  }
  dead.push_back(op);
}

void Distributor::distribute(vector::BroadcastOp op) {
  LaneLayout layout = layouts.lookup(op.getResult());
  Value source = op.getSource();
  if (layouts.contains(source))
    source = gatherElement(b, source, layouts.lookup(source),
                           b.integer(b.getI32Type(), 0), 0, 0);
  replace(op.getResult(), isa<VectorType>(layout.getType(source.getType()))
                              ? b.broadcast(source, layout.getOwn())
                              : source);
}

void Distributor::distribute(vector::BitCastOp op) {
  auto asVector = [&](Value value) -> Value {
    return isa<VectorType>(value.getType()) ? value : b.broadcast(value, 1);
  };
  LaneLayout layout = layouts.lookup(op.getResult());
  Type element = op.getResultVectorType().getElementType();
  auto type = VectorType::get(layout.getOwn(), element);
  Value result = vector::BitCastOp::create(b, type, asVector(op.getSource()));
  if (layout.getType(element) == element)
    result = getOwnElement(b, result, 0);
  replace(op.getResult(), result);
}

/// Every lane gets the same bits: where two lanes meet, both add the same two.
void Distributor::distribute(vector::ReductionOp op) {
  LaneLayout layout = layouts.lookup(op.getVector());
  auto combine = [&](Value x, Value y) {
    return vector::makeArithReduction(b, b.getLoc(), op.getKind(), x, y,
                                      op.getFastmathAttr());
  };
  Value result = getOwnElement(b, op.getVector(), 0);
  for (int64_t i = 1; i < layout.getOwn(); ++i)
    result = combine(result, getOwnElement(b, op.getVector(), i));
  for (int64_t distance = layout.getPeriod() / 2; distance; distance /= 2) {
    Value from =
        arith::XOrIOp::create(b, lane, b.integer(b.getI32Type(), distance));
    result = combine(result, ShuffleOp::create(b, result, from));
  }
  if (op.getAcc())
    result = combine(result, op.getAcc());
  op.getDest().replaceAllUsesWith(result);
  dead.push_back(op);
}

LogicalResult Distributor::distribute(vector::ExtractOp op) {
  if (isa<VectorType>(op.getResult().getType()) ||
      !op.getDynamicPosition().empty())
    return op.emitOpError("cannot be distributed");
  LaneLayout layout = layouts.lookup(op.getSource());
  int64_t number = op.getStaticPosition().front();
  Value at = b.integer(b.getI32Type(), number);
  op.getResult().replaceAllUsesWith(
      gatherElement(b, op.getSource(), layout, at, number, number));
  dead.push_back(op);
  return success();
}

void Distributor::pick(Value result, Value source, LaneLayout from,
                       int64_t factor, int64_t offset) {
  LaneLayout layout = layouts.lookup(result);
  int64_t end = factor * (layout.elements - 1) + offset;
  SmallVector<Value> own;
  // Of whole turns, each lane has its own.
  bool isOwn = factor == 1 && layout.chunk == from.chunk &&
               layout.getPeriod() == kWarp &&
               offset % (kWarp * from.chunk) == 0;
  if (from.elements == layout.elements && factor == 1 && layout == from)
    isOwn = true;
  for (int64_t i = 0; i < layout.getOwn(); ++i) {
    if (isOwn) {
      own.push_back(getOwnElement(b, source, i + offset / kWarp));
      continue;
    }
    Value number = getElementNumber(b, lane, layout, i);
    if (factor > 1)
      number =
          arith::MulIOp::create(b, number, b.integer(b.getI32Type(), factor));
    if (offset)
      number =
          arith::AddIOp::create(b, number, b.integer(b.getI32Type(), offset));
    int64_t first = offset, last = end;
    if (layout.getPeriod() == kWarp && layout.chunk == 1) {
      // One turn has so many of them.
      first = factor * i * kWarp + offset;
      last = factor * ((i + 1) * kWarp - 1) + offset;
    }
    own.push_back(gatherElement(b, source, from, number, first, last));
  }
  Value made = joinElements(b, layout, own);
  layouts.set(made, layout);
  result.replaceAllUsesWith(made);
}

void Distributor::distribute(vector::InsertStridedSliceOp op) {
  LaneLayout layout = layouts.lookup(op.getResult());
  LaneLayout part = layouts.lookup(op.getValueToStore());
  int64_t offset = cast<IntegerAttr>(op.getOffsets()[0]).getInt();
  Type i32 = b.getI32Type();
  SmallVector<Value> own;
  for (int64_t i = 0; i < layout.getOwn(); ++i) {
    Value number = getElementNumber(b, lane, layout, i);
    Value inPart = arith::SubIOp::create(b, number, b.integer(i32, offset));
    Value isPart = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, inPart,
                                         b.integer(i32, part.elements));
    Value value = gatherElement(b, op.getValueToStore(), part, inPart, 0,
                                part.elements - 1);
    own.push_back(arith::SelectOp::create(b, isPart, value,
                                          getOwnElement(b, op.getDest(), i)));
  }
  replace(op.getResult(), joinElements(b, layout, own));
}

void Distributor::distribute(vector::InterleaveOp op) {
  LaneLayout layout = layouts.lookup(op.getResult());
  LaneLayout from = layouts.lookup(op.getLhs());
  Type i32 = b.getI32Type();
  SmallVector<Value> own;
  for (int64_t i = 0; i < layout.getOwn(); ++i) {
    Value number = getElementNumber(b, lane, layout, i);
    Value half = arith::ShRUIOp::create(b, number, b.integer(i32, 1));
    Value isOdd = arith::TruncIOp::create(b, b.getI1Type(), number);
    int64_t last = from.elements - 1;
    own.push_back(arith::SelectOp::create(
        b, isOdd, gatherElement(b, op.getRhs(), from, half, 0, last),
        gatherElement(b, op.getLhs(), from, half, 0, last)));
  }
  replace(op.getResult(), joinElements(b, layout, own));
}

/// lumen.dot4 and lumen.dot2, which work on vectors.
void Distributor::distributeSum(Operation *op) {
  for (OpOperand &operand : op->getOpOperands())
    if (!isa<VectorType>(operand.get().getType()))
      operand.set(b.broadcast(operand.get(), 1));
  Value result = op->getResult(0);
  LaneLayout layout = layouts.lookup(result);
  Type element = cast<VectorType>(result.getType()).getElementType();
  result.setType(VectorType::get(layout.getOwn(), element));
  if (layout.getType(element) != element)
    return;
  b.setInsertionPointAfter(op);
  auto sum = vector::ExtractOp::create(b, result, 0);
  layouts.set(sum.getResult(), layout);
  result.replaceAllUsesExcept(sum.getResult(), sum);
}

void Distributor::distribute(memref::AllocaOp op) {
  MemRefType type = op.getType();
  scratch = llvm::alignTo(scratch, kScratchAlignment);
  Value memory = ScratchOp::create(b, type, scratch);
  Type element = type.getElementType();
  int64_t bytes = element.isIndex() ? 8 : element.getIntOrFloatBitWidth() / 8;
  scratch += bytes * type.getNumElements();
  op.getResult().replaceAllUsesWith(memory);
  dead.push_back(op);
}

bool Distributor::isUniform(Operation *op) {
  bool isAny = false;
  for (Value value : llvm::concat<Value>(SmallVector<Value>(op->getOperands()),
                                         SmallVector<Value>(op->getResults())))
    if (layouts.contains(value)) {
      isAny = true;
      if (!layouts.lookup(value).isUniform())
        return false;
    }
  return isAny;
}

LogicalResult Distributor::distribute(Operation *op) {
  b.setInsertionPoint(op);
  b.setLoc(op->getLoc());
  bool usesVectors = llvm::any_of(
      op->getOperands(), [](Value value) { return isConstantVector(value); });
  for (Value value : llvm::concat<Value>(SmallVector<Value>(op->getOperands()),
                                         SmallVector<Value>(op->getResults())))
    usesVectors |= layouts.contains(value);
  if (auto alloca = dyn_cast<memref::AllocaOp>(op))
    return distribute(alloca), success();
  if (!usesVectors || isa<arith::ConstantOp>(op))
    return success();
  // Where all lanes have everything, each does the same with it.
  if (op->getNumRegions() == 0 && !isa<scf::YieldOp>(op) && isUniform(op)) {
    if (auto load = dyn_cast<vector::LoadOp>(op); load && isWord(load))
      load.setAlignment(kWordBytes);
    return success();
  }
  if (auto loop = dyn_cast<scf::ForOp>(op))
    return distribute(loop), success();
  if (isa<scf::IfOp>(op)) {
    for (Value result : op->getResults())
      makeScalarLike(result);
    return success();
  }
  if (isa<scf::YieldOp>(op)) {
    for (auto [i, operand] : llvm::enumerate(op->getOpOperands())) {
      if (!isConstantVector(operand.get()))
        continue;
      if (!isa<scf::ForOp, scf::IfOp>(op->getParentOp()))
        return op->emitOpError("cannot be distributed over the lanes of a "
                               "warp");
      Value result = op->getParentOp()->getResult(i);
      operand.set(makeConstant(operand.get().getDefiningOp<arith::ConstantOp>(),
                               layouts.lookup(result)));
    }
    return success();
  }
  if (op->hasTrait<OpTrait::Elementwise>() && !isa<vector::BitCastOp>(op))
    return distributeElementwise(op);
  // Constants that are no operands of element-wise operations.
  for (OpOperand &operand : op->getOpOperands()) {
    if (!isConstantVector(operand.get()))
      continue;
    int64_t elements =
        cast<VectorType>(operand.get().getType()).getNumElements();
    int64_t chunk = 1;
    if (isa<Dot4Op, Dot2Op>(op) && operand.getOperandNumber() < 2)
      chunk = isa<Dot4Op>(op) ? 4 : 2;
    else if (!LaneLayout::isPossible(elements, 1))
      chunk = elements;
    LaneLayout layout = {elements, chunk};
    Value made =
        makeConstant(operand.get().getDefiningOp<arith::ConstantOp>(), layout);
    if (!made)
      return op->emitOpError("cannot be distributed: a constant's elements "
                             "follow no rule that lanes could compute");
    layouts.set(made, layout);
    operand.set(made);
  }
  if (isa<Dot4Op, Dot2Op>(op))
    return distributeSum(op), success();
  if (auto each = dyn_cast<vector::LoadOp>(op))
    return distribute(each), success();
  if (auto each = dyn_cast<vector::StoreOp>(op))
    return distribute(each), success();
  if (auto each = dyn_cast<vector::BroadcastOp>(op))
    return distribute(each), success();
  if (auto each = dyn_cast<vector::BitCastOp>(op))
    return distribute(each), success();
  if (auto each = dyn_cast<vector::ReductionOp>(op))
    return distribute(each), success();
  if (auto each = dyn_cast<vector::ExtractOp>(op))
    return distribute(each);
  if (auto each = dyn_cast<vector::InsertStridedSliceOp>(op))
    return distribute(each), success();
  if (auto each = dyn_cast<vector::InterleaveOp>(op))
    return distribute(each), success();
  if (auto each = dyn_cast<vector::ExtractStridedSliceOp>(op)) {
    int64_t offset = cast<IntegerAttr>(each.getOffsets()[0]).getInt();
    pick(each.getResult(), each.getSource(), layouts.lookup(each.getSource()),
         1, offset);
    dead.push_back(op);
    return success();
  }
  if (auto each = dyn_cast<vector::DeinterleaveOp>(op)) {
    LaneLayout from = layouts.lookup(each.getSource());
    for (auto [i, result] : llvm::enumerate(each.getResults()))
      pick(result, each.getSource(), from, 2, i);
    dead.push_back(op);
    return success();
  }
  return op->emitOpError("cannot be distributed over the lanes of a warp");
}

LogicalResult Distributor::run() {
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

/// Where a kernel has enough to do that is independent, every thread is a
/// worker of its own.
void makeLanesWorkers(func::FuncOp function) {
  SmallVector<Operation *> ops;
  function.walk([&](Operation *op) {
    if (isa<WorkerIdOp, WorkerCountOp>(op))
      ops.push_back(op);
  });
  for (Operation *op : ops) {
    KernelBuilder b(op->getLoc(), op->getContext());
    b.setInsertionPointAfter(op);
    Value all = b.multiply(op->getResult(0), kWarp), first = all;
    if (isa<WorkerIdOp>(op))
      all = arith::AddIOp::create(b, all, b.toIndex(LaneOp::create(b)));
    op->getResult(0).replaceAllUsesExcept(all, first.getDefiningOp());
  }
}

struct DistributeLanesPass final
    : lumen::impl::DistributeLanesPassBase<DistributeLanesPass> {
  using DistributeLanesPassBase::DistributeLanesPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    TargetAttr target = TargetAttr::lookup(module);
    if (!target || !target.hasWarps())
      return;
    // The processor of a warp waits for memory by running others.
    module.walk([](memref::PrefetchOp op) { op.erase(); });
    int64_t scratch = 0;
    for (auto function : module.getOps<func::FuncOp>()) {
      if (function.isExternal() ||
          !function->hasAttr(LumenDialect::kKernelAttr))
        continue;
      auto kind =
          function->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr);
      if (kind == "pack") {
        makeLanesWorkers(function);
        continue;
      }
      FailureOr<LaneLayouts> layouts = LaneLayouts::find(function);
      if (failed(layouts))
        return signalPassFailure();
      Distributor distributor(function, std::move(*layouts));
      if (failed(distributor.run()))
        return signalPassFailure();
      scratch = std::max(scratch, distributor.scratch);
    }
    auto b =
        ImplicitLocOpBuilder::atBlockBegin(module.getLoc(), module.getBody());
    LLVM::GlobalOp::create(
        b, b.getI64Type(), /*isConstant=*/true, LLVM::Linkage::External,
        LumenDialect::kScratchSizeGlobal,
        b.getI64IntegerAttr(llvm::alignTo(scratch, kScratchAlignment)));
  }
};

} // namespace

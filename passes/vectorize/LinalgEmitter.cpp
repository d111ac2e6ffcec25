// SPDX-License-Identifier: Apache-2.0
#include "passes/vectorize/LinalgEmitter.h"

#include "passes/tile/VectorMath.h"

#include "mlir/Dialect/Affine/Utils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

/// Iterations of the unrolled loop: sums that are in registers at a time.
static constexpr unsigned kPoints = 4;
/// Vectors of one sum: as many as hide what an addition takes.
static constexpr int64_t kVectorsOfSum = 4;
/// Elements that are read one by one are no wider than that.
static constexpr int64_t kMostStridedLanes = 16;

LinalgEmitter::LinalgEmitter(linalg::LinalgOp op, int64_t bits)
    : op(op), b(op->getLoc(), op->getContext()),
      kinds(op.getIteratorTypesArray()), extents(op.getStaticLoopRanges()) {
  b.setInsertionPoint(op);
  choosePlan(bits);
}

//===----------------------------------------------------------------------===//
// The plan
//===----------------------------------------------------------------------===//

static bool isUnitStride(Value buffer) {
  auto type = cast<MemRefType>(buffer.getType());
  auto [strides, offset] = type.getStridesAndOffset();
  return !strides.empty() && strides.back() == 1;
}

LinalgEmitter::Access LinalgEmitter::getAccess(OpOperand &operand,
                                               unsigned loop) {
  AffineMap map = op.getMatchingIndexingMap(&operand);
  if (!map.isFunctionOfDim(loop) || !isa<MemRefType>(operand.get().getType()))
    return Access::Uniform;
  auto last = dyn_cast<AffineDimExpr>(map.getResults().back());
  bool isAlone = last && last.getPosition() == loop &&
                 llvm::none_of(map.getResults().drop_back(), [&](AffineExpr e) {
                   return e.isFunctionOfDim(loop);
                 });
  bool isBit = getElementTypeOrSelf(operand.get().getType()).isInteger(1);
  return isAlone && !isBit && isUnitStride(operand.get()) ? Access::Contiguous
                                                          : Access::Strided;
}

/// Whether all ops of the body work on vectors, too.
bool LinalgEmitter::isVectorizable() {
  for (OpOperand &operand : op->getOpOperands())
    if (!getElementTypeOrSelf(operand.get().getType()).isIntOrIndexOrFloat())
      return false;
  return llvm::all_of(op.getBlock()->without_terminator(), [](Operation &op) {
    return isa<linalg::IndexOp>(op) || op.hasTrait<OpTrait::ConstantLike>() ||
           (OpTrait::hasElementwiseMappableTraits(&op) &&
            llvm::all_of(op.getResultTypes(),
                         [](Type type) { return type.isIntOrIndexOrFloat(); }));
  });
}

/// Whether every result is `out` combined with something, in any order.
bool LinalgEmitter::findCombiners() {
  Block &body = *op.getBlock();
  unsigned inputs = op.getNumDpsInputs();
  for (auto [i, value] : llvm::enumerate(body.getTerminator()->getOperands())) {
    Operation *combiner = value.getDefiningOp();
    Value out = body.getArgument(inputs + i);
    if (!combiner || combiner->getBlock() != &body || !out.hasOneUse() ||
        !value.hasOneUse() || *out.getUsers().begin() != combiner ||
        !isa<arith::AddFOp, arith::MulFOp, arith::MaximumFOp, arith::MinimumFOp,
             arith::MaxNumFOp, arith::MinNumFOp, arith::AddIOp, arith::MulIOp,
             arith::AndIOp, arith::OrIOp, arith::XOrIOp, arith::MaxSIOp,
             arith::MaxUIOp, arith::MinSIOp, arith::MinUIOp>(combiner))
      return false;
    combiners.push_back(combiner);
  }
  return true;
}

/// What lanes along `loop` cost: reads and writes element by element.
std::optional<double> LinalgEmitter::getCost(unsigned loop, bool combines) {
  bool isParallel = kinds[loop] == utils::IteratorType::parallel;
  if (!isParallel && !combines)
    return std::nullopt;
  double cost = isParallel ? 0 : 0.5;
  for (OpOperand &operand : op->getOpOperands())
    if (getAccess(operand, loop) == Access::Strided)
      cost += op.isDpsInit(&operand) ? 2 : 1;
  int64_t extent = extents[loop];
  if (!ShapedType::isDynamic(extent) && extent < 4)
    cost += 3;
  return cost;
}

void LinalgEmitter::chooseUnrolledLoop() {
  for (unsigned loop = 0; loop < kinds.size(); ++loop) {
    int64_t extent = extents[loop];
    if (kinds[loop] != utils::IteratorType::parallel || loop == lanesLoop ||
        (!ShapedType::isDynamic(extent) && extent < int64_t(kPoints)))
      continue;
    // Something that is read serves all of them.
    bool isShared = llvm::any_of(op.getDpsInputOperands(), [&](OpOperand *in) {
      return !op.getMatchingIndexingMap(in).isFunctionOfDim(loop);
    });
    if (isShared)
      unrolledLoop = loop;
  }
}

void LinalgEmitter::choosePlan(int64_t bits) {
  bool combines = findCombiners();
  if (isVectorizable()) {
    std::optional<double> best;
    for (unsigned loop = 0; loop < kinds.size(); ++loop) {
      std::optional<double> cost = getCost(loop, combines);
      if (cost && (!best || *cost <= *best)) {
        best = cost;
        lanesLoop = loop;
      }
    }
  }
  for (auto [loop, kind] : llvm::enumerate(kinds)) {
    if (loop == lanesLoop)
      continue;
    (kind == utils::IteratorType::parallel ? outer : reductions)
        .push_back(loop);
  }
  if (!lanesLoop)
    return;
  unsigned widest = 8;
  bool isStrided = false;
  for (OpOperand &operand : op->getOpOperands()) {
    Type element = getElementTypeOrSelf(operand.get().getType());
    widest = std::max(widest,
                      element.isIndex() ? 64 : element.getIntOrFloatBitWidth());
    isStrided |= getAccess(operand, *lanesLoop) == Access::Strided;
  }
  // (Half of it is computed in 32 bits.)
  mostLanes = std::max<int64_t>(bits / std::max(widest, 32u), 4);
  if (kinds[*lanesLoop] != utils::IteratorType::parallel)
    mostLanes *= kVectorsOfSum;
  else if (op.getNumReductionLoops())
    mostLanes *= 2;
  if (isStrided)
    mostLanes = std::min(mostLanes, kMostStridedLanes);
  int64_t extent = extents[*lanesLoop];
  while (!ShapedType::isDynamic(extent) &&
         mostLanes > std::max<int64_t>(extent, 1))
    mostLanes /= 2;
  if (op.getNumReductionLoops())
    chooseUnrolledLoop();
}

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

void LinalgEmitter::emit() {
  for (Range range : op.createLoopRanges(b, b.getLoc()))
    sizes.push_back(getValueOrCreateConstantIndexOp(b, b.getLoc(), range.size));
  at.resize(kinds.size());
  emitParallel(0);
}

void LinalgEmitter::emitParallel(unsigned number) {
  if (number == outer.size()) {
    emitLanes();
    return;
  }
  unsigned loop = outer[number];
  auto body = [&](Value index) {
    at[loop] = index;
    emitParallel(number + 1);
  };
  if (loop != unrolledLoop) {
    b.forEach(sizes[loop], body);
    return;
  }
  Value full = b.multiply(b.divide(sizes[loop], kPoints), kPoints);
  points = kPoints;
  b.forEach(b.index(0), full, kPoints, body);
  points = 1;
  b.forEach(full, sizes[loop], 1, body);
}

void LinalgEmitter::emitLanes() {
  if (!lanesLoop) {
    emitPoints(0);
    return;
  }
  if (kinds[*lanesLoop] != utils::IteratorType::parallel) {
    emitReduction();
    return;
  }
  Value size = sizes[*lanesLoop];
  Value full = b.multiply(b.divide(size, mostLanes), mostLanes);
  b.forEach(b.index(0), full, mostLanes, [&](Value index) {
    at[*lanesLoop] = index;
    emitPoints(mostLanes);
  });
  b.forEach(full, size, 1, [&](Value index) {
    at[*lanesLoop] = index;
    emitPoints(0);
  });
}

SmallVector<Value>
LinalgEmitter::reduce(unsigned number, ValueRange init,
                      function_ref<SmallVector<Value>(ValueRange)> body) {
  if (number == reductions.size())
    return body(init);
  unsigned loop = reductions[number];
  return b.accumulate(sizes[loop], init, [&](Value index, ValueRange sums) {
    at[loop] = index;
    return reduce(number + 1, sums, body);
  });
}

/// One vector (or, without lanes, one element) of every result and point.
void LinalgEmitter::emitPoints(int64_t lanes) {
  SmallVector<Value> init;
  unsigned results = op.getNumDpsInits();
  bool reads = op.getNumReductionLoops() > 0;
  for (unsigned point = 0; point < points; ++point)
    for (OpOperand &out : op.getDpsInitsMutable()) {
      bool isRead = reads || op.payloadUsesValueFromOperand(&out);
      init.push_back(isRead ? load(out, lanes, point) : Value());
    }
  auto body = [&](ValueRange sums) {
    SmallVector<Value> next;
    for (unsigned point = 0; point < points; ++point)
      llvm::append_range(
          next, emitBody(lanes, point, sums.slice(point * results, results)));
    return next;
  };
  SmallVector<Value> values;
  if (reads) {
    values = reduce(0, init, body);
  } else {
    for (unsigned point = 0; point < points; ++point)
      llvm::append_range(
          values, emitBody(lanes, point,
                           ArrayRef(init).slice(point * results, results)));
  }
  for (unsigned point = 0; point < points; ++point)
    for (auto [i, out] : llvm::enumerate(op.getDpsInitsMutable()))
      store(values[point * results + i], out, lanes, point);
}

/// Lanes are added up; what is left of the rows follows element by element.
void LinalgEmitter::emitReduction() {
  unsigned results = op.getNumDpsInits(), count = points * results;
  SmallVector<Value> init;
  for (unsigned point = 0; point < points; ++point)
    for (unsigned i = 0; i < results; ++i)
      init.push_back(getNeutral(i, mostLanes));
  for (unsigned point = 0; point < points; ++point)
    for (OpOperand &out : op.getDpsInitsMutable())
      init.push_back(load(out, 0, point));
  Value size = sizes[*lanesLoop];
  Value full = b.multiply(b.divide(size, mostLanes), mostLanes);
  auto along = [&](Value begin, Value end, int64_t lanes, ValueRange sums) {
    return b.accumulate(
        begin, end, std::max<int64_t>(lanes, 1), sums,
        [&](Value index, ValueRange current) {
          at[*lanesLoop] = index;
          SmallVector<Value> next;
          for (unsigned point = 0; point < points; ++point)
            llvm::append_range(
                next, emitBody(lanes, point,
                               current.slice(point * results, results)));
          return next;
        });
  };
  SmallVector<Value> sums =
      reduce(0, init, [&](ValueRange current) -> SmallVector<Value> {
        SmallVector<Value> vectors =
            along(b.index(0), full, mostLanes, current.take_front(count));
        llvm::append_range(vectors,
                           along(full, size, 0, current.drop_front(count)));
        return vectors;
      });
  for (unsigned point = 0; point < points; ++point)
    for (auto [i, out] : llvm::enumerate(op.getDpsInitsMutable())) {
      unsigned number = point * results + i;
      store(combine(i, sums[count + number], reduceLanes(i, sums[number])), out,
            0, point);
    }
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

SmallVector<Value> LinalgEmitter::getPlace(OpOperand &operand, unsigned point,
                                           int64_t lane) {
  SmallVector<Value> place = at;
  if (unrolledLoop && point)
    place[*unrolledLoop] = b.add(place[*unrolledLoop], point);
  if (lane)
    place[*lanesLoop] = b.add(place[*lanesLoop], lane);
  SmallVector<Value> result;
  AffineMap map = op.getMatchingIndexingMap(&operand);
  // (Loops of sums have no place where results lie.)
  for (auto [dim, value] : llvm::enumerate(place))
    if (!value)
      value = b.index(0);
  for (AffineExpr expr : map.getResults())
    result.push_back(affine::expandAffineExpr(b, b.getLoc(), expr, place, {}));
  return result;
}

Value LinalgEmitter::load(OpOperand &operand, int64_t lanes, unsigned point) {
  Value buffer = operand.get();
  if (!isa<MemRefType>(buffer.getType()))
    return buffer;
  Access access = lanes ? getAccess(operand, *lanesLoop) : Access::Uniform;
  if (access == Access::Contiguous)
    return b.load(lanes, buffer, getPlace(operand, point));
  if (access == Access::Uniform)
    return b.load(buffer, getPlace(operand, point));
  SmallVector<Value> elements;
  for (int64_t lane = 0; lane < lanes; ++lane)
    elements.push_back(b.load(buffer, getPlace(operand, point, lane)));
  auto type = VectorType::get(lanes, elements.front().getType());
  return vector::FromElementsOp::create(b, type, elements);
}

void LinalgEmitter::store(Value value, OpOperand &operand, int64_t lanes,
                          unsigned point) {
  Value buffer = operand.get();
  if (lanes && !isa<VectorType>(value.getType()))
    value = b.broadcast(value, lanes);
  if (!lanes || getAccess(operand, *lanesLoop) == Access::Contiguous) {
    b.store(value, buffer, getPlace(operand, point));
    return;
  }
  for (int64_t lane = 0; lane < lanes; ++lane)
    b.store(vector::ExtractOp::create(b, value, lane), buffer,
            getPlace(operand, point, lane));
}

//===----------------------------------------------------------------------===//
// The body
//===----------------------------------------------------------------------===//

/// `value`, or a vector of it where it is none.
static Value asVector(KernelBuilder &b, Value value, int64_t lanes) {
  return isa<VectorType>(value.getType()) ? value : b.broadcast(value, lanes);
}

/// The product of two values that `op` adds to `out`, where nobody else reads
/// it.
static arith::MulFOp getProduct(Operation *op, Value out) {
  auto sum = dyn_cast<arith::AddFOp>(op);
  if (!sum || (sum.getLhs() != out && sum.getRhs() != out))
    return {};
  Value other = sum.getLhs() == out ? sum.getRhs() : sum.getLhs();
  auto product = other.getDefiningOp<arith::MulFOp>();
  return product && product->hasOneUse() ? product : arith::MulFOp();
}

SmallVector<Value> LinalgEmitter::emitBody(int64_t lanes, unsigned point,
                                           ValueRange outs) {
  Block &body = *op.getBlock();
  IRMapping mapping;
  unsigned inputs = op.getNumDpsInputs();
  for (OpOperand *input : op.getDpsInputOperands()) {
    BlockArgument argument = body.getArgument(input->getOperandNumber());
    if (!argument.use_empty())
      mapping.map(argument, load(*input, lanes, point));
  }
  for (auto [argument, value] :
       llvm::zip(body.getArguments().drop_front(inputs), outs))
    if (value)
      mapping.map(argument, value);
  // A sum of products rounds once per product.
  llvm::SmallPtrSet<Operation *, 4> contracted;
  if (op.getNumReductionLoops() > 0)
    for (auto [i, combiner] : llvm::enumerate(combiners))
      if (arith::MulFOp product =
              getProduct(combiner, body.getArgument(inputs + i)))
        contracted.insert({combiner, product});
  for (Operation &inner : body.without_terminator()) {
    if (auto index = dyn_cast<linalg::IndexOp>(inner)) {
      unsigned loop = index.getDim();
      Value value = at[loop];
      if (unrolledLoop == loop)
        value = b.add(value, point);
      if (lanes && loop == *lanesLoop) {
        auto type = VectorType::get(lanes, b.getIndexType());
        value = arith::AddIOp::create(b, b.broadcast(value, lanes),
                                      vector::StepOp::create(b, type));
      }
      mapping.map(index.getResult(), value);
      continue;
    }
    bool isVector = llvm::any_of(inner.getOperands(), [&](Value operand) {
      return isa<VectorType>(mapping.lookupOrDefault(operand).getType());
    });
    if (isVector)
      for (Value operand : inner.getOperands())
        mapping.map(operand,
                    asVector(b, mapping.lookupOrDefault(operand), lanes));
    Operation *copy = b.clone(inner, mapping);
    if (isVector)
      for (OpResult result : copy->getResults())
        result.setType(VectorType::get(lanes, result.getType()));
    if (contracted.contains(&inner)) {
      auto contract = arith::FastMathFlagsAttr::get(
          b.getContext(), arith::FastMathFlags::contract);
      cast<arith::ArithFastMathInterface>(copy)->setAttr("fastmath", contract);
    }
  }
  SmallVector<Value> results;
  for (auto [value, out] :
       llvm::zip(body.getTerminator()->getOperands(), outs)) {
    Value result = mapping.lookupOrDefault(value);
    bool wantsVector = out && isa<VectorType>(out.getType());
    results.push_back(wantsVector ? asVector(b, result, lanes) : result);
  }
  return results;
}

//===----------------------------------------------------------------------===//
// Sums of lanes
//===----------------------------------------------------------------------===//

Value LinalgEmitter::combine(unsigned number, Value lhs, Value rhs) {
  Operation *combiner = combiners[number];
  OperationState state(b.getLoc(), combiner->getName(), ValueRange{lhs, rhs},
                       TypeRange(lhs.getType()), combiner->getAttrs());
  return b.create(state)->getResult(0);
}

Value LinalgEmitter::reduceLanes(unsigned number, Value vector) {
  int64_t lanes = getLanes(vector);
  for (; lanes > 1; lanes /= 2) {
    SmallVector<Value> halves = b.split(vector, lanes / 2);
    vector = combine(number, halves[0], halves[1]);
  }
  return vector::ExtractOp::create(b, vector, 0);
}

Value LinalgEmitter::getNeutral(unsigned number, int64_t lanes) {
  Operation *combiner = combiners[number];
  Type element = combiner->getResult(0).getType();
  auto type = VectorType::get(lanes, element);
  auto ofInteger = [&](auto value) {
    TypedAttr attr = b.getIntegerAttr(element, value);
    return arith::ConstantOp::create(
               b, DenseElementsAttr::get(type, Attribute(attr)))
        .getResult();
  };
  if (isa<FloatType>(element)) {
    const llvm::fltSemantics &semantics =
        cast<FloatType>(element).getFloatSemantics();
    APFloat value = APFloat::getZero(semantics);
    if (isa<arith::MulFOp>(combiner))
      value = APFloat::getOne(semantics);
    else if (isa<arith::MaximumFOp, arith::MaxNumFOp>(combiner))
      value = APFloat::getInf(semantics, /*Negative=*/true);
    else if (isa<arith::MinimumFOp, arith::MinNumFOp>(combiner))
      value = APFloat::getInf(semantics);
    return arith::ConstantOp::create(b, DenseElementsAttr::get(type, value));
  }
  unsigned bits = element.isIndex() ? 64 : element.getIntOrFloatBitWidth();
  if (isa<arith::MulIOp>(combiner))
    return ofInteger(APInt(bits, 1));
  if (isa<arith::AndIOp, arith::MinUIOp>(combiner))
    return ofInteger(APInt::getAllOnes(bits));
  if (isa<arith::MaxSIOp>(combiner))
    return ofInteger(APInt::getSignedMinValue(bits));
  if (isa<arith::MinSIOp>(combiner))
    return ofInteger(APInt::getSignedMaxValue(bits));
  return ofInteger(APInt::getZero(bits));
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/vectorize/GenericUnroller.h"

#include "passes/support/Prefetch.h"
#include "passes/vectorize/DotPattern.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

GenericUnroller::GenericUnroller(RegisterValues &v, linalg::GenericOp generic)
    : v(v), b(v.b), generic(generic), maps(generic.getIndexingMapsArray()),
      sizes(generic.getStaticLoopRanges()) {
  laneDim = cast<AffineDimExpr>(maps.back().getResults().back()).getPosition();
  lanes = sizes[laneDim];
  auto type = cast<RankedTensorType>(generic.getResult(0).getType());
  result = {SmallVector<int64_t>(type.getShape()),
            SmallVector<Value>(getVectorCount(type.getShape()))};
  if (!matchDot(generic, code, activation))
    code = activation = nullptr;
}

Value GenericUnroller::loadLanes(int64_t elements, Value buffer,
                                 ArrayRef<Value> indices) {
  Type element = cast<MemRefType>(buffer.getType()).getElementType();
  if (auto ahead =
          generic->getAttrOfType<IntegerAttr>(LumenDialect::kPrefetchAttr)) {
    SmallVector<Value> later(indices);
    later.back() = b.add(indices.back(),
                         8 * ahead.getInt() / element.getIntOrFloatBitWidth());
    emitPrefetch(b, buffer, later, elements);
  }
  return b.load(elements, buffer, indices);
}

/// The operand at a point: a vector of lanes, of all elements of a step per
/// lane or of the activations of a step (`wholeStep`), or a scalar.
FailureOr<Value> GenericUnroller::load(unsigned operand,
                                       ArrayRef<int64_t> point,
                                       bool wholeStep) {
  Value source = generic->getOperand(operand);
  SmallVector<unsigned> dims;
  for (AffineExpr expr : maps[operand].getResults())
    dims.push_back(cast<AffineDimExpr>(expr).getPosition());
  SmallVector<int64_t> key;
  for (unsigned dim : dims)
    key.push_back(dim == laneDim ? 0 : point[dim]);
  Value &cached = loads[{operand, key}];
  if (cached)
    return cached;

  if (const RegisterTile *tile = v.findTile(source)) {
    if (dims.empty() || dims.back() != laneDim ||
        tile->shape.size() != dims.size())
      return generic.emitOpError()
                 << "reads operand " << operand << " across its lanes",
             failure();
    return cached = tile->vectors[tile->flatten(ArrayRef(key).drop_back())];
  }
  auto found = v.views.find(source);
  if (found == v.views.end())
    return generic.emitOpError() << "operand " << operand
                                 << " is neither a slice of a buffer nor "
                                    "a register tile",
           failure();
  const BufferView &view = found->second;
  auto type = cast<MemRefType>(view.buffer.getType());
  if (!VectorType::isValidElementType(type.getElementType()) ||
      view.dims.size() != dims.size())
    return generic.emitOpError("operand ")
               << operand << " is a buffer of " << type.getElementType()
               << " and rank " << view.dims.size(),
           failure();
  Type element = type.getElementType();
  SmallVector<Value> indices(view.getRank(), b.index(0));
  for (auto [dim, position] : llvm::zip(view.dims, key))
    indices[dim] = b.index(position);

  auto lane = llvm::find(dims, laneDim);
  if (lane == dims.end()) {
    if (wholeStep) {
      // The activations of a step lie next to each other.
      return cached = b.load(sizes.back(), view.buffer, indices);
    }
    // Spread over the lanes at once, which may be part of the next
    // instruction.
    Value scalar = b.load(view.buffer, indices);
    return cached = b.broadcast(scalar, lanes);
  }
  if (lane + 1 == dims.end())
    return cached = loadLanes(lanes, view.buffer, indices);
  if (lane + 2 != dims.end())
    return generic.emitOpError()
               << "operand " << operand << " has no contiguous lanes",
           failure();
  // Lanes of four codes or two floats: one load of the whole step.
  int64_t number = key.back(), inStep = sizes[dims.back()];
  SmallVector<int64_t> stepKey(key);
  stepKey.back() = -1;
  Value &step = loads[{operand, stepKey}];
  if (!step) {
    Value buffer = v.collapseInner(view.buffer);
    SmallVector<Value> outer(indices);
    outer.pop_back();
    outer.back() = b.index(0);
    step = loadLanes(inStep * lanes, buffer, outer);
  }
  if (wholeStep)
    return cached = step;
  SmallVector<int64_t> mask;
  for (int64_t i = 0; i < lanes; ++i)
    mask.push_back(inStep * i + number);
  return cached = vector::ShuffleOp::create(b, step, step, mask);
}

/// A value of the body at a point, as a scalar where it is the same in all
/// lanes.
FailureOr<Value> GenericUnroller::evaluate(Value value, ArrayRef<int64_t> point,
                                           bool wholeStep) {
  if (auto known = values.lookup(value))
    return known;
  Value made;
  if (auto argument = dyn_cast<BlockArgument>(value);
      argument && argument.getOwner() == generic.getBody()) {
    unsigned number = argument.getArgNumber();
    if (number == generic.getNumDpsInputs()) {
      made = result.vectors[resultIndex(point)];
    } else {
      FailureOr<Value> loaded = load(number, point, wholeStep);
      if (failed(loaded))
        return failure();
      made = *loaded;
    }
  } else if (Operation *op = value.getDefiningOp();
             !op || op->getBlock() != generic.getBody()) {
    // Of a loop around, or computed before it.
    if (value.getType().isIntOrIndexOrFloat())
      return value;
    return generic.emitOpError("uses ") << value.getType() << " as a scalar",
           failure();
  } else if (auto index = dyn_cast<linalg::IndexOp>(op)) {
    if (index.getDim() == laneDim)
      return op->emitOpError() << "of the lane dimension cannot be vectorized",
             failure();
    made = b.index(point[index.getDim()]);
  } else {
    SmallVector<Value> operands;
    VectorType shape;
    for (Value operand : op->getOperands()) {
      FailureOr<Value> mapped = evaluate(operand, point, wholeStep);
      if (failed(mapped))
        return failure();
      operands.push_back(*mapped);
      if (auto vector = dyn_cast<VectorType>(mapped->getType()))
        shape = vector;
    }
    SmallVector<Type> types(op->getResultTypes());
    if (shape) {
      for (Value &operand : operands)
        if (!isa<VectorType>(operand.getType()))
          operand = b.broadcast(operand, shape.getNumElements());
      for (Type &type : types)
        type = VectorType::get(shape.getShape(), type);
    }
    OperationState state(op->getLoc(), op->getName(), operands, types,
                         op->getAttrs());
    if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
      made = arith::ConstantOp::create(b, constant.getValue());
    } else {
      Operation *clone = b.create(state);
      SmallVector<Value> folded;
      if (succeeded(b.tryFold(clone, folded)) && folded.size() == 1) {
        clone->erase();
        made = folded.front();
      } else {
        made = clone->getResult(0);
      }
    }
  }
  values[value] = made;
  return made;
}

LogicalResult
GenericUnroller::forEachPoint(Point point, ArrayRef<unsigned> order,
                              function_ref<LogicalResult(Point &)> visit) {
  for (unsigned dim : order)
    point[dim] = 0;
  while (true) {
    if (failed(visit(point)))
      return failure();
    unsigned i = order.size();
    while (i > 0 && ++point[order[i - 1]] == sizes[order[i - 1]])
      point[order[--i]] = 0;
    if (i == 0)
      return success();
  }
}

bool GenericUnroller::isDeferred() {
  Value tensor = generic.getResult(0);
  bool hasGroups = result.shape.size() > 2;
  bool readsDeferred = llvm::any_of(generic->getOperands(), [&](Value operand) {
    return v.deferred.count(operand);
  });
  if (!(hasGroups || readsDeferred) || !tensor.hasOneUse())
    return false;
  auto reader = dyn_cast<linalg::GenericOp>(*tensor.user_begin());
  return reader && reader->getBlock() == generic->getBlock();
}

bool GenericUnroller::takesPairs() {
  return activation &&
         isa_and_nonnull<arith::TruncIOp>(activation.getDefiningOp());
}

bool GenericUnroller::holdsGroup() {
  int64_t vectors = llvm::divideCeil(32 * lanes, v.vectorBits);
  // Some are left for codes, scales and what is on its way.
  return 2 * result.shape.front() * vectors <= v.registers * 3 / 4;
}

SmallVector<unsigned> GenericUnroller::getGroupDims() {
  SmallVector<unsigned> dims;
  unsigned skipped = holdsGroup() ? 1 : 0;
  for (auto [operand, map] : llvm::zip(generic->getOperands(), maps))
    if (v.deferred.count(operand))
      for (AffineExpr expr : map.getResults().drop_front(skipped).drop_back())
        if (unsigned dim = cast<AffineDimExpr>(expr).getPosition();
            !llvm::is_contained(dims, dim))
          dims.push_back(dim);
  return dims;
}

LogicalResult GenericUnroller::runDeferred(ArrayRef<int64_t> fixed) {
  for (auto [operand, map] : llvm::zip(generic->getOperands(), maps)) {
    auto found = v.deferred.find(operand);
    if (found == v.deferred.end())
      continue;
    // A group of the operand is where its middle dimensions stand.
    GenericUnroller &source = *found->second;
    Point group(source.sizes.size(), -1);
    for (auto [here, there] :
         llvm::zip(map.getResults().drop_back(),
                   source.maps.back().getResults().drop_back()))
      group[cast<AffineDimExpr>(there).getPosition()] =
          fixed[cast<AffineDimExpr>(here).getPosition()];
    if (failed(source.run(group)))
      return failure();
  }
  return success();
}

LogicalResult GenericUnroller::run(ArrayRef<int64_t> fixed) {
  SmallVector<unsigned> groups;
  for (unsigned dim : getGroupDims())
    if (fixed[dim] < 0)
      groups.push_back(dim);
  bool pairs = takesPairs();
  if (pairs) // two groups of the operand meet in one product
    llvm::erase(groups, sizes.size() - 1);
  return forEachPoint(Point(fixed), groups, [&](Point &point) {
    Point group(point);
    for (int64_t j = 0; j < (pairs ? 2 : 1); ++j) {
      if (pairs)
        group.back() = j;
      if (failed(runDeferred(group)))
        return failure();
    }
    return runPoints(point);
  });
}

FailureOr<Value> GenericUnroller::emitPair(Value value,
                                           ArrayRef<int64_t> point) {
  auto words = VectorType::get(lanes, b.getI32Type());
  FailureOr<Value> halves[2];
  for (int64_t j = 0; j < 2; ++j) {
    Point step(point);
    step.back() = j;
    values.clear();
    halves[j] = evaluate(value, step, false);
    if (failed(halves[j]))
      return failure();
  }
  Value low = arith::AndIOp::create(b, *halves[0], b.integer(words, 0xffff));
  Value high = arith::ShLIOp::create(b, *halves[1], b.integer(words, 16));
  return vector::BitCastOp::create(b,
                                   VectorType::get(2 * lanes, b.getI16Type()),
                                   arith::OrIOp::create(b, low, high))
      .getResult();
}

FailureOr<Value> GenericUnroller::emitDot(ArrayRef<int64_t> point, Value sum) {
  Type type = sum.getType();
  if (code.getType().isBF16()) {
    FailureOr<Value> values = evaluate(code, point, true);
    FailureOr<Value> x = evaluate(activation, point, true);
    if (failed(values) || failed(x))
      return failure();
    return Dot2Op::create(b, type, *values, *x, sum).getResult();
  }
  if (sizes.back() == 2) {
    FailureOr<Value> codes = emitPair(code, point), x;
    if (takesPairs())
      x = emitPair(activation.getDefiningOp()->getOperand(0), point);
    else
      x = evaluate(activation, point, true);
    if (failed(codes) || failed(x))
      return failure();
    return Dot2Op::create(b, type, *codes, *x, sum).getResult();
  }
  FailureOr<Value> codes = evaluate(code, point, true);
  FailureOr<Value> x = evaluate(activation, point, true);
  if (failed(codes) || failed(x))
    return failure();
  bool isSigned = llvm::any_of(code.getUsers(), llvm::IsaPred<arith::ExtSIOp>);
  int64_t bits = isSigned ? 8 : getCodeBits(code);
  return Dot4Op::create(b, type, *codes, *x, sum, bits, isSigned).getResult();
}

/// Reductions outermost and in ascending order, so that what the lanes of all
/// tokens share is computed once and every sum has one order.
LogicalResult GenericUnroller::runPoints(ArrayRef<int64_t> fixed) {
  const RegisterTile *init = v.findTile(generic.getDpsInits()[0]);
  bool dot = !!code;
  SmallVector<unsigned> order;
  for (auto kind :
       {utils::IteratorType::reduction, utils::IteratorType::parallel})
    for (auto [dim, iterator] :
         llvm::enumerate(generic.getIteratorTypesArray()))
      if (iterator == kind && dim != laneDim && fixed[dim] < 0 &&
          !(dot && dim + 1 == sizes.size()))
        order.push_back(dim);
  Value yielded =
      cast<linalg::YieldOp>(generic.getBody()->getTerminator()).getOperand(0);
  Point first;
  for (int64_t position : fixed)
    first.push_back(std::max<int64_t>(position, 0));
  return forEachPoint(first, order, [&](Point &point) -> LogicalResult {
    values.clear();
    int64_t index = resultIndex(point);
    Value &slot = result.vectors[index];
    if (!slot && init)
      slot = init->vectors[index];
    FailureOr<Value> made =
        dot ? emitDot(point, slot) : evaluate(yielded, point, false);
    if (failed(made))
      return failure();
    slot = *made;
    if (!isa<VectorType>(slot.getType()))
      slot = b.broadcast(slot, lanes);
    return success();
  });
}

// SPDX-License-Identifier: Apache-2.0
//
// Turns the small static tensors of product kernels into vector registers. The
// last dimension of a result is the lanes of a vector; every other dimension is
// unrolled. Operands that are slices of buffers become loads where they are
// used.
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Matchers.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_VECTORIZEPRODUCTPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// A tensor held in registers: one vector per index of the leading dimensions.
struct RegisterTile {
  SmallVector<int64_t> shape;
  SmallVector<Value> vectors;

  int64_t getLanes() const { return shape.back(); }
  int64_t flatten(ArrayRef<int64_t> leading) const {
    int64_t flat = 0;
    for (auto [position, size] :
         llvm::zip(leading, ArrayRef(shape).drop_back()))
      flat = flat * size + position;
    return flat;
  }
};

/// A tensor that is a buffer: which of the buffer's dimensions it has, the
/// others being of size 1.
struct BufferView {
  Value buffer;
  SmallVector<unsigned> dims;

  int64_t getRank() const {
    return cast<MemRefType>(buffer.getType()).getRank();
  }
};

int64_t getVectorCount(ArrayRef<int64_t> shape) {
  int64_t count = 1;
  for (int64_t size : shape.drop_back())
    count *= size;
  return count;
}

/// Largest value of an unsigned i8 computed in the body of a generic.
uint64_t getMaximum(Value value) {
  Operation *op = value.getDefiningOp();
  APInt constant;
  if (matchPattern(value, m_ConstantInt(&constant)))
    return constant.getZExtValue();
  if (auto mask = dyn_cast_or_null<arith::AndIOp>(op))
    return std::min(getMaximum(mask.getLhs()), getMaximum(mask.getRhs()));
  if (auto shift = dyn_cast_or_null<arith::ShRUIOp>(op))
    return getMaximum(shift.getLhs());
  if (auto shift = dyn_cast_or_null<arith::ShLIOp>(op))
    if (matchPattern(shift.getRhs(), m_ConstantInt(&constant)))
      return std::min<uint64_t>(255, getMaximum(shift.getLhs())
                                         << constant.getZExtValue());
  if (auto join = dyn_cast_or_null<arith::OrIOp>(op)) {
    uint64_t larger =
        std::max(getMaximum(join.getLhs()), getMaximum(join.getRhs()));
    return llvm::NextPowerOf2(larger) - 1;
  }
  if (auto lookup = dyn_cast_or_null<LookupOp>(op)) {
    uint64_t largest = 0;
    for (int8_t entry : lookup.getTable())
      largest = std::max<uint64_t>(largest, uint8_t(entry));
    return largest;
  }
  return 255;
}

class GenericUnroller;

class Vectorizer {
public:
  explicit Vectorizer(func::FuncOp kernel)
      : b(kernel.getLoc(), kernel.getContext()), kernel(kernel) {}

  LogicalResult run() {
    if (failed(visit(kernel.getBody().front())))
      return failure();
    // The replaced ops still use each other, across loops too.
    for (Operation *op : replaced)
      op->dropAllReferences();
    for (Operation *op : replaced)
      op->erase();
    return success();
  }

private:
  LogicalResult visit(Block &block);
  LogicalResult visit(Operation &op);
  LogicalResult visit(scf::ForOp loop);
  LogicalResult visit(tensor::ExtractSliceOp slice);
  LogicalResult visit(linalg::GenericOp generic);
  LogicalResult visit(bufferization::MaterializeInDestinationOp store);
  const RegisterTile *findTile(Value tensor);

  Value constantIndex(int64_t value) {
    return arith::ConstantIndexOp::create(b, value);
  }
  /// The buffer with its last two dimensions joined.
  Value collapseInner(Value buffer);

  ImplicitLocOpBuilder b;
  func::FuncOp kernel;
  DenseMap<Value, RegisterTile> tiles;
  DenseMap<Value, std::unique_ptr<GenericUnroller>> deferred;
  DenseMap<Value, BufferView> views;
  DenseMap<Value, Value> collapsed;
  SmallVector<Operation *> replaced;

  friend class GenericUnroller;
};

/// Unrolls one linalg.generic over its non-lane dimensions.
class GenericUnroller {
public:
  GenericUnroller(Vectorizer &v, linalg::GenericOp generic);

  /// Whether the result is one of groups (dimensions between the first and the
  /// lanes) that a single other generic reads group by group. It is unrolled
  /// together with that one, so that the sums of one group need registers at a
  /// time.
  bool isDeferred();

  /// Unrolls everything, or what belongs to a group: `fixed` are positions of
  /// dimensions, -1 for those that are free.
  LogicalResult run() { return run(Point(sizes.size(), -1)); }
  LogicalResult run(ArrayRef<int64_t> fixed);

  const RegisterTile &getResult() const { return result; }

private:
  using Point = SmallVector<int64_t>;

  /// The dimensions that number the groups of the deferred operands.
  SmallVector<unsigned> getGroupDims();
  /// Unrolls what belongs to a group of the deferred operands.
  LogicalResult runDeferred(ArrayRef<int64_t> fixed);
  LogicalResult runPoints(ArrayRef<int64_t> fixed);

  FailureOr<Value> load(unsigned operand, ArrayRef<int64_t> point,
                        bool wholeStep);
  /// A load of lanes, and the prefetches that the op wants for it.
  Value loadLanes(int64_t elements, Value buffer, ArrayRef<Value> indices);
  FailureOr<Value> evaluate(Value value, ArrayRef<int64_t> point,
                            bool wholeStep);
  /// Calls `visit` with every point of the dimensions in `order`, the first one
  /// outermost, from `point` on.
  LogicalResult forEachPoint(Point point, ArrayRef<unsigned> order,
                             function_ref<LogicalResult(Point &)> visit);
  int64_t resultIndex(ArrayRef<int64_t> point) {
    SmallVector<int64_t> leading;
    for (AffineExpr expr : maps.back().getResults().drop_back())
      leading.push_back(point[cast<AffineDimExpr>(expr).getPosition()]);
    return result.flatten(leading);
  }

  Vectorizer &v;
  ImplicitLocOpBuilder &b;
  linalg::GenericOp generic;
  SmallVector<AffineMap> maps;
  SmallVector<int64_t> sizes;
  unsigned laneDim;
  int64_t lanes;
  RegisterTile result;
  Value code, activation; // of a dot product
  std::map<std::pair<unsigned, SmallVector<int64_t>>, Value> loads;
  DenseMap<Value, Value> values; // of the body, at the current point
};

/// acc += code * signed code over four k: the operands of that form.
static bool matchDot(linalg::GenericOp generic, Value &code,
                     Value &activation) {
  auto iterators = generic.getIteratorTypesArray();
  auto ranges = generic.getStaticLoopRanges();
  if (iterators.back() != utils::IteratorType::reduction || ranges.back() != 4)
    return false;
  Value yielded =
      cast<linalg::YieldOp>(generic.getBody()->getTerminator()).getOperand(0);
  auto add = yielded.getDefiningOp<arith::AddIOp>();
  auto product = add ? add.getRhs().getDefiningOp<arith::MulIOp>() : nullptr;
  if (!product || add.getLhs() != generic.getBody()->getArguments().back())
    return false;
  Operation *lhs = product.getLhs().getDefiningOp();
  auto rhs = product.getRhs().getDefiningOp<arith::ExtSIOp>();
  if (!isa_and_nonnull<arith::ExtUIOp, arith::ExtSIOp>(lhs) || !rhs ||
      !lhs->getOperand(0).getType().isInteger(8) ||
      !rhs.getIn().getType().isInteger(8))
    return false;
  code = lhs->getOperand(0);
  activation = rhs.getIn();
  return true;
}

GenericUnroller::GenericUnroller(Vectorizer &v, linalg::GenericOp generic)
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

Value Vectorizer::collapseInner(Value buffer) {
  Value &result = collapsed[buffer];
  if (result)
    return result;
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointAfterValue(buffer);
  SmallVector<ReassociationIndices> groups;
  int64_t rank = cast<MemRefType>(buffer.getType()).getRank();
  for (int64_t i = 0; i + 2 < rank; ++i)
    groups.push_back({i});
  groups.push_back({rank - 2, rank - 1});
  return result = memref::CollapseShapeOp::create(b, buffer, groups);
}

Value GenericUnroller::loadLanes(int64_t elements, Value buffer,
                                 ArrayRef<Value> indices) {
  Type element = cast<MemRefType>(buffer.getType()).getElementType();
  if (auto ahead =
          generic->getAttrOfType<IntegerAttr>(LumenDialect::kPrefetchAttr)) {
    constexpr int64_t kLine = 64;
    int64_t bytes = element.getIntOrFloatBitWidth() / 8;
    for (int64_t line = 0; line < elements * bytes; line += kLine) {
      SmallVector<Value> later(indices);
      later.back() = b.createOrFold<arith::AddIOp>(
          indices.back(), v.constantIndex((ahead.getInt() + line) / bytes));
      memref::PrefetchOp::create(b, buffer, later, /*isWrite=*/false,
                                 /*localityHint=*/3, /*isDataCache=*/true);
    }
  }
  return vector::LoadOp::create(b, VectorType::get(elements, element), buffer,
                                indices);
}

/// The operand at a point: a vector of lanes, of 4 codes per lane or of the
/// four activations of a step (`wholeStep`), or a scalar.
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
    if (dims.empty() || dims.back() != laneDim)
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
  Type element = type.getElementType();
  SmallVector<Value> indices(view.getRank(), v.constantIndex(0));
  for (auto [dim, position] : llvm::zip(view.dims, key))
    indices[dim] = v.constantIndex(position);

  auto lane = llvm::find(dims, laneDim);
  if (lane == dims.end()) {
    if (wholeStep) {
      // The four activations of a step lie next to each other.
      return cached = vector::LoadOp::create(b, VectorType::get(4, element),
                                             view.buffer, indices);
    }
    // Spread over the lanes at once: x86 does it as part of the next
    // instruction.
    Value scalar = memref::LoadOp::create(b, view.buffer, indices);
    return cached = vector::BroadcastOp::create(
               b, VectorType::get(lanes, element), scalar);
  }
  if (lane + 1 == dims.end())
    return cached = loadLanes(lanes, view.buffer, indices);
  if (lane + 2 != dims.end())
    return generic.emitOpError()
               << "operand " << operand << " has no contiguous lanes",
           failure();
  // Lanes of four codes: one load of the whole step.
  int64_t k4 = key.back();
  SmallVector<int64_t> stepKey(key);
  stepKey.back() = -1;
  Value &step = loads[{operand, stepKey}];
  if (!step) {
    Value buffer = v.collapseInner(view.buffer);
    SmallVector<Value> outer(indices);
    outer.pop_back();
    outer.back() = v.constantIndex(0);
    step = loadLanes(4 * lanes, buffer, outer);
  }
  if (wholeStep)
    return cached = step;
  SmallVector<int64_t> mask;
  for (int64_t i = 0; i < lanes; ++i)
    mask.push_back(4 * i + k4);
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
             op->getBlock() != generic.getBody()) {
    return value;
  } else if (auto index = dyn_cast<linalg::IndexOp>(op)) {
    if (index.getDim() == laneDim)
      return op->emitOpError() << "of the lane dimension cannot be vectorized",
             failure();
    made = v.constantIndex(point[index.getDim()]);
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
          operand = vector::BroadcastOp::create(
              b, VectorType::get(shape.getShape(), operand.getType()), operand);
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

SmallVector<unsigned> GenericUnroller::getGroupDims() {
  SmallVector<unsigned> dims;
  for (auto [operand, map] : llvm::zip(generic->getOperands(), maps))
    if (v.deferred.count(operand))
      for (AffineExpr expr : map.getResults().drop_back())
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
  return forEachPoint(Point(fixed), groups, [&](Point &point) {
    return success(succeeded(runDeferred(point)) &&
                   succeeded(runPoints(point)));
  });
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
  auto laneType = VectorType::get(
      lanes, getElementTypeOrSelf(generic.getResult(0).getType()));
  Point first;
  for (int64_t position : fixed)
    first.push_back(std::max<int64_t>(position, 0));
  return forEachPoint(first, order, [&](Point &point) -> LogicalResult {
    values.clear();
    int64_t index = resultIndex(point);
    Value &slot = result.vectors[index];
    if (!slot && init)
      slot = init->vectors[index];
    if (dot) {
      FailureOr<Value> codes = evaluate(code, point, true);
      FailureOr<Value> x = evaluate(activation, point, true);
      if (failed(codes) || failed(x))
        return failure();
      bool isSigned =
          llvm::any_of(code.getUsers(), llvm::IsaPred<arith::ExtSIOp>);
      int64_t bits =
          isSigned ? 8 : std::max(1u, llvm::Log2_64_Ceil(getMaximum(code) + 1));
      slot = Dot4Op::create(b, laneType, *codes, *x, slot, bits, isSigned);
      return success();
    }
    FailureOr<Value> made = evaluate(yielded, point, false);
    if (failed(made))
      return failure();
    slot = *made;
    if (!isa<VectorType>(slot.getType()))
      slot = vector::BroadcastOp::create(b, laneType, slot);
    return success();
  });
}

const RegisterTile *Vectorizer::findTile(Value tensor) {
  if (auto unroller = deferred.find(tensor); unroller != deferred.end())
    return &unroller->second->getResult();
  auto tile = tiles.find(tensor);
  return tile == tiles.end() ? nullptr : &tile->second;
}

LogicalResult Vectorizer::visit(linalg::GenericOp generic) {
  if (generic.getNumResults() != 1 || generic.hasDynamicShape())
    return generic.emitOpError(
        "in a product kernel needs one result and static shapes");
  for (AffineMap map : generic.getIndexingMapsArray())
    if (!map.isProjectedPermutation())
      return generic.emitOpError(
          "in a product kernel needs plain dimensions as indices");
  replaced.push_back(generic);
  auto unroller = std::make_unique<GenericUnroller>(*this, generic);
  if (unroller->isDeferred()) {
    deferred[generic.getResult(0)] = std::move(unroller);
    return success();
  }
  if (failed(unroller->run()))
    return failure();
  tiles[generic.getResult(0)] = unroller->getResult();
  return success();
}

LogicalResult Vectorizer::visit(tensor::ExtractSliceOp slice) {
  replaced.push_back(slice);
  if (auto tile = tiles.find(slice.getSource()); tile != tiles.end()) {
    // Fewer lanes of every vector.
    RegisterTile source = tile->second;
    int64_t lanes = slice.getType().getShape().back();
    if (slice.getType().getRank() != int64_t(source.shape.size()) ||
        !llvm::all_of(slice.getMixedOffsets(),
                      [](OpFoldResult o) { return isConstantIntValue(o, 0); }))
      return slice.emitOpError("of a register tile must keep its first lanes");
    source.shape.back() = lanes;
    for (Value &vector : source.vectors)
      vector = vector::ExtractStridedSliceOp::create(
          b, vector, ArrayRef<int64_t>{0}, ArrayRef<int64_t>{lanes},
          ArrayRef<int64_t>{1});
    tiles[slice.getResult()] = std::move(source);
    return success();
  }
  auto found = views.find(slice.getSource());
  if (found == views.end() || !slice.hasUnitStride())
    return slice.emitOpError("is neither of a buffer nor of a register tile");
  // One address per slice: what is loaded from it lies at constant distances.
  BufferView view = found->second;
  llvm::SmallBitVector dropped = slice.getDroppedDims();
  SmallVector<OpFoldResult> offsets(view.getRank(), b.getIndexAttr(0));
  SmallVector<OpFoldResult> sizes(offsets.size(), b.getIndexAttr(1));
  SmallVector<OpFoldResult> strides(offsets.size(), b.getIndexAttr(1));
  SmallVector<unsigned> dims;
  for (auto [i, offset] : llvm::enumerate(slice.getMixedOffsets())) {
    unsigned dim = view.dims[i];
    offsets[dim] = offset;
    sizes[dim] = slice.getMixedSizes()[i];
    if (!dropped.test(i))
      dims.push_back(dim);
  }
  view.buffer =
      memref::SubViewOp::create(b, view.buffer, offsets, sizes, strides);
  view.dims = dims;
  views[slice.getResult()] = std::move(view);
  return success();
}

LogicalResult
Vectorizer::visit(bufferization::MaterializeInDestinationOp store) {
  auto tile = tiles.find(store.getSource());
  if (tile == tiles.end())
    return store.emitOpError("in a product kernel stores a register tile");
  const RegisterTile &source = tile->second;
  SmallVector<int64_t> position(source.shape.size() - 1, 0);
  for (Value vector : source.vectors) {
    SmallVector<Value> indices;
    for (int64_t i : position)
      indices.push_back(constantIndex(i));
    indices.push_back(constantIndex(0));
    vector::StoreOp::create(b, vector, store.getDest(), indices);
    for (unsigned i = position.size(); i-- > 0;) {
      if (++position[i] < source.shape[i])
        break;
      position[i] = 0;
    }
  }
  replaced.push_back(store);
  return success();
}

LogicalResult Vectorizer::visit(scf::ForOp loop) {
  if (loop.getNumResults() == 0)
    return visit(*loop.getBody());
  SmallVector<Value> inits;
  for (Value init : loop.getInitArgs()) {
    auto tile = tiles.find(init);
    if (tile == tiles.end())
      return loop.emitOpError(
          "in a product kernel carries register tiles only");
    llvm::append_range(inits, tile->second.vectors);
  }
  auto vectorized = scf::ForOp::create(
      b, loop.getLowerBound(), loop.getUpperBound(), loop.getStep(), inits);
  auto assign = [&](ValueRange tensors, ValueRange vectors) {
    for (auto [tensor, init] : llvm::zip(tensors, loop.getInitArgs())) {
      RegisterTile tile = tiles[init];
      unsigned count = tile.vectors.size();
      tile.vectors.assign(vectors.begin(), vectors.begin() + count);
      vectors = vectors.drop_front(count);
      tiles[tensor] = std::move(tile);
    }
  };
  assign(loop.getRegionIterArgs(), vectorized.getRegionIterArgs());
  assign(loop.getResults(), vectorized.getResults());
  loop.getInductionVar().replaceAllUsesWith(vectorized.getInductionVar());
  Block *body = vectorized.getBody();
  body->getOperations().splice(body->end(), loop.getBody()->getOperations());
  if (failed(visit(*body)))
    return failure();
  auto yield = cast<scf::YieldOp>(body->getTerminator());
  SmallVector<Value> yielded;
  for (Value value : yield.getOperands())
    llvm::append_range(yielded, tiles[value].vectors);
  b.setInsertionPoint(yield);
  yield->setOperands(yielded);
  replaced.push_back(loop);
  return success();
}

LogicalResult Vectorizer::visit(Operation &op) {
  b.setInsertionPoint(&op);
  b.setLoc(op.getLoc());
  if (auto toTensor = dyn_cast<bufferization::ToTensorOp>(op)) {
    BufferView view{toTensor.getBuffer(), {}};
    llvm::append_range(view.dims, llvm::seq<unsigned>(0, view.getRank()));
    views[toTensor.getResult()] = std::move(view);
    replaced.push_back(&op);
    return success();
  }
  if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
    auto splat = dyn_cast<SplatElementsAttr>(constant.getValue());
    auto type = dyn_cast<RankedTensorType>(constant.getType());
    if (!type)
      return success();
    if (!splat)
      return op.emitOpError("in a product kernel needs one value in all lanes");
    auto lanes = VectorType::get(type.getShape().back(), type.getElementType());
    Value vector = arith::ConstantOp::create(b, splat.resizeSplat(lanes));
    RegisterTile tile{
        SmallVector<int64_t>(type.getShape()),
        SmallVector<Value>(getVectorCount(type.getShape()), vector)};
    tiles[constant.getResult()] = std::move(tile);
    replaced.push_back(&op);
    return success();
  }
  if (isa<tensor::EmptyOp>(op)) {
    replaced.push_back(&op);
    return success();
  }
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op))
    return visit(slice);
  if (auto generic = dyn_cast<linalg::GenericOp>(op))
    return visit(generic);
  if (auto store = dyn_cast<bufferization::MaterializeInDestinationOp>(op))
    return visit(store);
  if (auto loop = dyn_cast<scf::ForOp>(op))
    return visit(loop);
  for (Region &region : op.getRegions())
    for (Block &block : region)
      if (failed(visit(block)))
        return failure();
  return success();
}

LogicalResult Vectorizer::visit(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(block))
    if (failed(visit(op)))
      return failure();
  return success();
}

struct VectorizeProductPass final
    : lumen::impl::VectorizeProductPassBase<VectorizeProductPass> {
  void runOnOperation() override {
    for (auto kernel : getOperation().getOps<func::FuncOp>()) {
      auto kind = kernel->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr);
      if (kind && kind.getValue() == "product" &&
          failed(Vectorizer(kernel).run()))
        return signalPassFailure();
    }
  }
};

} // namespace

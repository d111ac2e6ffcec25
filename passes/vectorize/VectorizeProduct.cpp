// SPDX-License-Identifier: Apache-2.0
//
// Turns the small static tensors of product kernels into vector registers. The
// last dimension of a result is the lanes of a vector; every other dimension is
// unrolled. Operands that are slices of buffers become loads where they are
// used.
#include "passes/Passes.h"
#include "passes/check/KernelContract.h"
#include "passes/vectorize/GenericUnroller.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_VECTORIZEPRODUCTPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

class Vectorizer : public RegisterValues {
public:
  explicit Vectorizer(func::FuncOp kernel)
      : RegisterValues(kernel), kernel(kernel) {}

  LogicalResult run() {
    if (failed(verifyKernelBody(kernel)) ||
        failed(visit(kernel.getBody().front())) || failed(verifyReplaced()))
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
  LogicalResult visit(vector::TransferReadOp read);

  /// Nothing else uses what the replaced ops gave.
  LogicalResult verifyReplaced();

  func::FuncOp kernel;
  SmallVector<Operation *> replaced;
};

LogicalResult Vectorizer::verifyReplaced() {
  DenseSet<Operation *> gone(replaced.begin(), replaced.end());
  for (Operation *op : replaced)
    for (Operation *user : op->getUsers()) {
      // What a loop held has moved into the one that replaces it.
      Operation *holder = user;
      while (holder && !gone.contains(holder))
        holder = holder->getParentOp();
      if (!holder)
        return user->emitOpError("in a product kernel uses the tensor of ")
               << op->getName() << ", which becomes registers";
    }
  return success();
}

/// What a register tile is made of: the lanes are scalars, and there are not so
/// many that unrolling has no end.
static bool isTileType(Type type) {
  constexpr int64_t kMostElements = 1 << 20;
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getRank() && tensor.hasStaticShape() &&
         tensor.getElementType().isIntOrIndexOrFloat() &&
         llvm::all_of(
             tensor.getShape(),
             [](int64_t size) { return size > 0 && size <= kMostElements; }) &&
         tensor.getNumElements() <= kMostElements;
}

LogicalResult Vectorizer::visit(linalg::GenericOp generic) {
  if (generic.getNumResults() != 1 || generic.hasDynamicShape() ||
      !llvm::all_of(generic->getOperandTypes(), isTileType))
    return generic.emitOpError(
        "in a product kernel needs one result and static shapes");
  constexpr int64_t kMostPoints = 1 << 20;
  int64_t points = 1;
  for (int64_t size : generic.getStaticLoopRanges())
    if (size < 1 || (points *= size) > kMostPoints)
      return generic.emitOpError("has more than ")
             << kMostPoints << " points to unroll, or none";
  for (Operation &op : generic.getBody()->without_terminator())
    if (op.getNumRegions() || op.getNumResults() != 1 ||
        !isMemoryEffectFree(&op) ||
        !llvm::all_of(op.getResultTypes(),
                      [](Type type) { return type.isIntOrIndexOrFloat(); }))
      return op.emitOpError("in a product kernel is no arithmetic on scalars");
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
  if (!isTileType(slice.getType()))
    return slice.emitOpError("in a product kernel needs a static shape");
  if (auto tile = tiles.find(slice.getSource()); tile != tiles.end()) {
    // Fewer lanes of every vector.
    RegisterTile source = tile->second;
    int64_t lanes = slice.getType().getShape().back();
    if (slice.getType().getRank() != int64_t(source.shape.size()) ||
        slice.getType().getShape().drop_back() !=
            ArrayRef(source.shape).drop_back() ||
        !slice.hasUnitStride() ||
        !llvm::all_of(slice.getMixedOffsets(),
                      [](OpFoldResult o) { return isConstantIntValue(o, 0); }))
      return slice.emitOpError("of a register tile must keep its first lanes");
    source.shape.back() = lanes;
    for (Value &vector : source.vectors)
      vector = b.extract(vector, 0, lanes);
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
  auto dest = dyn_cast<MemRefType>(store.getDest().getType());
  if (tile == tiles.end() || !dest)
    return store.emitOpError(
        "in a product kernel stores a register tile to a buffer");
  const RegisterTile &source = tile->second;
  SmallVector<int64_t> position(source.shape.size() - 1, 0);
  for (Value vector : source.vectors) {
    SmallVector<Value> indices;
    for (int64_t i : position)
      indices.push_back(b.index(i));
    indices.push_back(b.index(0));
    b.store(vector, store.getDest(), indices);
    for (unsigned i = position.size(); i-- > 0;) {
      if (++position[i] < source.shape[i])
        break;
      position[i] = 0;
    }
  }
  replaced.push_back(store);
  return success();
}

/// A vector of a register tile, for what works on vectors itself.
LogicalResult Vectorizer::visit(vector::TransferReadOp read) {
  const RegisterTile *tile = findTile(read.getBase());
  SmallVector<int64_t> position;
  for (Value index : read.getIndices())
    if (auto constant = getConstantIntValue(index))
      position.push_back(*constant);
  auto isInTile = [&] {
    for (auto [i, size] : llvm::zip(ArrayRef(position).drop_back(),
                                    ArrayRef(tile->shape).drop_back()))
      if (i < 0 || i >= size)
        return false;
    return position.back() == 0;
  };
  if (!tile || position.size() != tile->shape.size() || !isInTile() ||
      read.getVectorType() != tile->vectors.front().getType() ||
      !read.getPermutationMap().isMinorIdentity() || read.getMask())
    return read.emitOpError(
        "in a product kernel takes one vector of a register tile");
  position.pop_back();
  read.getResult().replaceAllUsesWith(tile->vectors[tile->flatten(position)]);
  replaced.push_back(read);
  return success();
}

LogicalResult Vectorizer::visit(scf::ForOp loop) {
  // Without tensors it stays as it is.
  if (!llvm::any_of(loop.getResultTypes(), llvm::IsaPred<TensorType>))
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
  for (auto [value, init] :
       llvm::zip(yield.getOperands(), loop.getInitArgs())) {
    auto tile = tiles.find(value);
    if (tile == tiles.end() || tile->second.shape != tiles[init].shape)
      return yield.emitOpError("in a product kernel gives register tiles of "
                               "the shape of those the loop begins with");
    llvm::append_range(yielded, tile->second.vectors);
  }
  b.setInsertionPoint(yield);
  yield->setOperands(yielded);
  replaced.push_back(loop);
  return success();
}

LogicalResult Vectorizer::visit(Operation &op) {
  b.setInsertionPoint(&op);
  b.setLoc(op.getLoc());
  if (auto toTensor = dyn_cast<bufferization::ToTensorOp>(op)) {
    if (!isa<MemRefType>(toTensor.getBuffer().getType()))
      return op.emitOpError("in a product kernel needs a buffer of known rank");
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
    if (!splat || !isTileType(type))
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
    if (!isTileType(op.getResult(0).getType()))
      return op.emitOpError("in a product kernel needs a static shape");
    replaced.push_back(&op);
    return success();
  }
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op))
    return visit(slice);
  if (auto generic = dyn_cast<linalg::GenericOp>(op))
    return visit(generic);
  if (auto store = dyn_cast<bufferization::MaterializeInDestinationOp>(op))
    return visit(store);
  if (auto read = dyn_cast<vector::TransferReadOp>(op))
    return visit(read);
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
    for (func::FuncOp kernel : getKernels(getOperation(), KernelKind::Product))
      if (failed(Vectorizer(kernel).run()))
        return signalPassFailure();
  }
};

} // namespace

// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/ProductEpilogue.h"

#include "passes/support/Prefetch.h"
#include "passes/tile/ElementwiseEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace mlir::lumen;

/// Adds the results of `product` that `value` is computed from.
static LogicalResult collectProducts(QLinearOp product, Value value,
                                     SmallVectorImpl<unsigned> &products,
                                     unsigned &visited) {
  // A value that several ops read is computed by each of them.
  constexpr unsigned kMost = 64;
  Operation *op = value.getDefiningOp();
  if (++visited > kMost)
    return product.emitOpError("is followed by more than ")
           << kMost << " values that meet in one result";
  if (op == product) {
    unsigned number = cast<OpResult>(value).getResultNumber();
    if (!llvm::is_contained(products, number))
      products.push_back(number);
    return success();
  }
  if (isa_and_nonnull<bufferization::ToTensorOp>(op))
    return success();
  if (!op || !isElementwise(op))
    return op ? op->emitOpError("cannot follow a product inside its kernel")
              : product.emitOpError(
                    "meets a value that is no buffer inside its kernel");
  for (Value operand : op->getOperands())
    if (failed(collectProducts(product, operand, products, visited)))
      return failure();
  return success();
}

/// The buffers of float rows that `value` is computed from besides `product`.
static void collectBuffers(QLinearOp product, Value value,
                           SmallVectorImpl<Value> &buffers) {
  Operation *op = value.getDefiningOp();
  if (op == product)
    return;
  if (auto tensor = dyn_cast<bufferization::ToTensorOp>(op)) {
    if (!llvm::is_contained(buffers, tensor.getBuffer()))
      buffers.push_back(tensor.getBuffer());
    return;
  }
  for (Value operand : op->getOperands())
    collectBuffers(product, operand, buffers);
}

static bool readsBuffers(QLinearOp product, Value value) {
  SmallVector<Value> buffers;
  collectBuffers(product, value, buffers);
  return !buffers.empty();
}

LogicalResult lumen::collectSinks(func::FuncOp kernel, QLinearOp product,
                                  SmallVectorImpl<ProductSink> &sinks) {
  for (auto store :
       kernel.getOps<bufferization::MaterializeInDestinationOp>()) {
    ProductSink sink{store, store.getSource(), store.getDest(), {}};
    unsigned visited = 0;
    if (failed(collectProducts(product, sink.value, sink.products, visited)))
      return failure();
    if (sink.products.empty())
      return store.emitOpError(
          "stores a value that does not come from the product");
    if (product.getGroups() && readsBuffers(product, sink.value))
      return store.emitOpError(
          "of a product with groups joins it with another buffer");
    llvm::sort(sink.products);
    auto rowsOf = [&](unsigned i) {
      return cast<RankedTensorType>(product.getOutputs()[i].getType())
          .getDimSize(1);
    };
    auto tileOf = [&](unsigned i) {
      auto type = cast<RankedTensorType>(product.getWeights()[i].getType());
      auto packed = dyn_cast_or_null<PackedAttr>(type.getEncoding());
      return packed ? packed.getRows() : 0;
    };
    for (unsigned i : sink.products)
      if (tileOf(i) != tileOf(sink.products.front()))
        return store.emitOpError() << "joins products of weights in tiles of "
                                   << tileOf(sink.products.front()) << " and "
                                   << tileOf(i) << " rows";
    for (unsigned i : sink.products)
      if (rowsOf(i) != rowsOf(sink.products.front()))
        return store.emitOpError()
               << "joins products of " << rowsOf(sink.products.front())
               << " and " << rowsOf(i) << " rows";
    sinks.push_back(std::move(sink));
  }
  if (sinks.empty())
    return kernel.emitError("a product kernel stores at least one result");
  return success();
}

namespace {
/// Turns the element-wise ops behind a sink into the body of one
/// linalg.generic.
class EpilogueBuilder {
public:
  EpilogueBuilder(TileBuilder &b, const ProductSink &sink, QLinearOp product,
                  ArrayRef<Value> results, const TokenTile &tokens,
                  int64_t rows, Value row)
      : b(b), sink(sink), product(product), results(results), tokens(tokens),
        rows(rows), row(row) {}

  /// Collects the operands of the generic, in the order in which `emit` asks
  /// for them.
  void collect(Value value) {
    Operation *op = value.getDefiningOp();
    if (op == product) {
      unsigned number = cast<OpResult>(value).getResultNumber();
      addOperand(tileOf(number), {0, 1});
      if (hasBias(number))
        addOperand(b.sliceOfShape(product.getBiases()[number], {row}, {rows}),
                   {1});
      return;
    }
    if (isa<bufferization::ToTensorOp>(op))
      return addOperand(
          b.sliceOfShape(value, {tokens.first, row}, {tokens.count, rows}),
          {0, 1});
    for (Value operand : op->getOperands())
      collect(operand);
  }

  Value emit(KernelBuilder &nested, Value value, ValueRange arguments) {
    Operation *op = value.getDefiningOp();
    if (op == product) {
      Value result = arguments[next++];
      if (!hasBias(cast<OpResult>(value).getResultNumber()))
        return result;
      return arith::AddFOp::create(nested, result, arguments[next++]);
    }
    if (isa<bufferization::ToTensorOp>(op))
      return arguments[next++];
    SmallVector<Value> operands;
    for (Value operand : op->getOperands())
      operands.push_back(emit(nested, operand, arguments));
    return emitElementwise(nested, op, operands);
  }

  SmallVector<Value> operands;
  SmallVector<AffineMap> maps;

private:
  /// Whether a bias is still to be added to a result of the product.
  bool hasBias(unsigned number) {
    return !product.getBiases().empty() && number != sink.stored;
  }

  void addOperand(Value operand, ArrayRef<unsigned> dims) {
    operands.push_back(operand);
    maps.push_back(b.map(2, dims));
  }

  Value tileOf(unsigned number) {
    if (number == sink.stored)
      return b.sliceOfShape(b.toTensor(sink.buffer), {tokens.first, row},
                            {tokens.count, rows});
    auto type = cast<RankedTensorType>(results[number].getType());
    if (type.getDimSize(1) == rows)
      return results[number];
    return b.sliceOfShape(results[number],
                          {b.getIndexAttr(0), b.getIndexAttr(0)},
                          {tokens.count, rows});
  }

  TileBuilder &b;
  const ProductSink &sink;
  QLinearOp product;
  ArrayRef<Value> results;
  TokenTile tokens;
  int64_t rows;
  Value row;
  unsigned next = 0;
};
} // namespace

bool lumen::joinsTwoProducts(const ProductSink &sink, QLinearOp product) {
  return sink.products.size() == 2 && !readsBuffers(product, sink.value);
}

void lumen::fetchEpilogue(TileBuilder &b, const ProductSink &sink,
                          QLinearOp product, const TokenTile &tokens,
                          int64_t rows, Value row) {
  SmallVector<Value> buffers;
  collectBuffers(product, sink.value, buffers);
  if (!llvm::is_contained(buffers, sink.buffer))
    buffers.push_back(sink.buffer);
  for (Value buffer : buffers)
    for (int64_t i = 0; i < tokens.count; ++i)
      emitPrefetch(b, buffer, {b.add(tokens.first, i), row}, rows,
                   /*isWrite=*/buffer == sink.buffer);
}

void lumen::emitEpilogue(TileBuilder &b, const ProductSink &sink,
                         QLinearOp product, ArrayRef<Value> results,
                         const TokenTile &tokens, int64_t rows, Value row) {
  EpilogueBuilder epilogue(b, sink, product, results, tokens, rows, row);
  epilogue.collect(sink.value);
  Value tile;
  // (Of a buffer, the generic loads the tile.)
  bool isTile = llvm::none_of(results, [](Value result) {
    return result && result.getDefiningOp<tensor::ExtractSliceOp>();
  });
  if (sink.value.getDefiningOp() == product && epilogue.operands.size() == 1 &&
      isTile) {
    tile = epilogue.operands.front();
  } else {
    SmallVector<AffineMap> maps(epilogue.maps);
    maps.push_back(b.map(2, {0, 1}));
    Value empty = tensor::EmptyOp::create(
        b, ArrayRef<int64_t>{tokens.count, rows}, b.getF32Type());
    tile = b.generic(empty, epilogue.operands, maps, 2,
                     [&](KernelBuilder &nested, ValueRange arguments) {
                       return epilogue.emit(nested, sink.value, arguments);
                     });
  }
  SmallVector<OpFoldResult> offsets = {tokens.first, row},
                            sizes = {b.getIndexAttr(tokens.count),
                                     b.getIndexAttr(rows)},
                            strides(2, b.getIndexAttr(1));
  b.storeTile(
      tile, memref::SubViewOp::create(b, sink.buffer, offsets, sizes, strides));
}

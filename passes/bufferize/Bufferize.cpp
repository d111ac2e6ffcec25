// SPDX-License-Identifier: Apache-2.0
//
// Turns tensors into buffers, where BufferAnalysis.h says that they live.
#include "dialect/layout/FormatLayout.h"
#include "passes/Passes.h"
#include "passes/bufferize/BufferAnalysis.h"
#include "passes/support/CallOrder.h"
#include "passes/support/KernelBuffers.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_BUFFERIZEPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// A buffer, and the dynamic dimensions of the weight it holds.
struct Buffer {
  Value memref;
  SmallVector<Value> sizes;
};

bool isPacked(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && isa_and_nonnull<PackedAttr>(tensor.getEncoding());
}

class Bufferizer {
public:
  explicit Bufferizer(ModuleOp module)
      : module(module), b(module.getLoc(), module.getContext()) {}

  LogicalResult run();

private:
  LogicalResult bufferize(func::FuncOp function);
  LogicalResult verifyBody(func::FuncOp function);
  void addContract(SmallVectorImpl<NamedAttribute> &attrs, Type type,
                   bool countsRows);
  LogicalResult replaceArguments(func::FuncOp function,
                                 const BufferSignature &signature);
  LogicalResult rewriteKernel(func::FuncOp kernel,
                              const BufferSignature &signature);
  LogicalResult rewriteCaller(func::FuncOp caller,
                              const BufferSignature &signature);
  LogicalResult rewriteCall(func::CallOp call, func::FuncOp caller);
  Value getRowCount(Value buffer);
  Value allocate(const ResultPlace &result, func::CallOp call);

  ModuleOp module;
  ImplicitLocOpBuilder b;
  BufferAnalysis analysis;

  // Of the function being rewritten.
  /// By the tensor: arguments (as they were) and results of calls.
  DenseMap<Value, Buffer> buffers;
  /// Out arguments, by the value they receive.
  DenseMap<Value, Value> outs;
  /// The number of rows of a buffer.
  DenseMap<Value, Value> rowCounts;
};

/// Callees come first: a caller needs their signatures.
LogicalResult Bufferizer::run() {
  FailureOr<SmallVector<func::FuncOp>> order = sortCalleesFirst(module);
  if (failed(order))
    return failure();
  for (func::FuncOp function : *order)
    if (failed(bufferize(function)))
      return failure();
  return success();
}

LogicalResult Bufferizer::bufferize(func::FuncOp function) {
  if (!function.getBody().hasOneBlock())
    return function.emitError("must be a straight line of one block, got ")
           << function.getBody().getBlocks().size() << " blocks";
  if (failed(verifyBody(function)))
    return failure();
  FailureOr<BufferSignature> signature = analysis.analyze(function);
  if (failed(signature))
    return failure();
  buffers.clear();
  outs.clear();
  rowCounts.clear();
  if (failed(replaceArguments(function, *signature)))
    return failure();
  return function->hasAttr(LumenDialect::kKernelAttr)
             ? rewriteKernel(function, *signature)
             : rewriteCaller(function, *signature);
}

/// Tensors are ranked, only at the top level, and of elements that memory
/// holds.
LogicalResult Bufferizer::verifyBody(func::FuncOp function) {
  Block &body = function.getBody().front();
  if (!isa<func::ReturnOp>(body.back()))
    return function.emitError("must end in a func.return");
  bool isOfTensors = isKernelOf(function, KernelKind::Tensor);
  auto isBuffer = [](Type type) {
    auto ranked = dyn_cast<RankedTensorType>(type);
    return ranked ? MemRefType::isValidElementType(ranked.getElementType())
                  : !isa<TensorType>(type);
  };
  for (Type type : body.getArgumentTypes())
    if (!isBuffer(type))
      return function.emitError("takes a tensor that no buffer can hold: ")
             << type;
  WalkResult walk = function.getBody().walk([&](Operation *op) -> WalkResult {
    for (TypeRange types :
         {TypeRange(op->getOperandTypes()), TypeRange(op->getResultTypes())})
      for (Type type : types) {
        if (isa<TensorType>(type) && op->getBlock() != &body && !isOfTensors)
          return op->emitOpError("works on tensors inside of a region");
        if (!isBuffer(type))
          return op->emitOpError("works on a tensor that no buffer can hold: ")
                 << type;
      }
    return WalkResult::advance();
  });
  return failure(walk.wasInterrupted());
}

/// What the callers of a public function must know of a buffer: packed weights
/// are aligned, and the rows of some are bounded.
void Bufferizer::addContract(SmallVectorImpl<NamedAttribute> &attrs, Type type,
                             bool countsRows) {
  if (isPacked(type))
    attrs.push_back(
        b.getNamedAttr("llvm.align", b.getI64IntegerAttr(kAlignment)));
  if (countsRows)
    attrs.push_back(b.getNamedAttr(LumenDialect::kTokensAttr, b.getUnitAttr()));
}

/// Gives `function` its destination-passing signature. The tensor arguments
/// stay behind as the keys of `buffers`; whoever rewrites the body erases them.
LogicalResult Bufferizer::replaceArguments(func::FuncOp function,
                                           const BufferSignature &signature) {
  Block &body = function.getBody().front();
  unsigned count = body.getNumArguments();
  auto terminator = cast<func::ReturnOp>(body.getTerminator());
  SmallVector<DictionaryAttr> attributes;
  SmallVector<NamedAttribute> nothing;
  auto addArgument = [&](Type type, Location loc,
                         ArrayRef<NamedAttribute> attrs) {
    attributes.push_back(b.getDictionaryAttr(attrs));
    return body.addArgument(type, loc);
  };
  auto resultAttr = [&](unsigned number) {
    return b.getNamedAttr(LumenDialect::kResultAttr,
                          b.getI64IntegerAttr(number));
  };

  SmallVector<Value> replacements;
  SmallVector<int64_t> numbers; // of the arguments as they will be
  for (unsigned i = 0; i < count; ++i) {
    BlockArgument argument = body.getArgument(i);
    SmallVector<NamedAttribute> attrs;
    if (DictionaryAttr present = function.getArgAttrDict(i))
      llvm::append_range(attrs, present);
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    if (!type) {
      numbers.push_back(attributes.size());
      replacements.push_back(
          addArgument(argument.getType(), argument.getLoc(), attrs));
      continue;
    }
    FailureOr<MemRefType> buffer =
        getBufferType(type, signature.isWeight[i], function);
    if (failed(buffer))
      return failure();
    for (auto [number, result] : llvm::enumerate(signature.results))
      if (result.argument == i)
        attrs.push_back(resultAttr(number));
    if (function.isPublic())
      addContract(attrs, type, signature.countsRows[i]);
    Buffer held;
    numbers.push_back(attributes.size());
    held.memref = addArgument(*buffer, argument.getLoc(), attrs);
    if (signature.isWeight[i])
      for (int64_t dim = 0; dim < type.getNumDynamicDims(); ++dim)
        held.sizes.push_back(
            addArgument(b.getIndexType(), argument.getLoc(), nothing));
    buffers[argument] = held;
    replacements.push_back(nullptr);
  }
  for (auto [number, result] : llvm::enumerate(signature.results)) {
    if (!result.hasBuffer())
      continue;
    Value tensor = terminator.getOperand(number);
    SmallVector<NamedAttribute> attrs = {resultAttr(number)};
    if (function.isPublic()) {
      attrs.push_back(b.getNamedAttr(LumenDialect::kOutAttr, b.getUnitAttr()));
      addContract(attrs, tensor.getType(), /*countsRows=*/false);
    }
    if (function.isPublic() && result.rows)
      attrs.push_back(b.getNamedAttr(
          LumenDialect::kRowsAttr, b.getI64IntegerAttr(numbers[*result.rows])));
    outs[analysis.resolve(tensor)] =
        addArgument(result.type, terminator.getLoc(), attrs);
  }
  for (auto [i, value] : llvm::enumerate(replacements))
    if (value)
      body.getArgument(i).replaceAllUsesWith(value);

  SmallVector<Type> types(llvm::drop_begin(body.getArgumentTypes(), count));
  function.removeArgAttrsAttr();
  function.removeResAttrsAttr();
  function.setFunctionTypeAttr(TypeAttr::get(b.getFunctionType(types, {})));
  function.setAllArgAttrs(attributes);
  return success();
}

/// The body of a kernel keeps its tensors, between views of the buffers.
LogicalResult Bufferizer::rewriteKernel(func::FuncOp kernel,
                                        const BufferSignature &signature) {
  Block &body = kernel.getBody().front();
  auto terminator = cast<func::ReturnOp>(body.getTerminator());
  b.setInsertionPoint(terminator);
  b.setLoc(terminator.getLoc());
  for (auto [value, result] :
       llvm::zip(terminator.getOperands(), signature.results)) {
    if (result.sameAs || isa<BlockArgument>(value))
      continue;
    bool inPlace = result.argument.has_value();
    Value root = analysis.resolve(value);
    Value buffer = inPlace ? buffers[root].memref : outs[root];
    if (isWeightType(value.getType()))
      ToBytesOp::create(b, value, buffer);
    else
      bufferization::MaterializeInDestinationOp::create(
          b, Type(), value, buffer,
          /*restrict=*/!inPlace, /*writable=*/true);
  }
  terminator->setOperands({});

  b.setInsertionPointToStart(&body);
  unsigned count = signature.isWeight.size();
  for (unsigned i = 0; i < count; ++i) {
    BlockArgument argument = body.getArgument(i);
    if (argument.use_empty())
      continue;
    const Buffer &buffer = buffers[argument];
    b.setLoc(argument.getLoc());
    Value tensor;
    if (signature.isWeight[i])
      tensor = FromBytesOp::create(b, argument.getType(), buffer.memref,
                                   buffer.sizes);
    else
      tensor = bufferization::ToTensorOp::create(
          b, argument.getType(), buffer.memref,
          /*restrict=*/true,
          /*writable=*/bool(signature.isWritten[i]));
    argument.replaceAllUsesWith(tensor);
  }
  body.eraseArguments(0, count);
  return success();
}

/// The number of rows of a buffer, computed once per function.
Value Bufferizer::getRowCount(Value buffer) {
  Value &rows = rowCounts[buffer];
  if (!rows) {
    OpBuilder::InsertionGuard guard(b);
    if (buffer.getDefiningOp())
      b.setInsertionPointAfterValue(buffer);
    else
      b.setInsertionPointToStart(buffer.getParentBlock());
    rows = memref::DimOp::create(b, buffer, 0);
  }
  return rows;
}

/// Whether a buffer holds bytes in the layout of a file or a packed one.
static bool isWeightBuffer(const Buffer &buffer, Value tensor) {
  return buffer.memref &&
         cast<MemRefType>(buffer.memref.getType()).getRank() !=
             cast<RankedTensorType>(tensor.getType()).getRank();
}

/// A buffer for a result that no out argument receives; null where its size is
/// not known.
Value Bufferizer::allocate(const ResultPlace &result, func::CallOp call) {
  SmallVector<Value> sizes;
  for (unsigned size : result.sizes)
    sizes.push_back(call.getOperand(size));
  if (result.rows) {
    Value base = call.getOperand(*result.rows);
    sizes.push_back(getRowCount(buffers[analysis.resolve(base)].memref));
  }
  if (int64_t(sizes.size()) != result.type.getNumDynamicDims())
    return {};
  Value buffer = memref::AllocOp::create(b, result.type, sizes);
  if (!sizes.empty() && result.type.isDynamicDim(0))
    rowCounts[buffer] = sizes.front();
  return buffer;
}

LogicalResult Bufferizer::rewriteCall(func::CallOp call, func::FuncOp caller) {
  const BufferSignature &signature = *analysis.getSignature(call);
  b.setInsertionPoint(call);
  b.setLoc(call.getLoc());
  SmallVector<Value> operands;
  for (auto [i, operand] : llvm::enumerate(call.getOperands())) {
    if (!isa<RankedTensorType>(operand.getType())) {
      operands.push_back(operand);
      continue;
    }
    Value root = analysis.resolve(operand);
    const Buffer &buffer = buffers[root];
    if (bool asBytes = signature.isWeight[i];
        asBytes != isWeightBuffer(buffer, operand))
      return call.emitOpError("reads a tensor as ")
             << (asBytes ? "a weight" : "numbers")
             << " that others read otherwise: " << operand.getType();
    operands.push_back(buffer.memref);
    llvm::append_range(operands, buffer.sizes);
  }
  for (auto [value, result] : llvm::zip(call.getResults(), signature.results)) {
    if (!result.hasBuffer())
      continue;
    Value &buffer = buffers[value].memref;
    buffer = outs.lookup(value);
    if (!buffer)
      buffer = allocate(result, call);
    if (!buffer)
      return call.emitOpError("has a result whose size '")
             << caller.getSymName() << "' cannot compute: " << value.getType();
    operands.push_back(buffer);
  }
  func::CallOp::create(b, analysis.getCallee(call), operands);
  return success();
}

/// Layers and steps become straight lines of calls on buffers.
LogicalResult Bufferizer::rewriteCaller(func::FuncOp caller,
                                        const BufferSignature &signature) {
  Block &body = caller.getBody().front();
  SmallVector<Operation *> dead;
  for (Operation &op : llvm::make_early_inc_range(body)) {
    if (auto call = dyn_cast<func::CallOp>(op)) {
      if (failed(rewriteCall(call, caller)))
        return failure();
      dead.push_back(call);
    } else if (auto dim = dyn_cast<tensor::DimOp>(op)) {
      const Buffer &source = buffers[analysis.resolve(dim.getSource())];
      auto type = dyn_cast_or_null<MemRefType>(
          source.memref ? source.memref.getType() : Type());
      if (!type || type.getRank() != dim.getSource().getType().getRank())
        return dim.emitOpError("asks for a size of a tensor without a buffer "
                               "of its shape: ")
               << dim.getSource().getType();
      b.setInsertionPoint(dim);
      b.setLoc(dim.getLoc());
      dim.replaceAllUsesWith(
          Value(memref::DimOp::create(b, source.memref, dim.getIndex())));
      dead.push_back(dim);
    } else if (isa<func::ReturnOp>(op)) {
      op.setOperands({});
    } else if (worksOnTensors(&op)) {
      return op.emitOpError("works on tensors outside of a kernel");
    }
  }
  for (Operation *op : llvm::reverse(dead))
    op->erase();
  body.eraseArguments(0, signature.isWeight.size());
  return success();
}

struct BufferizePass final : lumen::impl::BufferizePassBase<BufferizePass> {
  using BufferizePassBase::BufferizePassBase;

  void runOnOperation() override {
    if (failed(Bufferizer(getOperation()).run()))
      signalPassFailure();
  }
};

} // namespace

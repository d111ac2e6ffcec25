// SPDX-License-Identifier: Apache-2.0
//
// Turns tensors into buffers. The fused form is so regular (kernels, and
// straight lines of calls) that where every result lives follows from the call
// graph; no analysis that could decide for a copy is needed.
#include "dialect/FormatLayout.h"
#include "passes/CallOrder.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Matchers.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_BUFFERIZEPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// The number of rows of a value of a function: those of its argument number
/// `base`, less its index arguments numbered `minus`, less `constant`.
struct Rows {
  unsigned base;
  SmallVector<unsigned> minus;
  int64_t constant = 0;
  /// The op that subtracts something else, which only its function can compute.
  Operation *unknown = nullptr;
};

/// Where a result of a function lives once the function works on buffers.
struct Result {
  /// The argument that is updated in place (or returned as it came).
  std::optional<unsigned> argument;
  /// An earlier result that is the same value.
  std::optional<unsigned> sameAs;
  /// Otherwise the result has an out argument of this type.
  MemRefType type;
  std::optional<Rows> rows;

  bool hasBuffer() const { return !argument && !sameAs; }
};

/// What the callers of a function must know. Arguments are numbered as before.
struct Signature {
  SmallVector<bool> isWeight;
  /// Arguments that a call writes.
  SmallVector<bool> isWritten;
  /// Arguments whose number of rows says how much memory a call needs.
  SmallVector<bool> countsRows;
  SmallVector<Result> results;
};

/// A buffer, and the dynamic dimensions of the weight it holds.
struct Buffer {
  Value memref;
  SmallVector<Value> sizes;
};

bool isCache(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor &&
         (tensor.getRank() == 5 ||
          (tensor.getRank() == 4 && tensor.getElementType().isInteger(8)));
}

bool isPacked(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && isa_and_nonnull<PackedAttr>(tensor.getEncoding());
}

/// True where the type alone says that a tensor is a weight: activations have
/// neither a layout nor quantized or 16-bit elements.
bool isWeightType(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getRank() == 2 &&
         (tensor.getEncoding() || isa<QuantType>(tensor.getElementType()) ||
          tensor.getElementType().isF16() || tensor.getElementType().isBF16());
}

/// True where an op of the dialect reads `use` as a weight.
bool isWeightUse(OpOperand &use) {
  Operation *op = use.getOwner();
  if (isa<DequantizeOp, PackOp>(op))
    return true;
  if (auto embedding = dyn_cast<EmbeddingOp>(op))
    return &use == &embedding.getTableMutable();
  if (auto linear = dyn_cast<LinearOp>(op))
    return &use == &linear.getWeightMutable();
  if (auto linear = dyn_cast<ExpertLinearOp>(op))
    return &use == &linear.getWeightMutable();
  if (auto product = dyn_cast<QLinearOp>(op))
    return llvm::is_contained(product.getWeights(), use.get()) &&
           !llvm::is_contained(product.getActivations(), use.get());
  return false;
}

class Bufferizer {
public:
  explicit Bufferizer(ModuleOp module)
      : module(module), b(module.getLoc(), module.getContext()) {}

  LogicalResult run();

private:
  LogicalResult bufferize(func::FuncOp function);
  LogicalResult analyze(func::FuncOp function, Signature &signature);
  LogicalResult markWritten(OpOperand &cache, Signature &signature);
  LogicalResult markCounted(func::CallOp call, const Signature &callee,
                            Signature &signature);
  /// What is known of the function that `call` calls; null where it has no
  /// body.
  const Signature *getSignature(func::CallOp call);
  FailureOr<Rows> getRows(Value tensor);
  FailureOr<MemRefType> getBufferType(RankedTensorType type, bool isWeight,
                                      Operation *from);
  void addContract(SmallVectorImpl<NamedAttribute> &attrs, Type type,
                   bool countsRows);
  LogicalResult replaceArguments(func::FuncOp function,
                                 const Signature &signature);
  LogicalResult rewriteKernel(func::FuncOp kernel, const Signature &signature);
  LogicalResult rewriteCaller(func::FuncOp caller, const Signature &signature);
  LogicalResult rewriteCall(func::CallOp call, func::FuncOp caller);
  Value getRowCount(Value buffer);
  Value subtractRows(Value rows, Value cut);
  Value allocate(const Result &result, func::CallOp call);
  Value resolve(Value value);

  ModuleOp module;
  ImplicitLocOpBuilder b;
  SymbolTableCollection symbols;
  DenseMap<Operation *, Signature> signatures;

  // Of the function being rewritten.
  /// By the tensor: arguments (as they were) and results of calls.
  DenseMap<Value, Buffer> buffers;
  /// Out arguments, by the value they receive.
  DenseMap<Value, Value> outs;
  /// The number of rows of a buffer, and differences of such numbers.
  DenseMap<Value, Value> rowCounts;
  DenseMap<std::pair<Value, Value>, Value> differences;
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
  Signature &signature = signatures[function];
  if (failed(analyze(function, signature)))
    return failure();
  Signature copy = signature;
  buffers.clear();
  outs.clear();
  rowCounts.clear();
  differences.clear();
  if (failed(replaceArguments(function, copy)))
    return failure();
  return function->hasAttr(LumenDialect::kKernelAttr)
             ? rewriteKernel(function, copy)
             : rewriteCaller(function, copy);
}

const Signature *Bufferizer::getSignature(func::CallOp call) {
  auto found = signatures.find(symbols.lookupNearestSymbolFrom<func::FuncOp>(
      call, call.getCalleeAttr()));
  return found == signatures.end() ? nullptr : &found->second;
}

/// The value or argument that `value` is another name for once caches are
/// updated in place.
Value Bufferizer::resolve(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto append = dyn_cast<KvAppendOp>(op)) {
      value = append.getCache();
      continue;
    }
    auto call = dyn_cast<func::CallOp>(op);
    if (!call)
      return value;
    const Signature *signature = getSignature(call);
    if (!signature)
      return value;
    const Result &result =
        signature->results[cast<OpResult>(value).getResultNumber()];
    if (result.argument)
      value = call.getOperand(*result.argument);
    else if (result.sameAs)
      value = call.getResult(*result.sameAs);
    else
      return value;
  }
  return value;
}

/// Subtracts an index: an argument or a constant.
static void subtract(Rows &rows, Value value, Operation *from) {
  IntegerAttr constant;
  if (auto argument = dyn_cast<BlockArgument>(value))
    rows.minus.push_back(argument.getArgNumber());
  else if (matchPattern(value, m_Constant(&constant)))
    rows.constant += constant.getInt();
  else
    rows.unknown = from;
}

/// Rows come from the first operand of every op of the dialect; only last_rows
/// changes their number.
FailureOr<Rows> Bufferizer::getRows(Value tensor) {
  tensor = resolve(tensor);
  if (auto argument = dyn_cast<BlockArgument>(tensor))
    return Rows{argument.getArgNumber(), {}};
  Operation *op = tensor.getDefiningOp();
  if (auto call = dyn_cast<func::CallOp>(op)) {
    // The callee counts in its own arguments.
    const Result &result =
        getSignature(call)->results[cast<OpResult>(tensor).getResultNumber()];
    if (!result.rows)
      return call.emitOpError("has a result whose number of rows is not known");
    FailureOr<Rows> rows = getRows(call.getOperand(result.rows->base));
    if (failed(rows))
      return failure();
    for (unsigned number : result.rows->minus)
      subtract(*rows, call.getOperand(number), call);
    rows->constant += result.rows->constant;
    if (result.rows->unknown)
      rows->unknown = call;
    return rows;
  }
  if (!isa_and_nonnull<LumenDialect>(op->getDialect()) ||
      op->getNumOperands() == 0)
    return op->emitOpError("gives a tensor whose number of rows is not known");
  FailureOr<Rows> rows = getRows(op->getOperand(0));
  if (auto last = dyn_cast<LastRowsOp>(op); last && succeeded(rows))
    subtract(*rows, last.getFirst(), last);
  return rows;
}

FailureOr<MemRefType> Bufferizer::getBufferType(RankedTensorType type,
                                                bool isWeight,
                                                Operation *from) {
  if (!isWeight)
    return MemRefType::get(type.getShape(), type.getElementType());
  Type i8 = b.getI8Type();
  if (!type.hasStaticShape())
    return MemRefType::get({ShapedType::kDynamic}, i8);
  FailureOr<int64_t> bytes = getWeightBytes(type, from);
  if (failed(bytes)) {
    from->emitError("uses the unknown format ") << type;
    return failure();
  }
  return MemRefType::get({*bytes}, i8);
}

/// Notes that `cache` is updated in place: whoever reads it later must read the
/// updated value.
LogicalResult Bufferizer::markWritten(OpOperand &cache, Signature &signature) {
  Operation *writer = cache.getOwner();
  for (Operation *user : cache.get().getUsers())
    if (writer->isBeforeInBlock(user))
      return user->emitOpError("uses a cache as it was before it was updated")
                 .attachNote(writer->getLoc())
             << "updated here";
  if (auto argument = dyn_cast<BlockArgument>(resolve(cache.get())))
    signature.isWritten[argument.getArgNumber()] = true;
  return success();
}

/// Notes whose rows say how large the results of `call` and the memory that it
/// needs itself are.
LogicalResult Bufferizer::markCounted(func::CallOp call,
                                      const Signature &callee,
                                      Signature &signature) {
  auto mark = [&](Value tensor) -> LogicalResult {
    FailureOr<Rows> rows = getRows(tensor);
    if (succeeded(rows))
      signature.countsRows[rows->base] = true;
    return rows;
  };
  for (auto [value, result] : llvm::zip(call.getResults(), callee.results))
    if (result.rows && failed(mark(value)))
      return failure();
  for (auto [operand, counts] :
       llvm::zip(call.getOperands(), callee.countsRows))
    if (counts && failed(mark(operand)))
      return failure();
  return success();
}

LogicalResult Bufferizer::analyze(func::FuncOp function, Signature &signature) {
  bool isKernel = function->hasAttr(LumenDialect::kKernelAttr);
  for (BlockArgument argument : function.getArguments()) {
    bool isWeight = isWeightType(argument.getType());
    for (OpOperand &use : argument.getUses()) {
      auto call = dyn_cast<func::CallOp>(use.getOwner());
      if (!call) {
        isWeight |= isWeightUse(use);
        continue;
      }
      if (const Signature *callee = getSignature(call))
        isWeight |= callee->isWeight[use.getOperandNumber()];
    }
    signature.isWeight.push_back(isWeight);
    signature.isWritten.push_back(false);
    signature.countsRows.push_back(false);
  }
  for (Operation &op : function.getBody().front()) {
    if (auto append = dyn_cast<KvAppendOp>(op))
      if (failed(markWritten(append.getCacheMutable(), signature)))
        return failure();
    auto call = dyn_cast<func::CallOp>(op);
    if (!call)
      continue;
    const Signature *callee = getSignature(call);
    if (!callee)
      return call.emitOpError("calls '")
             << call.getCallee() << "', which has no body";
    for (auto [operand, written] :
         llvm::zip(call->getOpOperands(), callee->isWritten))
      if (written && failed(markWritten(operand, signature)))
        return failure();
    if (failed(markCounted(call, *callee, signature)))
      return failure();
  }

  DenseMap<Value, unsigned> seen;
  auto terminator =
      cast<func::ReturnOp>(function.getBody().front().getTerminator());
  for (auto [i, value] : llvm::enumerate(terminator.getOperands())) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (!type)
      return function.emitError("returns a value that is no tensor: result ")
             << i << " is " << value.getType();
    Result result;
    Value root = resolve(value);
    if (auto argument = dyn_cast<BlockArgument>(root)) {
      if (function.isPublic() && !isCache(type))
        return function.emitError("is public and returns its argument ")
               << argument.getArgNumber()
               << " unchanged; only caches are updated in place";
      result.argument = argument.getArgNumber();
    } else if (auto [entry, isNew] = seen.try_emplace(root, i); !isNew) {
      if (function.isPublic())
        return function.emitError(
                   "is public and returns the same value as results ")
               << entry->second << " and " << i;
      result.sameAs = entry->second;
    } else {
      bool isWeight = isWeightType(type);
      FailureOr<MemRefType> buffer = getBufferType(type, isWeight, function);
      if (failed(buffer))
        return failure();
      result.type = *buffer;
      if (!isWeight && type.isDynamicDim(0)) {
        FailureOr<Rows> rows = getRows(value);
        if (failed(rows))
          return failure();
        if (rows->unknown && function.isPrivate())
          return rows->unknown->emitOpError(
              "has a number of rows that is neither an argument nor a "
              "constant, so callers cannot know it");
        result.rows = *rows;
      }
      if (isKernel && !isWeight && isCache(type))
        return function.emitError("returns a cache (result ")
               << i << ") that is no argument";
    }
    signature.results.push_back(result);
  }
  return success();
}

/// What the callers of a public function must know of a buffer: packed weights
/// begin at multiples of 64 bytes, and the rows of some are bounded.
void Bufferizer::addContract(SmallVectorImpl<NamedAttribute> &attrs, Type type,
                             bool countsRows) {
  if (isPacked(type))
    attrs.push_back(b.getNamedAttr("llvm.align", b.getI64IntegerAttr(64)));
  if (countsRows)
    attrs.push_back(b.getNamedAttr(LumenDialect::kTokensAttr, b.getUnitAttr()));
}

/// Gives `function` its destination-passing signature. The tensor arguments
/// stay behind as the keys of `buffers`; whoever rewrites the body erases them.
LogicalResult Bufferizer::replaceArguments(func::FuncOp function,
                                           const Signature &signature) {
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
    if (function.isPublic() && result.rows && !result.rows->unknown &&
        !result.rows->constant) {
      SmallVector<int64_t> rows = {numbers[result.rows->base]};
      for (unsigned number : result.rows->minus)
        rows.push_back(numbers[number]);
      attrs.push_back(b.getNamedAttr(LumenDialect::kRowsAttr,
                                     b.getDenseI64ArrayAttr(rows)));
    }
    outs[resolve(tensor)] =
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
                                        const Signature &signature) {
  Block &body = kernel.getBody().front();
  auto terminator = cast<func::ReturnOp>(body.getTerminator());
  b.setInsertionPoint(terminator);
  b.setLoc(terminator.getLoc());
  for (auto [value, result] :
       llvm::zip(terminator.getOperands(), signature.results)) {
    if (result.sameAs || isa<BlockArgument>(value))
      continue;
    bool inPlace = result.argument.has_value();
    Value root = resolve(value);
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
    b.setInsertionPointToStart(buffer.getParentBlock());
    rows = memref::DimOp::create(b, buffer, 0);
  }
  return rows;
}

/// rows - cut, computed once per function.
Value Bufferizer::subtractRows(Value rows, Value cut) {
  Value &difference = differences[{rows, cut}];
  if (!difference)
    difference = arith::SubIOp::create(b, rows, cut);
  return difference;
}

/// A buffer for a result that no out argument receives; null where its size is
/// not known.
Value Bufferizer::allocate(const Result &result, func::CallOp call) {
  SmallVector<Value> sizes;
  if (result.rows) {
    Value base = call.getOperand(result.rows->base);
    Value rows = getRowCount(buffers[resolve(base)].memref);
    for (unsigned number : result.rows->minus)
      rows = subtractRows(rows, call.getOperand(number));
    if (int64_t cut = result.rows->constant)
      rows = arith::SubIOp::create(b, rows,
                                   arith::ConstantIndexOp::create(b, cut));
    sizes.push_back(rows);
  }
  if (int64_t(sizes.size()) != result.type.getNumDynamicDims())
    return {};
  Value buffer = memref::AllocOp::create(b, result.type, sizes);
  if (!sizes.empty())
    rowCounts[buffer] = sizes.front();
  return buffer;
}

LogicalResult Bufferizer::rewriteCall(func::CallOp call, func::FuncOp caller) {
  auto callee =
      symbols.lookupNearestSymbolFrom<func::FuncOp>(call, call.getCalleeAttr());
  const Signature &signature = *getSignature(call);
  b.setInsertionPoint(call);
  b.setLoc(call.getLoc());
  SmallVector<Value> operands;
  for (Value operand : call.getOperands()) {
    if (!isa<RankedTensorType>(operand.getType())) {
      operands.push_back(operand);
      continue;
    }
    const Buffer &buffer = buffers[resolve(operand)];
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
  func::CallOp::create(b, callee, operands);
  return success();
}

/// Layers and steps become straight lines of calls on buffers.
LogicalResult Bufferizer::rewriteCaller(func::FuncOp caller,
                                        const Signature &signature) {
  Block &body = caller.getBody().front();
  SmallVector<Operation *> dead;
  for (Operation &op : llvm::make_early_inc_range(body)) {
    if (auto call = dyn_cast<func::CallOp>(op)) {
      if (failed(rewriteCall(call, caller)))
        return failure();
      dead.push_back(call);
    } else if (auto dim = dyn_cast<tensor::DimOp>(op)) {
      b.setInsertionPoint(dim);
      b.setLoc(dim.getLoc());
      dim.replaceAllUsesWith(Value(memref::DimOp::create(
          b, buffers[resolve(dim.getSource())].memref, dim.getIndex())));
      dead.push_back(dim);
    } else if (isa<func::ReturnOp>(op)) {
      op.setOperands({});
    } else if (llvm::any_of(op.getOperandTypes(), llvm::IsaPred<TensorType>) ||
               llvm::any_of(op.getResultTypes(), llvm::IsaPred<TensorType>)) {
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

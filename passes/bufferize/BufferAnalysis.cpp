// SPDX-License-Identifier: Apache-2.0
#include "passes/bufferize/BufferAnalysis.h"

#include "dialect/layout/PackedLayout.h"
#include "passes/support/KernelBuffers.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace mlir::lumen;

bool lumen::isWeightType(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getRank() == 2 &&
         (tensor.getEncoding() || isa<QuantType>(tensor.getElementType()));
}

/// Matrices of 16-bit floats are weights where they are read as such, or not at
/// all.
static bool mayBeWeight(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getRank() == 2 &&
         (tensor.getElementType().isF16() || tensor.getElementType().isBF16());
}

/// True where `use` is read as a weight.
static bool isWeightUse(OpOperand &use) {
  auto user = dyn_cast<WeightUserOpInterface>(use.getOwner());
  return user && llvm::any_of(user.getWeightOperands(), [&](OpOperand &weight) {
           return &weight == &use;
         });
}

FailureOr<MemRefType> lumen::getBufferType(RankedTensorType type, bool isWeight,
                                           Operation *from) {
  if (!isWeight)
    return MemRefType::get(type.getShape(), type.getElementType());
  Type i8 = IntegerType::get(type.getContext(), 8);
  if (!type.hasStaticShape())
    return MemRefType::get({ShapedType::kDynamic}, i8);
  if (!isa<QuantType>(type.getElementType()) &&
      !type.getElementType().isIntOrFloat()) {
    from->emitError("uses a weight of ") << type;
    return failure();
  }
  if (type.getEncoding() && !isa<PackedAttr>(type.getEncoding())) {
    from->emitError("uses a weight of an unknown layout, ") << type;
    return failure();
  }
  FailureOr<int64_t> bytes = getWeightBytes(type, from);
  if (failed(bytes)) {
    from->emitError("uses the unknown format ") << type;
    return failure();
  }
  return MemRefType::get({*bytes}, i8);
}

func::FuncOp BufferAnalysis::getCallee(func::CallOp call) {
  return symbols.lookupNearestSymbolFrom<func::FuncOp>(call,
                                                       call.getCalleeAttr());
}

const BufferSignature *BufferAnalysis::getSignature(func::CallOp call) {
  auto found = signatures.find(getCallee(call));
  return found == signatures.end() ? nullptr : &found->second;
}

Value BufferAnalysis::resolve(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    auto kernelOp = dyn_cast<KernelOpInterface>(op);
    if (OpOperand *updated = kernelOp ? kernelOp.getUpdated() : nullptr) {
      value = updated->get();
      continue;
    }
    auto call = dyn_cast<func::CallOp>(op);
    if (!call)
      return value;
    const BufferSignature *signature = getSignature(call);
    if (!signature)
      return value;
    const ResultPlace &result =
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

/// The number of the argument that has as many rows as a tensor: those that ops
/// go through. None where a kernel of tensors computes their number, which is
/// bounded by what that asks of sizes.
FailureOr<std::optional<unsigned>> BufferAnalysis::getRows(Value tensor) {
  tensor = resolve(tensor);
  auto unknown = [&](Operation *op) {
    return op->emitOpError("gives a tensor whose number of rows is not known");
  };
  if (auto argument = dyn_cast<BlockArgument>(tensor)) {
    if (isa<RankedTensorType>(tensor.getType()) &&
        !isWeightType(tensor.getType()))
      return std::optional(argument.getArgNumber());
    return unknown(argument.getOwner()->getParentOp());
  }
  Operation *op = tensor.getDefiningOp();
  if (auto call = dyn_cast<func::CallOp>(op)) {
    // The callee counts in its own arguments.
    const ResultPlace &result =
        getSignature(call)->results[cast<OpResult>(tensor).getResultNumber()];
    if (isKernelOf(getCallee(call), KernelKind::Tensor) && !result.rows) {
      auto type = cast<RankedTensorType>(tensor.getType());
      auto dim = type.getRank() && type.isDynamicDim(0) && !result.sizes.empty()
                     ? call.getOperand(result.sizes.front())
                           .getDefiningOp<tensor::DimOp>()
                     : tensor::DimOp();
      if (dim && dim.getConstantIndex() == 0)
        return getRows(dim.getSource());
      return std::optional<unsigned>();
    }
    if (!result.rows)
      return call.emitOpError("has a result whose number of rows is not known");
    return getRows(call.getOperand(*result.rows));
  }
  auto kernelOp = dyn_cast<KernelOpInterface>(op);
  return kernelOp ? getRows(kernelOp.getRows()) : unknown(op);
}

/// Notes that `cache` is updated in place: whoever reads it later must read the
/// updated value.
LogicalResult BufferAnalysis::markWritten(OpOperand &cache,
                                          BufferSignature &signature) {
  Operation *writer = cache.getOwner();
  for (Operation *user : cache.get().getUsers())
    if (Operation *place = writer->getBlock()->findAncestorOpInBlock(*user);
        place && writer->isBeforeInBlock(place))
      return user->emitOpError("uses a cache as it was before it was updated")
                 .attachNote(writer->getLoc())
             << "updated here";
  if (auto argument = dyn_cast<BlockArgument>(resolve(cache.get())))
    signature.isWritten[argument.getArgNumber()] = true;
  return success();
}

/// Notes whose rows say how large the results of `call` and the memory that it
/// needs itself are.
LogicalResult BufferAnalysis::markCounted(func::CallOp call,
                                          const BufferSignature &callee,
                                          BufferSignature &signature) {
  auto mark = [&](Value tensor) -> LogicalResult {
    FailureOr<std::optional<unsigned>> rows = getRows(tensor);
    if (succeeded(rows) && *rows)
      signature.countsRows[**rows] = true;
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

void BufferAnalysis::analyzeArguments(func::FuncOp function,
                                      BufferSignature &signature) {
  for (BlockArgument argument : function.getArguments()) {
    bool isWeight = isWeightType(argument.getType()) ||
                    (mayBeWeight(argument.getType()) && argument.use_empty());
    for (OpOperand &use : argument.getUses()) {
      auto call = dyn_cast<func::CallOp>(use.getOwner());
      if (!call) {
        isWeight |= isWeightUse(use);
        continue;
      }
      if (const BufferSignature *callee = getSignature(call))
        isWeight |= callee->isWeight[use.getOperandNumber()];
    }
    signature.isWeight.push_back(isWeight);
    signature.isWritten.push_back(false);
    signature.countsRows.push_back(false);
  }
}

/// Notes what calls do to arguments, and what they ask of their rows.
LogicalResult BufferAnalysis::analyzeUpdates(func::FuncOp function,
                                             BufferSignature &signature) {
  for (Operation &op : function.getBody().front()) {
    auto kernelOp = dyn_cast<KernelOpInterface>(op);
    if (OpOperand *updated = kernelOp ? kernelOp.getUpdated() : nullptr)
      if (failed(markWritten(*updated, signature)))
        return failure();
    auto call = dyn_cast<func::CallOp>(op);
    if (!call)
      continue;
    const BufferSignature *callee = getSignature(call);
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
  return success();
}

LogicalResult BufferAnalysis::analyzeResults(func::FuncOp function,
                                             BufferSignature &signature) {
  bool isKernel = function->hasAttr(LumenDialect::kKernelAttr);
  DenseMap<Value, unsigned> seen;
  int64_t nextSize = 0;
  auto terminator =
      cast<func::ReturnOp>(function.getBody().front().getTerminator());
  for (auto [i, value] : llvm::enumerate(terminator.getOperands())) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (!type)
      return function.emitError("returns a value that is no tensor: result ")
             << i << " is " << value.getType();
    ResultPlace result;
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
      auto call = root.getDefiningOp<func::CallOp>();
      bool hasOpenSizes =
          call && isKernelOf(getCallee(call), KernelKind::Tensor);
      FailureOr<MemRefType> buffer = getBufferType(type, isWeight, function);
      if (failed(buffer))
        return failure();
      result.type = *buffer;
      if (auto sizes = function->getAttrOfType<DenseI64ArrayAttr>(
              LumenDialect::kResultSizesAttr)) {
        // In the order of the results.
        ArrayRef<int64_t> open = sizes.asArrayRef().drop_front(
            std::min<int64_t>(nextSize, sizes.size()));
        for (int64_t n = 0; n < type.getNumDynamicDims(); ++n)
          result.sizes.push_back(open[n]);
        nextSize += type.getNumDynamicDims();
      } else if (!isWeight && type.getRank() && type.isDynamicDim(0) &&
                 !hasOpenSizes) {
        FailureOr<std::optional<unsigned>> rows = getRows(value);
        if (failed(rows))
          return failure();
        result.rows = *rows;
      }
      if (isKernel && !isWeight && isCache(type) &&
          !isKernelOf(function, KernelKind::Tensor))
        return function.emitError("returns a cache (result ")
               << i << ") that is no argument";
    }
    signature.results.push_back(result);
  }
  return success();
}

FailureOr<BufferSignature> BufferAnalysis::analyze(func::FuncOp function) {
  BufferSignature signature;
  analyzeArguments(function, signature);
  if (failed(analyzeUpdates(function, signature)) ||
      failed(analyzeResults(function, signature)))
    return failure();
  return signatures[function] = std::move(signature);
}

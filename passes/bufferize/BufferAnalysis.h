// SPDX-License-Identifier: Apache-2.0
//
// Where the tensors of functions live once the functions work on buffers. The
// fused form is so regular (kernels, and straight lines of calls) that it
// follows from the call graph; no analysis that could decide for a copy is
// needed.
#ifndef LUMEN_PASSES_BUFFERIZE_BUFFERANALYSIS_H
#define LUMEN_PASSES_BUFFERIZE_BUFFERANALYSIS_H

#include "dialect/LumenDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include <optional>

namespace mlir::lumen {

/// Where a result of a function lives.
struct ResultPlace {
  /// The argument that is updated in place (or returned as it came).
  std::optional<unsigned> argument;
  /// An earlier result that is the same value.
  std::optional<unsigned> sameAs;
  /// Otherwise the result has an out argument of this type.
  MemRefType type;
  /// The argument that has as many rows, where their number is dynamic.
  std::optional<unsigned> rows;
  /// The arguments of a kernel of tensors that are the sizes which the type
  /// leaves open.
  SmallVector<unsigned> sizes;

  bool hasBuffer() const { return !argument && !sameAs; }
};

/// What the callers of a function must know. Arguments are numbered as they are
/// while it takes tensors.
struct BufferSignature {
  SmallVector<bool> isWeight;
  /// Arguments that a call writes.
  SmallVector<bool> isWritten;
  /// Arguments whose number of rows says how much memory a call needs.
  SmallVector<bool> countsRows;
  SmallVector<ResultPlace> results;
};

/// True where the type alone says that a tensor is a weight: other tensors have
/// neither a layout nor quantized elements.
bool isWeightType(Type type);

/// The signatures of the functions of a module, callees before callers. It asks
/// of callees only their signatures, so that they may be rewritten meanwhile.
class BufferAnalysis {
public:
  /// Finds the signature of a function of tensors, or says why it has none.
  FailureOr<BufferSignature> analyze(func::FuncOp function);

  /// The function that `call` calls.
  func::FuncOp getCallee(func::CallOp call);
  /// What is known of it; null where it has no body.
  const BufferSignature *getSignature(func::CallOp call);
  /// The value or argument that `value` is another name for once caches are
  /// updated in place.
  Value resolve(Value value);

private:
  void analyzeArguments(func::FuncOp function, BufferSignature &signature);
  LogicalResult analyzeUpdates(func::FuncOp function,
                               BufferSignature &signature);
  LogicalResult analyzeResults(func::FuncOp function,
                               BufferSignature &signature);
  LogicalResult markWritten(OpOperand &cache, BufferSignature &signature);
  LogicalResult markCounted(func::CallOp call, const BufferSignature &callee,
                            BufferSignature &signature);
  FailureOr<std::optional<unsigned>> getRows(Value tensor);

  SymbolTableCollection symbols;
  DenseMap<Operation *, BufferSignature> signatures;
};

/// The buffer of a tensor: bytes for weights. Fails, with a message at `from`,
/// where the type names no known format.
FailureOr<MemRefType> getBufferType(RankedTensorType type, bool isWeight,
                                    Operation *from);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_BUFFERIZE_BUFFERANALYSIS_H

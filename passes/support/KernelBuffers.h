// SPDX-License-Identifier: Apache-2.0
//
// The tensors in the body of a bufferized kernel, and the buffers behind them.
#ifndef LUMEN_PASSES_SUPPORT_KERNELBUFFERS_H
#define LUMEN_PASSES_SUPPORT_KERNELBUFFERS_H

#include "dialect/LumenDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::lumen {

bool hasTensor(TypeRange types);

/// Whether tensors of a type are caches of keys or values, which are updated in
/// place.
bool isCache(Type type);

/// Whether an operand or a result of `op` is a tensor.
bool worksOnTensors(Operation *op);

/// The memref that `tensor` reads (`bufferization.to_tensor` or
/// `lumen.from_bytes`), or that the chain of updates it ends began with; null
/// where it is computed.
Value getSourceBuffer(Value tensor);

/// The memrefs that `bufferization.materialize_in_destination` fills with
/// `result`.
SmallVector<Value> getDestinations(Value result);

/// Erases all ops of the kernel's body that work on tensors.
void eraseTensorOps(func::FuncOp kernel);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_SUPPORT_KERNELBUFFERS_H

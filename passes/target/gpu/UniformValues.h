// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_PASSES_TARGET_GPU_UNIFORMVALUES_H
#define LUMEN_PASSES_TARGET_GPU_UNIFORMVALUES_H

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Dominance.h"
#include "llvm/ADT/DenseSet.h"

namespace mlir::lumen {

/// Which values of a kernel are the same in all threads of a warp.
///
/// Arguments are. What a thread reads of its own place, what follows from that,
/// and whatever is not understood may differ. Where a branch depends on such a
/// value, so does what its ways give to the blocks in which they meet.
class UniformValues {
public:
  explicit UniformValues(LLVM::LLVMFuncOp function);

  bool contains(Value value) const { return !differing.contains(value); }

private:
  /// Whether results of the op may differ.
  bool mayDiffer(Operation *op) const;
  bool hasDiffering(ValueRange values) const;
  void visit(Block &block);
  void markWays(Block *from);
  void mark(ValueRange values);

  PostDominanceInfo meetings;
  llvm::DenseSet<Value> differing;
  bool hasChanged = false;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_GPU_UNIFORMVALUES_H

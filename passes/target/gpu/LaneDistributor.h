// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_PASSES_TARGET_GPU_LANEDISTRIBUTOR_H
#define LUMEN_PASSES_TARGET_GPU_LANEDISTRIBUTOR_H

#include "passes/target/gpu/LaneGather.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::lumen {

/// Gives each thread of a warp its lane of the vectors of a kernel.
///
/// Ops are changed in place, so that a value is what the lane has of it once
/// its op is behind.
class LaneDistributor {
public:
  LaneDistributor(func::FuncOp function, LaneLayouts layouts)
      : function(function), layouts(std::move(layouts)),
        b(function.getLoc(), function.getContext()) {}

  LogicalResult run();
  /// Bytes of the kernel's scratch memory, so many that others can follow.
  int64_t getScratchBytes() const;

private:
  LogicalResult distribute(Operation *op);
  bool isUniform(Operation *op) const;

  // Ops by what they do with vectors.
  LogicalResult distributeElementwise(Operation *op);
  LogicalResult distributeSum(Operation *op);
  LogicalResult distributeBranch(Operation *op);
  LogicalResult distribute(scf::ForOp op);
  LogicalResult distribute(scf::YieldOp op);
  LogicalResult distribute(vector::LoadOp op);
  LogicalResult distribute(vector::StoreOp op);
  LogicalResult distribute(memref::AllocaOp op);
  LogicalResult distribute(vector::BroadcastOp op);
  LogicalResult distribute(vector::BitCastOp op);
  LogicalResult distribute(vector::ReductionOp op);
  LogicalResult distribute(vector::ExtractOp op);
  LogicalResult distribute(vector::ExtractStridedSliceOp op);
  LogicalResult distribute(vector::DeinterleaveOp op);
  LogicalResult distribute(vector::InsertStridedSliceOp op);
  LogicalResult distribute(vector::InterleaveOp op);
  LogicalResult distribute(vector::GatherOp op);
  LogicalResult distribute(vector::ScatterOp op);
  LogicalResult distribute(vector::ShuffleOp op);
  LogicalResult distribute(MmaOp op);

  /// What a lane has of a constant; null where that follows no simple rule.
  Value makeConstant(Value constant, LaneLayout layout);
  /// Replaces constants among the operands, which are laid out as the function
  /// says.
  LogicalResult makeConstants(Operation *op,
                              function_ref<LaneLayout(OpOperand &)> layoutOf);
  /// `old` becomes `now`, which a lane has.
  LogicalResult replace(Value old, Value now);
  /// `value` becomes what a lane has of it.
  void takeOwn(Value value);
  /// Where own element `number` of a gather or a scatter is.
  SmallVector<Value> offsetLast(ValueRange offsets, Value numbers,
                                int64_t number);
  /// `result` is, at element e, element factor * e + offset of `source`.
  void pick(Value result, Value source, int64_t factor, int64_t offset);
  /// Where in memory chunk `turn` of the lane begins.
  SmallVector<Value> offsetLast(ValueRange indices, LaneLayout layout,
                                int64_t turn);
  /// Says of `own`, which a lane loads of `op`, whether it lies in words.
  static void align(vector::LoadOp own, vector::LoadOp op);

  func::FuncOp function;
  LaneLayouts layouts;
  KernelBuilder b;
  Value lane, laneIndex;
  SmallVector<Operation *> dead;
  int64_t scratch = 0;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_GPU_LANEDISTRIBUTOR_H

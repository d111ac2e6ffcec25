// SPDX-License-Identifier: Apache-2.0
//
// Writes an op of linalg on buffers as loops over vectors of one dimension.
#ifndef LUMEN_PASSES_VECTORIZE_LINALGEMITTER_H
#define LUMEN_PASSES_VECTORIZE_LINALGEMITTER_H

#include "passes/support/KernelBuilder.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace mlir::lumen {

class LinalgEmitter {
public:
  /// `bits`: of the vectors that are worked on.
  LinalgEmitter(linalg::LinalgOp op, int64_t bits);

  /// Writes the loops in front of the op. The order of every sum follows from
  /// the types of the op alone.
  void emit();

private:
  /// How an operand changes along the loop of the lanes.
  enum class Access { Uniform, Contiguous, Strided };

  Access getAccess(OpOperand &operand, unsigned loop);
  bool isVectorizable();
  bool findCombiners();
  void choosePlan(int64_t bits);
  std::optional<double> getCost(unsigned loop, bool combines);
  void chooseUnrolledLoop();

  void emitParallel(unsigned number);
  void emitLanes();
  void emitPoints(int64_t lanes);
  void emitReduction();
  /// Loops over all reductions but that of the lanes from `number` on.
  SmallVector<Value> reduce(unsigned number, ValueRange init,
                            function_ref<SmallVector<Value>(ValueRange)> body);
  /// What the body gives for the operands at the current place, with `outs` in
  /// place of what it writes.
  SmallVector<Value> emitBody(int64_t lanes, unsigned point, ValueRange outs);
  Value load(OpOperand &operand, int64_t lanes, unsigned point);
  void store(Value value, OpOperand &operand, int64_t lanes, unsigned point);
  SmallVector<Value> getPlace(OpOperand &operand, unsigned point,
                              int64_t lane = 0);
  Value combine(unsigned number, Value lhs, Value rhs);
  Value reduceLanes(unsigned number, Value vector);
  Value getNeutral(unsigned number, int64_t lanes);

  linalg::LinalgOp op;
  KernelBuilder b;
  SmallVector<utils::IteratorType> kinds;
  SmallVector<int64_t> extents;
  SmallVector<Value> sizes;
  /// Where the loops are.
  SmallVector<Value> at;
  /// The op that adds up each result.
  SmallVector<Operation *> combiners;

  /// The loop of the lanes, if there is one.
  std::optional<unsigned> lanesLoop;
  int64_t mostLanes = 1;
  /// The loop of which several iterations are computed at a time.
  std::optional<unsigned> unrolledLoop;
  unsigned points = 1;
  SmallVector<unsigned> outer, reductions;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_VECTORIZE_LINALGEMITTER_H

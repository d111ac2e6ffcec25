// SPDX-License-Identifier: Apache-2.0
//
// Unrolls a linalg.generic on small static tensors into vectors: the last
// dimension of its result is the lanes, every other dimension is unrolled.
#ifndef LUMEN_PASSES_VECTORIZE_GENERICUNROLLER_H
#define LUMEN_PASSES_VECTORIZE_GENERICUNROLLER_H

#include "passes/vectorize/RegisterValues.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"

#include <map>

namespace mlir::lumen {

/// Unrolls one linalg.generic over its non-lane dimensions.
class GenericUnroller {
public:
  GenericUnroller(RegisterValues &v, linalg::GenericOp generic);

  /// Whether the result is one of groups (dimensions between the first and the
  /// lanes) that a single other generic reads group by group. It is unrolled
  /// together with that one, so that the sums of one group need registers at a
  /// time.
  bool isDeferred();

  /// Unrolls everything, or what belongs to a group: `fixed` are positions of
  /// dimensions, -1 for those that are free.
  LogicalResult run() { return run(Point(sizes.size(), -1)); }
  LogicalResult run(ArrayRef<int64_t> fixed);

  const RegisterTile &getResult() const { return result; }

private:
  using Point = SmallVector<int64_t>;

  /// Whether the registers hold the sums of one group of all tokens beside the
  /// sums of those before it.
  bool holdsGroup();
  /// Whether this is a dot product of two values of the lanes each.
  bool takesPairs();
  /// The dimensions that number the groups of the deferred operands, behind the
  /// tokens where they are taken one by one. Tokens side by side have more sums
  /// that do not wait for each other.
  SmallVector<unsigned> getGroupDims();
  /// Unrolls what belongs to a group of the deferred operands.
  LogicalResult runDeferred(ArrayRef<int64_t> fixed);
  LogicalResult runPoints(ArrayRef<int64_t> fixed);

  FailureOr<Value> load(unsigned operand, ArrayRef<int64_t> point,
                        bool wholeStep);
  /// A load of lanes, and the prefetches that the op wants for it.
  Value loadLanes(int64_t elements, Value buffer, ArrayRef<Value> indices);
  FailureOr<Value> evaluate(Value value, ArrayRef<int64_t> point,
                            bool wholeStep);
  /// The 32-bit values of the lanes at the two positions of the last dimension,
  /// as pairs of 16 bits.
  FailureOr<Value> emitPair(Value value, ArrayRef<int64_t> point);
  /// The next value of a sum of dot products, of four 8-bit or two 16-bit
  /// codes at the point.
  FailureOr<Value> emitDot(ArrayRef<int64_t> point, Value sum);
  /// Calls `visit` with every point of the dimensions in `order`, the first one
  /// outermost, from `point` on.
  LogicalResult forEachPoint(Point point, ArrayRef<unsigned> order,
                             function_ref<LogicalResult(Point &)> visit);
  int64_t resultIndex(ArrayRef<int64_t> point) {
    SmallVector<int64_t> leading;
    for (AffineExpr expr : maps.back().getResults().drop_back())
      leading.push_back(point[cast<AffineDimExpr>(expr).getPosition()]);
    return result.flatten(leading);
  }

  RegisterValues &v;
  KernelBuilder &b;
  linalg::GenericOp generic;
  SmallVector<AffineMap> maps;
  SmallVector<int64_t> sizes;
  unsigned laneDim;
  int64_t lanes;
  RegisterTile result;
  Value code, activation; // of a dot product over the last dimension
  std::map<std::pair<unsigned, SmallVector<int64_t>>, Value> loads;
  DenseMap<Value, Value> values; // of the body, at the current point
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_VECTORIZE_GENERICUNROLLER_H

// SPDX-License-Identifier: Apache-2.0
//
// What verifiers of several ops check, with its messages.
#ifndef LUMEN_DIALECT_OPVERIFICATION_H
#define LUMEN_DIALECT_OPVERIFICATION_H

#include "dialect/LumenDialect.h"

namespace mlir::lumen {

inline RankedTensorType rankedType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

/// Dimensions agree, a dynamic one with everything.
inline bool compatible(int64_t a, int64_t b) {
  return ShapedType::isDynamic(a) || ShapedType::isDynamic(b) || a == b;
}

/// How many groups a row has; dynamic for a dynamic width.
inline int64_t countGroups(int64_t columns, int64_t group) {
  return ShapedType::isDynamic(columns) ? columns : columns / group;
}

/// The width of a row of `parts` (heads, slots) of `width` columns; dynamic
/// where a factor is.
inline int64_t countColumns(int64_t parts, int64_t width) {
  bool dynamic = ShapedType::isDynamic(parts) || ShapedType::isDynamic(width);
  return dynamic ? ShapedType::kDynamic : parts * width;
}

/// `what` has the size `expected`, or one of the two is dynamic.
LogicalResult verifyDim(Operation *op, StringRef what, int64_t expected,
                        int64_t actual);

/// `groups` are those of `lumen.group_tokens`.
LogicalResult verifyGroups(Operation *op, RankedTensorType groups);

/// The element type names a format that exists, and rows are whole blocks.
LogicalResult verifyWeight(Operation *op, RankedTensorType type,
                           SymbolTableCollection &symbols);

/// The same for all tensors among `types`.
LogicalResult verifyWeights(Operation *op, TypeRange types,
                            SymbolTableCollection &symbols);

} // namespace mlir::lumen

#endif // LUMEN_DIALECT_OPVERIFICATION_H

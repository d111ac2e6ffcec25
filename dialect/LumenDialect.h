// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_DIALECT_H
#define LUMEN_DIALECT_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/IR/TensorEncoding.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/VectorInterfaces.h"
#include "llvm/TargetParser/Triple.h"

namespace mlir::lumen {

/// The tensors, buffers and vectors of `op` have dimensions below 2^31, and
/// fewer than 2^48 elements.
LogicalResult verifyBoundedShapes(Operation *op);

template <typename ConcreteOp>
class BoundedShapes : public OpTrait::TraitBase<ConcreteOp, BoundedShapes> {
public:
  static LogicalResult verifyTrait(Operation *op) {
    return verifyBoundedShapes(op);
  }
};

/// An operand as messages call it.
using NamedOperand = std::pair<StringRef, Value>;

} // namespace mlir::lumen

#include "dialect/KernelKinds.h.inc"

#include "dialect/KernelOpInterface.h.inc"

namespace mlir::lumen {

/// The kind of kernel that `op` belongs into, if any.
inline std::optional<KernelKind> getKernelKind(Operation *op) {
  auto kernelOp = dyn_cast<KernelOpInterface>(op);
  return kernelOp ? std::optional(kernelOp.getKernelKind()) : std::nullopt;
}

/// True where every value of the result of a row-local op follows from those at
/// the same place of its operands.
inline bool isElementwise(Operation *op) {
  return isa<KernelOpInterface>(op) && op->hasTrait<OpTrait::Elementwise>();
}

template <KernelKind kind> struct InKernel {
  template <typename ConcreteOp>
  class Impl : public OpTrait::TraitBase<ConcreteOp, Impl> {
  public:
    KernelKind getKernelKind() { return kind; }
  };
};

template <typename ConcreteOp>
class ProductEpilogue : public OpTrait::TraitBase<ConcreteOp, ProductEpilogue> {
};

} // namespace mlir::lumen

#include "dialect/LumenDialect.h.inc"

namespace mlir::lumen {

/// Whether a function is a kernel of a kind.
inline bool isKernelOf(Operation *function, KernelKind kind) {
  auto name = function->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr);
  return name && symbolizeKernelKind(name.getValue()) == kind;
}

} // namespace mlir::lumen

#define GET_TYPEDEF_CLASSES
#include "dialect/LumenTypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialect/LumenAttrs.h.inc"

#define GET_OP_CLASSES
#include "dialect/LumenOps.h.inc"

#endif // LUMEN_DIALECT_H

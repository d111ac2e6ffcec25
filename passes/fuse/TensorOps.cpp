// SPDX-License-Identifier: Apache-2.0
#include "passes/fuse/TensorOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace mlir::lumen;

static bool isIndexArithmetic(Operation *op) {
  return isa_and_nonnull<arith::ArithDialect>(op->getDialect()) &&
         llvm::all_of(op->getResultTypes(),
                      [](Type type) { return type.isIntOrIndex(); });
}

bool lumen::isTensorOp(Operation *op) {
  if (op->hasTrait<OpTrait::ConstantLike>() || isa<tensor::DimOp>(op) ||
      isIndexArithmetic(op))
    return false;
  return isa_and_nonnull<linalg::LinalgDialect, tensor::TensorDialect,
                         arith::ArithDialect, math::MathDialect,
                         scf::SCFDialect>(op->getDialect()) ||
         isa<bufferization::MaterializeInDestinationOp>(op);
}

bool lumen::hasTensorOps(func::FuncOp function) {
  return function
      .walk([](Operation *op) {
        return isTensorOp(op) ? WalkResult::interrupt() : WalkResult::advance();
      })
      .wasInterrupted();
}

std::optional<KernelKind> lumen::getKindOfKernel(Operation *op) {
  return isTensorOp(op) ? KernelKind::Tensor : getKernelKind(op);
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_CHECKFUSEDPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

/// No float copy of a quantized weight, no unpacked product, wherever the op
/// stands.
static LogicalResult checkWeights(Operation *op) {
  if (isa<DequantizeOp>(op))
    return op->emitOpError()
           << "makes a float copy of a quantized weight; only lumen.linear and "
              "lumen.embedding may read one";
  if (isa<LinearOp, ExpertLinearOp>(op))
    return op->emitOpError()
           << "is left; lumen-fuse-quantized-linear makes it a lumen.qlinear";
  auto product = dyn_cast<QLinearOp>(op);
  if (!product)
    return success();
  for (auto [i, weight] : llvm::enumerate(product.getWeights())) {
    auto type = cast<RankedTensorType>(weight.getType());
    if (!isa_and_nonnull<PackedAttr>(type.getEncoding()))
      return op->emitOpError()
             << "weight " << i << " must be packed, got " << type;
    if (!isa<BlockArgument>(weight)) {
      InFlightDiagnostic diag = op->emitOpError()
                                << "weight " << i << " must be an argument";
      diag.attachNote(weight.getLoc()) << "it is computed here";
      return diag;
    }
  }
  return success();
}

/// A function that is not a kernel only calls.
static LogicalResult checkCaller(func::FuncOp function) {
  // The op that somebody wrote comes before those of its body.
  auto check = [&](Operation *op) -> WalkResult {
    if (failed(checkWeights(op)))
      return WalkResult::interrupt();
    bool isIndexArithmetic =
        isa_and_nonnull<arith::ArithDialect>(op->getDialect()) &&
        llvm::all_of(op->getResultTypes(),
                     [](Type type) { return type.isIntOrIndex(); });
    if (isa<func::CallOp, func::ReturnOp, tensor::DimOp>(op) ||
        isIndexArithmetic)
      return WalkResult::advance();
    if (getKernelKind(op))
      return op->emitOpError()
             << "must be in a kernel: a function of the fused stage only calls";
    return op->emitOpError()
           << "is not allowed: a function of the fused stage only calls";
  };
  WalkResult result = function.getBody().walk<WalkOrder::PreOrder>(check);
  return failure(result.wasInterrupted());
}

/// What a "product" kernel holds besides its lumen.qlinear, which comes first.
static LogicalResult checkEpilogue(Operation *op) {
  if (op->hasTrait<ProductEpilogue>()) {
    if (llvm::none_of(op->getOperands(), llvm::IsaPred<BlockArgument>))
      return success();
    return op->emitOpError() << "in a product kernel must read what follows "
                                "from its lumen.qlinear alone";
  }
  auto add = cast<AddOp>(op);
  if (isa<BlockArgument>(add.getLhs()) != isa<BlockArgument>(add.getRhs()))
    return success();
  return op->emitOpError()
         << "in a product kernel must add an argument to a result";
}

/// Kernels hold the ops of their kind in the order that the schedules expect.
static LogicalResult checkKernelOp(Operation *op, KernelKind kind) {
  if (isa<func::CallOp>(op))
    return op->emitOpError() << "is not allowed: a kernel calls nothing";
  Block &block = *op->getBlock();
  bool first = op == &block.front();
  bool allowed = getKernelKind(op) == kind;
  switch (kind) {
  case KernelKind::Product:
    allowed = first ? isa<QLinearOp>(op)
                    : isa<AddOp>(op) || op->hasTrait<ProductEpilogue>();
    break;
  case KernelKind::Attention:
    allowed = first
                  ? isa<AttentionOp>(op)
                  : isa<QuantizeOp>(op) && op->getPrevNode() == &block.front();
    break;
  case KernelKind::Rows:
  case KernelKind::Pack:
    break;
  case KernelKind::Routing:
    allowed &= first;
    break;
  case KernelKind::Tensor:
    allowed = !op->getDialect() || !isa<LumenDialect>(op->getDialect());
    break;
  }
  if (!allowed)
    return op->emitOpError() << "is not allowed here in a kernel of kind \""
                             << stringifyKernelKind(kind) << "\"";
  if (kind == KernelKind::Product && !first)
    return checkEpilogue(op);
  return success();
}

static LogicalResult checkKernel(func::FuncOp kernel, Attribute attribute) {
  auto name = dyn_cast<StringAttr>(attribute);
  auto kind = name ? symbolizeKernelKind(name) : std::nullopt;
  if (!kind)
    return kernel.emitOpError()
           << LumenDialect::kKernelAttr
           << " must be \"product\", \"rows\", \"attention\", \"pack\" or "
              "\"routing\", got "
           << attribute;
  // A module of nothing but packing has its kernels as entry points.
  if (!kernel.isPrivate() && kind != KernelKind::Pack)
    return kernel.emitOpError() << "is a kernel and must be private";
  if (!kernel.getBody().hasOneBlock())
    return kernel.emitOpError() << "is a kernel and must have one block";
  for (Operation &op : kernel.getBody().front().without_terminator())
    if (failed(checkWeights(&op)) || failed(checkKernelOp(&op, *kind)))
      return failure();
  return success();
}

namespace {

struct CheckFusedPass : lumen::impl::CheckFusedPassBase<CheckFusedPass> {
  using CheckFusedPassBase::CheckFusedPassBase;

  void runOnOperation() override {
    bool failedAny = false;
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      Attribute kernel = function->getAttr(LumenDialect::kKernelAttr);
      failedAny |= failed(kernel ? checkKernel(function, kernel)
                                 : checkCaller(function));
    }
    if (failedAny)
      signalPassFailure();
    markAllAnalysesPreserved();
  }
};

} // namespace

// SPDX-License-Identifier: Apache-2.0
#include "passes/check/KernelContract.h"

#include "passes/support/KernelBuffers.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"

using namespace mlir;
using namespace mlir::lumen;

SmallVector<func::FuncOp> lumen::getKernels(ModuleOp module, KernelKind kind) {
  SmallVector<func::FuncOp> kernels;
  for (auto function : module.getOps<func::FuncOp>())
    if (isKernelOf(function, kind))
      kernels.push_back(function);
  return kernels;
}

LogicalResult lumen::verifyKernelBody(func::FuncOp kernel) {
  Region &body = kernel.getBody();
  if (!body.hasOneBlock())
    return kernel.emitOpError("is a kernel and must have one block, got ")
           << body.getBlocks().size();
  auto end = dyn_cast<func::ReturnOp>(body.front().back());
  if (!end || end.getNumOperands())
    return kernel.emitOpError("is a kernel of buffers and must end in a "
                              "func.return of nothing");
  return success();
}

/// A buffer that an address and its shape describe.
static LogicalResult verifyBuffer(Operation *op, Value buffer) {
  auto type = dyn_cast<MemRefType>(buffer.getType());
  if (type && type.getLayout().isIdentity() && !type.getMemorySpace())
    return success();
  return op->emitOpError("in a kernel takes plain buffers, got ")
         << buffer.getType();
}

/// All dimensions but the rows of activations, the pages of sequences and
/// caches, and those of weights that are packed are known.
static LogicalResult verifyShape(Operation *op, Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor || isa<PackOp, FromBytesOp, ToBytesOp>(op))
    return success();
  int64_t rank = tensor.getRank();
  bool isPages = isa<AttentionOp>(op) && tensor.getElementType().isInteger(32);
  for (int64_t dim = 0; dim < rank; ++dim) {
    bool isOpen =
        isPages ||
        (dim == 0 && (rank == 2 || tensor.getElementType().isInteger()));
    if (rank >= 4)
      isOpen = dim == 0 || dim == 2;
    int64_t size = tensor.getDimSize(dim);
    if (ShapedType::isDynamic(size) ? !isOpen : size == 0 && dim)
      return op->emitOpError(
                 "in a kernel needs known sizes of at least 1, got ")
             << type;
  }
  return success();
}

LogicalResult lumen::verifyKernel(func::FuncOp kernel,
                                  function_ref<bool(Operation *)> isOfKind) {
  if (failed(verifyKernelBody(kernel)))
    return failure();
  Block &body = kernel.getBody().front();
  WalkResult walk = kernel.getBody().walk([&](Operation *op) -> WalkResult {
    if (!worksOnTensors(op))
      return WalkResult::advance();
    if (op->getBlock() != &body)
      return op->emitOpError("works on tensors inside of a region of a kernel");
    if (auto store = dyn_cast<bufferization::MaterializeInDestinationOp>(op))
      return WalkResult(verifyBuffer(op, store.getDest()));
    if (auto tensor = dyn_cast<bufferization::ToTensorOp>(op)) {
      if (failed(verifyBuffer(op, tensor.getBuffer())))
        return WalkResult::interrupt();
      return WalkResult::advance();
    }
    if (auto bytes = dyn_cast<FromBytesOp>(op))
      return WalkResult(verifyBuffer(op, bytes.getBytes()));
    if (!isOfKind(op)) {
      auto kind = kernel->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr);
      return op->emitOpError("is not allowed in a kernel of kind ") << kind;
    }
    for (TypeRange types :
         {TypeRange(op->getOperandTypes()), TypeRange(op->getResultTypes())})
      for (Type type : types)
        if (failed(verifyShape(op, type)))
          return WalkResult::interrupt();
    return WalkResult::advance();
  });
  return failure(walk.wasInterrupted());
}

LogicalResult lumen::verifyBufferOperands(KernelOpInterface op) {
  for (auto [name, operand] : op.getBufferOperands())
    if (!getSourceBuffer(operand))
      return op->emitOpError() << name << " must be read from a buffer, got "
                               << operand.getType() << " made otherwise";
  return success();
}

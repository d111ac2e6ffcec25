// SPDX-License-Identifier: Apache-2.0
//
// Synthesizes kernels of tensors by what MLIR has for them.
#include "passes/Passes.h"
#include "passes/check/KernelContract.h"
#include "passes/tile/tensor/TensorKernel.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_SYNTHESIZETENSORSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

struct SynthesizeTensorsPass final
    : lumen::impl::SynthesizeTensorsPassBase<SynthesizeTensorsPass> {
  using SynthesizeTensorsPassBase::SynthesizeTensorsPassBase;

  void runOnOperation() override {
    for (func::FuncOp kernel : getKernels(getOperation(), KernelKind::Tensor)) {
      if (failed(verifyKernelBody(kernel)))
        return signalPassFailure();
      boundNumbers(kernel);
      if (failed(tileTensors(kernel)) || failed(bufferizeTensors(kernel)))
        return signalPassFailure();
    }
  }
};

} // namespace

// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_PASSES
#define LUMEN_PASSES

include "mlir/Pass/PassBase.td"

// The pipelines, stage by stage.
include "passes/fuse/LumenToFused.td"
include "passes/tile/FusedToLoops.td"
include "passes/vectorize/LoopsToVector.td"
include "passes/target/common/VectorToLLVM.td"
include "passes/target/gpu/VectorToWarps.td"
include "passes/target/vulkan/KernelToSpirv.td"

// What stands behind each of the later ones.
def CheckStagePass : Pass<"lumen-check-stage", "::mlir::ModuleOp"> {
  let summary = "check that a stage has done what it promises";
  let description = [{
    Changes nothing; fails where the IR is not what the next stage may rely on.

    - `stage=loops`: functions take buffers, and those that are no kernels are
      straight lines of calls. Kernels have loops in place of the ops of the
      model, and write shared buffers only inside `scf.forall`. Only product
      kernels work on tensors: buffers seen as tensors, slices of them and
      register tiles, both of known sizes. They compute on tiles by linalg
      inside `scf.forall`.
    - `stage=vector`: also, no tensors, no linalg, and no `memref.alloc`.
    - `stage=llvm`: only the llvm dialect, and only entries are visible outside.

    ```mlir
    func.func private @kernel(%x: memref<8xf32>) attributes {lumen.kernel = "rows"} {
      %c0 = arith.constant 0 : index
      %zero = arith.constant 0.0 : f32
      // error: 'memref.store' op writes a shared buffer outside of the parallel loops of its kernel
      memref.store %zero, %x[%c0] : memref<8xf32>
      return
    }
    ```
  }];
  let options = [
    Option<"stage", "stage", "std::string", "\"\"", "loops, vector or llvm">
  ];
  let dependentDialects = ["::mlir::lumen::LumenDialect"];
}

#endif // LUMEN_PASSES

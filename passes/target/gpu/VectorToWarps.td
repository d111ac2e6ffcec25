// SPDX-License-Identifier: Apache-2.0
//
// Passes for targets whose workers are warps, in the order in which the pipeline
// runs them. They leave modules for others alone.
#ifndef LUMEN_PASSES_VECTOR_TO_WARPS
#define LUMEN_PASSES_VECTOR_TO_WARPS

include "mlir/Pass/PassBase.td"

def OrderLanesPass : Pass<"lumen-order-lanes", "::mlir::func::FuncOp"> {
  let summary = "put barriers where threads of a warp meet in memory";
  let description = [{
    Threads of a warp each do what stands in a kernel for their own lane, at their own
    pace. Where one may read what another wrote, or write what another reads, they wait
    for each other. Accesses of the same elements by the same lanes need no barrier.

    Before:

    ```mlir
    vector.store %x, %scratch[%c0] : memref<32xf32>, vector<32xf32>
    %y = memref.load %scratch[%c5] : memref<32xf32>
    ```

    After:

    ```mlir
    vector.store %x, %scratch[%c0] : memref<32xf32>, vector<32xf32>
    lumen.warp_barrier
    %y = memref.load %scratch[%c5] : memref<32xf32>
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect"];
}

def DistributeLanesPass : Pass<"lumen-distribute-lanes", "::mlir::ModuleOp"> {
  let summary = "give every thread of a warp its lane of each vector";
  let description = [{
    Element i of a vector becomes a scalar of thread i, and of thread i + 32 the second
    one of thread i. The four codes of a lane that `lumen.dot4` adds up stay together.
    Shorter vectors are in several lanes at once. Scalars are the same in all threads.
    So is what follows from all lanes, as sums: the threads exchange their values for
    it. Allocations become memory of the warp.

    Before:

    ```mlir
    %x = vector.load %a[%i] : memref<?xf32>, vector<32xf32>
    %y = arith.mulf %x, %x : vector<32xf32>
    %sum = vector.reduction <add>, %y : vector<32xf32> into f32
    ```

    After:

    ```mlir
    %lane = lumen.lane
    …
    %x = memref.load %a[%own] : memref<?xf32>
    %y = arith.mulf %x, %x : f32
    %other = lumen.shuffle %y, %from : f32
    %pair = arith.addf %y, %other : f32
    …
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect",
    "::mlir::LLVM::LLVMDialect", "::mlir::memref::MemRefDialect", "::mlir::vector::VectorDialect"];
}

def SplitPhasesPass : Pass<"lumen-split-phases", "::mlir::ModuleOp"> {
  let summary = "cut kernels where all workers wait for each other";
  let description = [{
    For hosts that launch kernels one after the other, each of which ends before the next
    one begins. A barrier at the top level of a kernel becomes the end of a kernel. What
    later parts need of earlier ones is computed again. A public kernel becomes a private
    one that a function of its name calls.

    Before:

    ```mlir
    func.func private @f(%a: memref<8xf32>) attributes {lumen.kernel = "rows"} {
      scf.for %i = %id to %c8 step %count { … }
      lumen.barrier
      scf.for %i = %id to %c4 step %count { … }
      lumen.barrier
      return
    }
    ```

    After:

    ```mlir
    func.func private @f(%a: memref<8xf32>) attributes {lumen.kernel = "rows"} {
      scf.for %i = %id to %c8 step %count { … }
      return
    }
    func.func private @f_phase1(%a: memref<8xf32>) attributes {lumen.kernel = "rows"} {
      scf.for %i = %id to %c4 step %count { … }
      return
    }
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::func::FuncDialect"];
}

def RecordLaunchesPass : Pass<"lumen-record-launches", "::mlir::ModuleOp"> {
  let summary = "write down which kernels are called, and with what";
  let description = [{
    What calls kernels is code for the host. It has no kernels to call, but writes a list:
    the first word says how many words follow. A launch is the number of a kernel, how
    many words it takes, and these: numbers, addresses, and sizes of buffers. Kernels have
    numbers in the order in which they stand. They become public, and wait for nobody.

    Before:

    ```mlir
    func.func @step(%a: memref<?xf32>) {
      call @kernel(%a) : (memref<?xf32>) -> ()
      …
    }
    ```

    After:

    ```mlir
    llvm.mlir.global external constant @lumen_launch_words(5 : i64) : i64
    func.func @step(%a: memref<?xf32>, %launches: !llvm.ptr {lumen.worker}) {
      %used = llvm.load %launches : !llvm.ptr -> i64
      …
      llvm.store %size, %place : i64, !llvm.ptr
      …
    }
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect",
    "::mlir::LLVM::LLVMDialect", "::mlir::memref::MemRefDialect"];
}

def LowerWarpsPass : Pass<"lumen-lower-warps", "::mlir::ModuleOp"> {
  let summary = "lanes and their values as NVIDIA's registers and instructions";
  let description = [{
    Before:

    ```mlir
    %lane = lumen.lane
    %y = lumen.shuffle %x, %from : i32
    ```

    After:

    ```mlir
    %lane = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.laneid"() : () -> i32
    %y = llvm.call_intrinsic "llvm.nvvm.shfl.sync.idx.i32"(%all, %x, %from, %last) : (i32, i32, i32, i32) -> i32
    ```

    Memory of a warp begins where the runtime's function `lumen_scratch` says.
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect",
    "::mlir::LLVM::LLVMDialect", "::mlir::vector::VectorDialect"];
}

def EmulateGpuPass : Pass<"lumen-emulate-gpu", "::mlir::ModuleOp"> {
  let summary = "call an emulator in place of a GPU's instructions";
  let description = [{
    For a target with warps whose triple is not NVPTX, every intrinsic of NVIDIA's becomes
    a function of the emulator.

    Before:

    ```mlir
    %lane = llvm.call_intrinsic "llvm.nvvm.read.ptx.sreg.laneid"() : () -> i32
    ```

    After:

    ```mlir
    llvm.func @lumen_gpu_read_ptx_sreg_laneid() -> i32
    …
    %lane = llvm.call @lumen_gpu_read_ptx_sreg_laneid() : () -> i32
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

def DefineGpuRuntimePass : Pass<"lumen-define-gpu-runtime", "::mlir::ModuleOp"> {
  let summary = "make entries kernels of a GPU, and define the runtime's functions";
  let description = [{
    In a module for NVPTX, entries can be launched. Their second argument points to two
    words of 32 bits, which are zeros before the first launch. There, the barrier of the
    grid counts the blocks that arrived, and how often all of them met. All blocks must
    run at the same time. A warp's scratch memory is its part of the dynamic shared memory.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

#endif // LUMEN_PASSES_VECTOR_TO_WARPS

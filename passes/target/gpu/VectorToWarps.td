// SPDX-License-Identifier: Apache-2.0
//
// Passes for targets whose workers are warps, in the order in which the pipeline
// runs them. They leave modules for others alone.
#ifndef LUMEN_PASSES_VECTOR_TO_WARPS
#define LUMEN_PASSES_VECTOR_TO_WARPS

include "mlir/Pass/PassBase.td"

def RepeatRowsPass : Pass<"lumen-repeat-rows", "::mlir::ModuleOp"> {
  let summary = "let every block of workers compute small rows itself";
  let description = [{
    To wait for all workers of a GPU takes as long as to compute a few rows. So where a
    kernel of rows is called for few tokens, every block computes all of them for itself
    and waits for its own workers only. Results that the function alone reads are in the
    memory of the block then. Others, as the KV cache, are written by all blocks alike.

    A buffer that a kernel both reads and writes is changed once only, by all together.
    `lumen-plan-memory` keeps what such a call reads until the next kernel that is not
    repeated has ended.

    Before:

    ```mlir
    func.call @norm(%x, %y) : (memref<?x256xf32>, memref<?x256xf32>) -> ()
    func.call @product(%y, %z) : (memref<?x256xf32>, memref<?x64xf32>) -> ()
    ```

    After:

    ```mlir
    %few = arith.cmpi ule, %tokens, %c64 : index
    %block = lumen.block_scratch 0 : memref<65536xi8>
    %view = memref.view %block[%c0][%tokens] : memref<65536xi8> to memref<?x256xf32>
    %own = arith.select %few, %view, %y : memref<?x256xf32>
    func.call @norm(%x, %own, %few) {lumen.in_blocks} : (memref<?x256xf32>, memref<?x256xf32>, i1) -> ()
    func.call @product(%own, %z) : (memref<?x256xf32>, memref<?x64xf32>) -> ()
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect",
    "::mlir::LLVM::LLVMDialect", "::mlir::memref::MemRefDialect"];
}

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
    So do those of a row and the sums that an instruction for `lumen.mma` takes from a lane.
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

def FetchAheadPass : Pass<"lumen-fetch-ahead", "::mlir::ModuleOp"> {
  let summary = "fetch the weights of the next product before workers wait";
  let description = [{
    While workers wait for each other, memory has nothing to do. So in front of the last
    barrier of a kernel each thread fetches a line of the weights of the product that
    comes next, into the cache that all share. The kernel takes the two largest of them
    as arguments.

    Before:

    ```mlir
    func.call @attention(%x, %y) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
    func.call @product(%y, %w, %z) : (memref<?x64xf32>, memref<8192xi8>, memref<?x64xf32>) -> ()
    ```

    After:

    ```mlir
    %next = memref.cast %w : memref<8192xi8> to memref<?xi8>
    …
    func.call @attention(%x, %y, %next, %none) : (memref<?x64xf32>, memref<?x64xf32>, memref<?xi8>, memref<?xi8>) -> ()
    func.call @product(%y, %w, %z) : (memref<?x64xf32>, memref<8192xi8>, memref<?x64xf32>) -> ()
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect",
    "::mlir::LLVM::LLVMDialect", "::mlir::memref::MemRefDialect"];
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
    numbers in the order in which they stand, and a constant has their names. They become
    public, and wait for nobody. Shaders get their constants in the list, too.

    Before:

    ```mlir
    func.func @step(%a: memref<?xf32>) {
      call @kernel(%a) : (memref<?xf32>) -> ()
      …
    }
    ```

    After:

    ```mlir
    llvm.mlir.global external constant @lumen_launch_names("kernel\0A\00") : !llvm.array<8 x i8>
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

def KeepSidePass : Pass<"lumen-keep-side", "::mlir::ModuleOp"> {
  let summary = "leave kernels alone, or what launches them";
  let description = [{
    Behind `lumen-record-launches`, kernels and what calls them are code for different
    machines. `side=device` leaves the kernels and the loops that they share, `side=host`
    the other functions.

    Before:

    ```mlir
    func.func @step(%a: memref<?xf32>, %launches: !llvm.ptr {lumen.worker}) { … }
    func.func @kernel(%a: memref<?xf32>) attributes {lumen.kernel = "rows"} { … }
    ```

    After `side=device`:

    ```mlir
    func.func @kernel(%a: memref<?xf32>) attributes {lumen.kernel = "rows"} { … }
    ```
  }];
  let options = [Option<"side", "side", "std::string", "\"\"", "device or host">];
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

    `lumen.warp_mma` becomes `mma.sync`.

    Memory of a warp is its part of the shared memory of its block. For the emulator, it
    begins where the function `lumen_scratch` says.
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect",
    "::mlir::LLVM::LLVMDialect", "::mlir::vector::VectorDialect"];
}

def NarrowIndicesPass : Pass<"lumen-narrow-indices", "::mlir::func::FuncOp"> {
  let summary = "count in 32 bits what cannot be more";
  let description = [{
    Registers of a GPU have 32 bits, and divisions of longer numbers take ten times as
    long. So loops, and what is computed of numbers of tokens, tiles and workers, are
    narrowed where their range shows that nothing is lost. Offsets in large weights keep
    64 bits. Buffers have at most 2^30 rows, and a GPU runs at most 2^16 blocks. Two loops that
    lie in each other stay as they are: LLVM makes pointers of the addresses in them.

    Before:

    ```mlir
    %tokens = memref.dim %x, %c0 : memref<?x64xf32>
    scf.for %i = %c0 to %tokens step %c8 {
      %block = arith.divui %i, %c32 : index
      scf.for %j = … {
        scf.for %k = … {
          …
    }
    ```

    After:

    ```mlir
    %tokens = memref.dim %x, %c0 : memref<?x64xf32>
    %end = arith.index_cast %tokens : index to i32
    scf.for %i = %c0_i32 to %end step %c8_i32 : i32 {
      %narrow = arith.divui %i, %c32_i32 : i32
      %block = arith.index_castui %narrow : i32 to index
      scf.for %j = … {
        scf.for %k = … {
          …
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

def ParkValuesPass : Pass<"lumen-park-values", "::mlir::ModuleOp"> {
  let summary = "keep in the lanes of a register what lives across a tile";
  let description = [{
    The function of a tile (`lumen.loop`) takes all registers of a thread. What a kernel
    needs behind its call is mostly the same in all threads of a warp: counters, sizes and
    addresses. Each would be stored in the memory of every thread. In place of that, thread
    k keeps word k of them in one register, from which all take it back with
    `shfl.sync`.

    What depends on the lane stays as it is.

    Before:

    ```mlir
    llvm.call @loop_5d38b6c7ec5d9e3a(%w) : (!llvm.ptr) -> ()
    %next = llvm.add %i, %count : i32
    ```

    After:

    ```mlir
    %second = llvm.icmp "eq" %lane, %c1 : i32
    %own = llvm.select %second, %count, %i : i1, i32
    llvm.call @loop_5d38b6c7ec5d9e3a(%w) : (!llvm.ptr) -> ()
    %i2 = llvm.call_intrinsic "llvm.nvvm.shfl.sync.idx.i32"(%all, %own, %c0, %last) : (i32, i32, i32, i32) -> i32
    %count2 = llvm.call_intrinsic "llvm.nvvm.shfl.sync.idx.i32"(%all, %own, %c1, %last) : (i32, i32, i32, i32) -> i32
    %next = llvm.add %i2, %count2 : i32
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
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
    In a module for NVPTX, entries can be launched. Their second argument points to the
    memory of the team. It begins with two words of 32 bits, where the barrier of the grid
    counts the blocks that arrived, and how often all of them met. Behind them are the
    counters of `lumen.arrive`. All are zeros before the first launch. All blocks must run
    at the same time.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

#endif // LUMEN_PASSES_VECTOR_TO_WARPS

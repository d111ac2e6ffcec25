// SPDX-License-Identifier: Apache-2.0
//
// Passes vector -> llvm, in the order in which the pipeline runs them.
#ifndef LUMEN_PASSES_VECTOR_TO_LLVM
#define LUMEN_PASSES_VECTOR_TO_LLVM

include "mlir/Pass/PassBase.td"

def ApproximateMathPass : Pass<"lumen-approximate-math"> {
  let summary = "compute math functions by arithmetic instead of library calls";
  let description = [{
    `math.exp` becomes a polynomial (on vectors and scalars alike, so both give
    the same result). `math.fma` becomes a multiplication and an addition, which
    are fused only where the target has the instruction. (Shaders have it, so there it stays.)

    Before:

    ```mlir
    %y = math.exp %x : vector<16xf32>
    %z = math.fma %a, %b, %c : vector<16xf32>
    ```

    After:

    ```mlir
    ...
    %y = arith.select %is_small, %zero, %scaled : vector<16xi1>, vector<16xf32>
    %z = vector.fma %a, %b, %c : vector<16xf32>
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::math::MathDialect", "::mlir::vector::VectorDialect"];
}

def LowerDot4Pass : Pass<"lumen-lower-dot4", "::mlir::ModuleOp"> {
  let summary = "lower lumen.dot4, lumen.mma and lumen.lookup to the target's instructions";
  let description = [{
    `lumen.dot4` and `lumen.dot2` become the instructions of the target's `dot`
    and `pair_dot`, pairs of bf16 the one that `bf16_dot` promises, or plain vector
    arithmetic where it has none. A `dot` that makes sums of 16 bits hands them on
    to the `pair_dot`. Signed codes give their sign to the activations, and
    unsigned ones of 8 bits go in two parts. Narrower ones are added up over as many steps as fit. `lumen.lookup` becomes
    a byte shuffle or a chain of selects. Vectors wider than the target's are
    split. An error where the target's architecture has no instruction of that
    shape. A `lumen.mma` of whose shape it has none becomes plain vector arithmetic,
    even where that is the `mma` of the target. Where the instruction works on tiles
    (AMX), the loads of the codes and the store of the sums become those of tiles. A
    `lumen.mma` without them is plain vector arithmetic, too.

    Before:

    ```mlir
    %r = lumen.dot4 %codes, %x, %acc {bits = 4 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
    ```

    After, on x86-64 with `dot = <m = 1, n = 16, k = 4, lhs = si8, rhs = ui8, acc = i32>`:

    ```mlir
    %word = vector.bitcast %x : vector<4xi8> to vector<1xi32>
    ...
    %r = llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"(%acc, %codes, %bytes)
       : (vector<16xi32>, vector<64xi8>, vector<64xi8>) -> vector<16xi32>
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::spirv::SPIRVDialect", "::mlir::vector::VectorDialect"];
}

def ExpandF16Pass : Pass<"lumen-expand-f16", "::mlir::ModuleOp"> {
  let summary = "convert between f16 and f32 in integer arithmetic where the target cannot";
  let description = [{
    Targets with `f16 = false` have no instruction for conversions between f16 and f32,
    and LLVM would call a library function for every element. There `arith.extf` and
    `arith.truncf` become integer arithmetic with the same results (round to nearest
    even; subnormals, infinities and NaN included).

    Before:

    ```mlir
    %f = arith.extf %h : vector<8xf16> to vector<8xf32>
    ```

    After:

    ```mlir
    %bits = arith.bitcast %h : vector<8xf16> to vector<8xi16>
    %word = arith.extui %bits : vector<8xi16> to vector<8xi32>
    ...
    %f = arith.bitcast %result : vector<8xi32> to vector<8xf32>
    ```
  }];
  let options = [
    Option<"force", "force", "bool", "false", "expand whatever the target has">
  ];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect"];
}

def ShareLoopsPass : Pass<"lumen-share-loops", "::mlir::ModuleOp"> {
  let summary = "make functions of the inner loops of products";
  let description = [{
    The sums of a register tile are computed by a loop over the columns, which is
    most of a product's code. It depends on the format, the number of columns and the
    size of the tile, but neither on the number of rows nor on what follows. Here it
    becomes a function with `lumen.loop`, which is the same function wherever the loop
    is the same. It is named after what it does, so that models have it in common too.
    The loop for a single token stays, because so short a call would cost time.

    On targets with warps it is an `scf.execute_region` with `no_inline`, a tile whose
    results are in memory, that becomes such a function. What stands around it then takes
    no registers in it. The threads of a warp wait for each other before and behind it.

    Before:

    ```mlir
    func.func private @product(%w: memref<8x4x16xf32>, …) attributes {lumen.kernel = "product"} {
      …
      %sums:2 = scf.for %i = %c0 to %c4 step %c1 iter_args(…) -> (vector<16xf32>, vector<16xf32>) {
        %row = vector.load %w[%tile, %i, %c0] : memref<8x4x16xf32>, vector<16xf32>
        …
      }
      …
    }
    ```

    After:

    ```mlir
    func.func private @product(%w: memref<8x4x16xf32>, …) attributes {lumen.kernel = "product"} {
      …
      %rows = memref.cast %w : memref<8x4x16xf32> to memref<?x4x16xf32>
      %sums:2 = call @loop_5d38b6c7ec5d9e3a(%rows, %tile, …)
          : (memref<?x4x16xf32>, index, …) -> (vector<16xf32>, vector<16xf32>)
      …
    }
    func.func private @loop_5d38b6c7ec5d9e3a(%w: memref<?x4x16xf32>, %tile: index, …)
        -> (vector<16xf32>, vector<16xf32>) attributes {lumen.loop} {
      %sums:2 = scf.for %i = %c0 to %c4 step %c1 iter_args(…) -> (vector<16xf32>, vector<16xf32>) {
        %row = vector.load %w[%tile, %i, %c0] : memref<?x4x16xf32>, vector<16xf32>
        …
      }
      return %sums#0, %sums#1 : vector<16xf32>, vector<16xf32>
    }
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::memref::MemRefDialect"];
}

def SpmdPass : Pass<"lumen-spmd", "::mlir::func::FuncOp"> {
  let summary = "share out parallel loops among the workers of a team";
  let description = [{
    Every worker runs the same function. A `scf.forall` at the top level becomes a
    loop that claims pieces of the iterations, taken as one sequence with the last
    dimension fastest, until none are left. Behind it the workers wait for each
    other, unless the loop says `lumen.nowait`. Behind a loop that says
    `lumen.optional`, or follows one that waited, they only wait if it has
    iterations. The last loop of a function must say neither.

    Which worker gets an iteration is not known before: no loop may rely on what
    the same worker did in an earlier one that it did not wait behind.

    Before:

    ```mlir
    scf.forall (%t, %n) in (%tokens, 56) {
      "use"(%t, %n) : (index, index) -> ()
    }
    ```

    After:

    ```mlir
    %c56 = arith.constant 56 : index
    %c1 = arith.constant 1 : index
    %total = arith.muli %tokens, %c56 : index
    scf.while : () -> (index, index) {
      %first, %last = lumen.claim %total
      %left = arith.cmpi ult, %first, %last : index
      scf.condition(%left) %first, %last : index, index
    } do {
    ^bb0(%first: index, %last: index):
      scf.for %i = %first to %last step %c1 {
        %n = arith.remui %i, %c56 : index
        %t = arith.divui %i, %c56 : index
        "use"(%t, %n) : (index, index) -> ()
      }
      scf.yield
    }
    lumen.barrier
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::lumen::LumenDialect",
    "::mlir::scf::SCFDialect"];
}

def ProfileKernelsPass : Pass<"lumen-profile-kernels", "::mlir::ModuleOp"> {
  let summary = "count the calls and the time of every kernel";
  let description = [{
    Not part of a normal compilation: `lumen bench --profile` asks for it.
    Around every call of a kernel the clock is read, and worker 0 adds what it
    took to `@lumen_profile`. This has two words for each kernel of the module,
    in their order: calls and nanoseconds. A kernel ends where its workers have
    met, so the time of worker 0 is that of all of them, waiting included.

    Before:

    ```mlir
    func.func private @kernel() attributes {lumen.kernel = "rows"}
    func.func @f() {
      call @kernel() : () -> ()
      return
    }
    ```

    After:

    ```mlir
    func.func private @kernel() attributes {lumen.kernel = "rows"}
    func.func @f() {
      %begin = llvm.call @lumen_clock() : () -> i64
      call @kernel() : () -> ()
      %end = llvm.call @lumen_clock() : () -> i64
      %taken = arith.subi %end, %begin : i64
      %id = lumen.worker_id
      %c0 = arith.constant 0 : index
      %first = arith.cmpi eq, %id, %c0 : index
      scf.if %first {
        %rows = llvm.mlir.addressof @lumen_profile : !llvm.ptr
        ... // rows[0] += 1, rows[1] += %taken
      }
      return
    }
    llvm.func @lumen_clock() -> i64 attributes {no_unwind}
    llvm.mlir.global external @lumen_profile() : !llvm.array<2 x i64> { ... }
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::scf::SCFDialect"];
}

def LowerTeamPass : Pass<"lumen-lower-team", "::mlir::ModuleOp"> {
  let summary = "make the workers of a team threads";
  let description = [{
    Every function that asks for the worker, itself or in a function it calls, gets
    a last argument `!llvm.ptr {lumen.worker}` to the runtime's

    ```c
    struct lumen_worker { uint64_t id; uint64_t count; void *team; /* … */ };
    ```

    `lumen.worker_id` and `lumen.worker_count` become loads from it,
    `lumen.barrier` a call of the runtime's `void lumen_barrier(lumen_worker *)`, and
    `lumen.claim` one of its

    ```c
    struct lumen_piece { uint64_t first, last; };
    lumen_piece lumen_claim(lumen_worker *worker, uint64_t total);
    ```

    which on x86-64 keeps all registers but those of its result.

    Before:

    ```mlir
    func.func @f() {
      %id = lumen.worker_id
      "use"(%id) : (index) -> ()
      lumen.barrier
      return
    }
    ```

    After:

    ```mlir
    func.func @f(%worker: !llvm.ptr {lumen.worker}) {
      %0 = llvm.load %worker invariant {alignment = 8 : i64} : !llvm.ptr -> i64
      %id = arith.index_cast %0 : i64 to index
      "use"(%id) : (index) -> ()
      llvm.call @lumen_barrier(%worker) : (!llvm.ptr) -> ()
      return
    }
    llvm.func @lumen_barrier(!llvm.ptr) attributes {no_unwind}
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect"];
}

def FlattenArgumentsPass : Pass<"lumen-flatten-arguments", "::mlir::ModuleOp"> {
  let summary = "pass buffers as bare pointers, with what is known of them";
  let description = [{
    A memref argument becomes a pointer and one index per dynamic dimension, in
    functions and calls alike. Shapes that the type says need not be passed, and
    a plain pointer can carry what LLVM may assume of it:

    - `llvm.align`: of arenas and packed weights, and of what callers make of them;
    - `llvm.noalias` on kernels, whose buffers are distinct. A kernel with several
      phases (workers meet inside it) has it only where it does not write: what
      other workers wrote must be read again after they met;
    - `llvm.readonly` on kernels, where no store reaches the buffer.

    Inside, the memref is built again; the conversion to the llvm dialect folds it.

    Before:

    ```mlir
    func.func private @kernel(%x: memref<?x64xf32>, %y: memref<64xf32>)
        attributes {lumen.kernel = "rows"} {
      %v = memref.load %x[%c0, %c0] : memref<?x64xf32>
      memref.store %v, %y[%c0] : memref<64xf32>
      return
    }
    ```

    After:

    ```mlir
    func.func private @kernel(%x: !llvm.ptr {llvm.noalias, llvm.noundef, llvm.readonly},
        %rows: index, %y: !llvm.ptr {llvm.noalias, llvm.noundef})
        attributes {lumen.kernel = "rows"} {
      %0 = ... llvm.insertvalue %x, ...
      %1 = builtin.unrealized_conversion_cast %0 : !llvm.struct<...> to memref<?x64xf32>
      ...
      %v = memref.load %1[%c0, %c0] : memref<?x64xf32>
      memref.store %v, %3[%c0] : memref<64xf32>
      return
    }
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::memref::MemRefDialect"];
}

def SplitKernelsPass : Pass<"lumen-split-kernels", "::mlir::ModuleOp"> {
  let summary = "give every kernel a module of its own";
  let description = [{
    Moves each kernel, with the constants that it reads, into a module inside of the
    module, and the loops that kernels share likewise. What is left are the functions
    that call kernels. Code of each module is generated by itself, so that it depends
    on nothing else, several are compiled at once, and models share what is equal.

    What is private gets the name that objects are linked by, and `lumen.linked`. A
    kernel that calls other functions, or that is not only called, stays where it is.

    Before:

    ```mlir
    module attributes {lumen.max_tokens = 512 : i64} {
      func.func private @add(%x: !llvm.ptr, %worker: !llvm.ptr) attributes {lumen.kernel = "rows"} {
        return
      }
      func.func @step(%x: !llvm.ptr, %worker: !llvm.ptr) {
        call @add(%x, %worker) : (!llvm.ptr, !llvm.ptr) -> ()
        return
      }
    }
    ```

    After:

    ```mlir
    module attributes {lumen.max_tokens = 512 : i64} {
      func.func private @lumen_kernel_add(!llvm.ptr, !llvm.ptr) attributes {lumen.kernel = "rows"}
      func.func @step(%x: !llvm.ptr, %worker: !llvm.ptr) {
        call @lumen_kernel_add(%x, %worker) : (!llvm.ptr, !llvm.ptr) -> ()
        return
      }
      module @add {
        func.func private @lumen_kernel_add(%x: !llvm.ptr, %worker: !llvm.ptr)
            attributes {lumen.kernel = "rows", lumen.linked} {
          return
        }
      }
    }
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect"];
}

def FuseMultiplyAddPass : Pass<"lumen-fuse-multiply-add"> {
  let summary = "make one operation of a multiplication and the addition that takes it";
  let description = [{
    Where both may be contracted, and the target has an instruction for it. LLVM
    would fuse them too, but not all: where it takes vectors apart, it forgets that
    it may. Then the bits of a result would depend on how many tokens there are. On
    targets with warps it fuses subtractions, too.

    Before:

    ```mlir
    %product = arith.mulf %a, %b fastmath<contract> : vector<4xf32>
    %sum = arith.addf %acc, %product fastmath<contract> : vector<4xf32>
    ```

    After:

    ```mlir
    %sum = vector.fma %a, %b, %acc : vector<4xf32>
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::LLVM::LLVMDialect", "::mlir::math::MathDialect",
    "::mlir::vector::VectorDialect"];
}

def ExportEntryPass : Pass<"lumen-export-entry", "::mlir::ModuleOp"> {
  let summary = "give public functions native entries";
  let description = [{
    Every public function f gets an entry with the runtime's signature,

    ```c
    void lumen_entry_f(uint64_t *slots, lumen_worker *worker);
    ```

    which loads the arguments from 64-bit slots in their order (a pointer, an index,
    or the low bits of a slot for narrower numbers) and calls f. All other functions
    become internal, kernels stay functions of their own so that profiles name them,
    and the formats, whose bytes are decoded by now, are erased.

    Before:

    ```mlir
    func.func @f(%x: !llvm.ptr, %rows: index, %worker: !llvm.ptr {lumen.worker}) {
      return
    }
    ```

    After:

    ```mlir
    func.func @lumen_entry_f(%slots: !llvm.ptr {llvm.noalias, llvm.noundef},
        %worker: !llvm.ptr {llvm.noalias, llvm.noundef}) attributes {passthrough = ["nounwind"]} {
      %x = llvm.load %slots {alignment = 8 : i64} : !llvm.ptr -> !llvm.ptr
      %1 = llvm.getelementptr %slots[1] : (!llvm.ptr) -> !llvm.ptr, i64
      %2 = llvm.load %1 {alignment = 8 : i64} : !llvm.ptr -> i64
      %rows = arith.index_cast %2 : i64 to index
      call @f(%x, %rows, %worker) : (!llvm.ptr, index, !llvm.ptr) -> ()
      return
    }
    func.func private @f(%x: !llvm.ptr, %rows: index, %worker: !llvm.ptr {lumen.worker})
        attributes {llvm.linkage = #llvm.linkage<internal>, passthrough = ["nounwind"]} {
      return
    }
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect"];
}

#endif // LUMEN_PASSES_VECTOR_TO_LLVM

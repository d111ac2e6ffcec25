// SPDX-License-Identifier: Apache-2.0
//
// Passes loops -> vector, in the order in which the pipeline runs them.
#ifndef LUMEN_PASSES_LOOPS_TO_VECTOR
#define LUMEN_PASSES_LOOPS_TO_VECTOR

include "mlir/Pass/PassBase.td"

def VectorizeProductPass : Pass<"lumen-vectorize-product", "::mlir::ModuleOp"> {
  let summary = "turn the register tiles of product kernels into vectors";
  let description = [{
    In kernels of kind "product", every small static tensor becomes vectors: its
    last dimension is the lanes, the others are unrolled. A slice of a buffer becomes
    one address, and 1-D loads at constant distances from it where they are used;
    accumulators become vector values carried by the loops. A `vector.transfer_read` is
    one vector of a register tile, for what works on vectors itself. A `linalg.generic` that adds products of unsigned and signed 8-bit
    operands over four consecutive k becomes `lumen.dot4`.

    LLVM keeps the order of the unrolled code, so it decides what must be in
    registers at a time. Sums of one group per span take the steps first, for
    all tokens; the codes of a step are needed no longer than that. Sums of
    several groups are unrolled together with what scales them, token by token.
    A token has the sums of one group at a time, and the codes of a whole span
    stay.

    Before:

    ```mlir
    %isum = linalg.generic ... ins(%plane, %codes : tensor<2x2x16x4xi8>, tensor<1x2x2x2x4xi8>)
                               outs(%initial : tensor<1x16xi32>)
    ```

    After:

    ```mlir
    %bytes = vector.load %plane[%tile, %span, %c0, %c0, %c0] : ..., vector<64xi8>
    %low = arith.andi %bytes, %mask : vector<64xi8>
    %x0 = vector.load %codes[%t, %span, %c0, %c0, %c0, %c0] : ..., vector<4xi8>
    %s0 = lumen.dot4 %low, %x0, %initial {bits = 4 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect",
    "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def VectorizeTensorsPass : Pass<"lumen-vectorize-tensors", "::mlir::ModuleOp"> {
  let summary = "turn linalg on buffers into loops of vectors";
  let description = [{
    In kernels of kind "tensor", every `linalg.generic` becomes loops over vectors of one
    dimension. That is the last one of what it writes or, where it adds up rows, of what
    it reads. Sums have several vectors, which are added up in a fixed order. So results depend
    neither on tiles nor on the number of threads. What is left of a row is computed
    element by element, and so is what no vector can: single loads in the body.

    Arithmetic in f16 and bf16 is done in f32 and rounded after every op. Functions of math
    become polynomials, except for those that later passes know.

    Before:

    ```mlir
    linalg.generic ... ins(%x : memref<64x256xf32>) outs(%out : memref<64x256xf32>) {
    ^bb0(%in: f32, %o: f32):
      %0 = arith.mulf %in, %in : f32
      linalg.yield %0 : f32
    }
    ```

    After:

    ```mlir
    scf.for %j = %c0 to %c256 step %c16 {
      %v = vector.load %x[%i, %j] : memref<64x256xf32>, vector<16xf32>
      %w = arith.mulf %v, %v : vector<16xf32>
      vector.store %w, %out[%i, %j] : memref<64x256xf32>, vector<16xf32>
    }
    ```
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
    "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
    "::mlir::vector::VectorDialect"];
}

def PlanMemoryPass : Pass<"lumen-plan-memory", "::mlir::ModuleOp"> {
  let summary = "place intermediate buffers in one arena";
  let description = [{
    Replaces every `memref.alloc` of a function by a view into an arena that the
    function takes as its last argument, a `memref<BYTESxi8>` marked `lumen.arena`.
    What a kernel allocates its workers share; their own scratch is `memref.alloca`.
    Buffers whose lives (first to last use) do not meet share bytes: the largest is
    placed first, each at the lowest multiple of 64 where it fits. A callee's arena
    is a part of its caller's that lives during the call. A dynamic dimension
    counts as `lumen.max_tokens` (512 where the module does not say), so the
    arena is fixed while only the pages that the actual tokens need are touched.

    Every public function gets an arena (of zero bytes, if need be) and an i64
    constant `lumen_arena_size_NAME` with its size, which the runtime reads.

    Before:

    ```mlir
    func.func @f(%x: memref<?x64xf32>, %out: memref<?x64xf32>) {
      %c0 = arith.constant 0 : index
      %rows = memref.dim %x, %c0 : memref<?x64xf32>
      %y = memref.alloc(%rows) : memref<?x64xf32>
      call @kernel(%x, %y) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
      call @kernel(%y, %out) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
      return
    }
    ```

    After:

    ```mlir
    func.func @f(%x: memref<?x64xf32>, %out: memref<?x64xf32>,
                 %arena: memref<131072xi8> {lumen.arena}) {
      %c0 = arith.constant 0 : index
      %rows = memref.dim %x, %c0 : memref<?x64xf32>
      %offset = arith.constant 0 : index
      %y = memref.view %arena[%offset][%rows] : memref<131072xi8> to memref<?x64xf32>
      call @kernel(%x, %y) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
      call @kernel(%y, %out) : (memref<?x64xf32>, memref<?x64xf32>) -> ()
      return
    }
    llvm.mlir.global external constant @lumen_arena_size_f(131072 : i64) : i64
    ```
  }];
  let options = [
    Option<"remark", "remark", "bool", "false",
           "say the size of each public function's arena in a remark">
  ];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::memref::MemRefDialect"];
}

#endif // LUMEN_PASSES_LOOPS_TO_VECTOR

// SPDX-License-Identifier: Apache-2.0
//
// Passes fused -> loops, in the order in which the pipeline runs them.
#ifndef LUMEN_PASSES_FUSED_TO_LOOPS
#define LUMEN_PASSES_FUSED_TO_LOOPS

include "mlir/Pass/PassBase.td"

def BufferizePass : Pass<"lumen-bufferize", "::mlir::ModuleOp"> {
  let summary = "give functions buffers instead of tensors, without any copy";
  let description = [{
    Arguments become buffers and results become trailing out arguments that the
    caller provides: activations, vectors and caches a memref of their shape,
    weights (raw or packed) their bytes as `memref<BYTESxi8>`. A weight with
    dynamic dimensions is a `memref<?xi8>` followed by those dimensions as index
    arguments. A cache that `lumen.kv_append` updates is written in place and
    has no out argument. The argument attribute `lumen.result` says which result
    a buffer holds. In public functions, more attributes tell whoever calls from
    outside what to provide. `lumen.out` marks out arguments, and `lumen.rows`
    says which argument has as many rows. `lumen.tokens` says whose rows are bounded by
    `lumen.max_tokens`, and `llvm.align` which bytes are packed weights.

    The body of a kernel (attribute `lumen.kernel`) keeps its ops on tensors,
    between views of its buffers. Every other function is a straight line of
    calls. What a call returns goes to an out argument of the caller or to a
    `memref.alloc`, whose number of rows is followed through calls.
    Nothing is ever copied. So a public function may return
    no argument unchanged other than a cache, and no cache may be used as it was
    before an update.

    Before:

    ```mlir
    func.func private @rms_norm_8(%x: tensor<?x8xf32>, %w: tensor<8xf32>) -> tensor<?x8xf32>
        attributes {lumen.kernel = "rows"} {
      %y = lumen.rms_norm %x, %w {epsilon = 1.0e-06 : f32} : tensor<?x8xf32>, tensor<8xf32>
      return %y : tensor<?x8xf32>
    }
    func.func @twice(%x: tensor<?x8xf32>, %w: tensor<8xf32>) -> tensor<?x8xf32> {
      %y = call @rms_norm_8(%x, %w) : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
      %z = call @rms_norm_8(%y, %w) : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
      return %z : tensor<?x8xf32>
    }
    ```

    After:

    ```mlir
    func.func private @rms_norm_8(%x: memref<?x8xf32>, %w: memref<8xf32>,
        %out: memref<?x8xf32> {lumen.result = 0 : i64}) attributes {lumen.kernel = "rows"} {
      %0 = bufferization.to_tensor %x restrict : memref<?x8xf32> to tensor<?x8xf32>
      %1 = bufferization.to_tensor %w restrict : memref<8xf32> to tensor<8xf32>
      %2 = lumen.rms_norm %0, %1 {epsilon = 1.0e-06 : f32} : tensor<?x8xf32>, tensor<8xf32>
      bufferization.materialize_in_destination %2 in restrict writable %out
        : (tensor<?x8xf32>, memref<?x8xf32>) -> ()
      return
    }
    func.func @twice(%x: memref<?x8xf32> {lumen.tokens}, %w: memref<8xf32>,
        %out: memref<?x8xf32> {lumen.out, lumen.result = 0 : i64, lumen.rows = 0 : i64}) {
      %c0 = arith.constant 0 : index
      %rows = memref.dim %x, %c0 : memref<?x8xf32>
      %y = memref.alloc(%rows) : memref<?x8xf32>
      call @rms_norm_8(%x, %w, %y) : (memref<?x8xf32>, memref<8xf32>, memref<?x8xf32>) -> ()
      call @rms_norm_8(%y, %w, %out) : (memref<?x8xf32>, memref<8xf32>, memref<?x8xf32>) -> ()
      return
    }
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect",
    "::mlir::bufferization::BufferizationDialect", "::mlir::memref::MemRefDialect"];
}

def SynthesizeProductPass : Pass<"lumen-synthesize-product", "::mlir::ModuleOp"> {
  let summary = "write product kernels as loops over register tiles";
  let description = [{
    Replaces the body of every kernel of kind "product" by a parallel loop over
    blocks of tokens and tiles of rows. A register tile (tokens x rows results)
    is a small tensor carried through loops over the blocks and spans of the
    weight. For 8-bit activations a span is two `linalg.generic`: an integer one
    and a float one, which applies scales and minima. The body of the first
    shifts and masks the bytes of the bit planes by amounts that depend on
    `linalg.index` and looks tables up. Biases and element-wise ops follow in
    registers.

    Integer sums go on through all spans behind one scale of the activations
    where a block of the weight has one scale. Where scales are integers of
    groups times a float of the block, and codes times these integers fit a byte
    (q3_k), many tokens have a loop of their own. It multiplies them for a tile
    of rows first, by vector code, into room on the stack. This then serves as a
    weight of a format that the pass adds to the module
    (`lumen.format @q3_k_scaled`).

    Before:

    ```mlir
    %y = lumen.qlinear activations(%c, %s, %o, %m : ...) weights(%w : ...) -> tensor<?x896xf32>
    bufferization.materialize_in_destination %y in restrict writable %out : ...
    ```

    After:

    ```mlir
    scf.forall (%block, %tile) in (%blocks, 56) {
      scf.for %t = %lower to %upper step %c8 {
        %acc = scf.for %span = %c0 to %c28 step %c1 iter_args(%a = %zero) -> (tensor<8x16xf32>) {
          %isum = linalg.generic ... ins(%plane, %codes : tensor<2x2x2x16x4xi8>, tensor<8x2x2x2x4xi8>)
                                     outs(%initial : tensor<8x16xi32>)
          %next = linalg.generic ... ins(%isum, %xscale, %scale : ...) outs(%a : tensor<8x16xf32>)
          scf.yield %next : tensor<8x16xf32>
        }
        bufferization.materialize_in_destination %acc in restrict writable %tile_of_out : ...
      }
    }
    ```
  }];
  let options = [
    Option<"tokens", "tokens", "int64_t", "0",
           "tokens per register tile (0: what the target says)">,
    Option<"blockBytes", "block-bytes", "int64_t", "512 * 1024",
           "bytes of activations in a block of tokens, which stay in a cache while the weights pass by">
  ];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect", "::mlir::bufferization::BufferizationDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
    "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect",
    "::mlir::vector::VectorDialect"];
}

def SynthesizeRowsPass : Pass<"lumen-synthesize-rows", "::mlir::ModuleOp"> {
  let summary = "write row-local kernels as loops of vector code";
  let description = [{
    Replaces the body of every kernel of kind "rows" by one parallel loop over rows
    and chunks of columns. A chain of ops is computed in registers, a piece of
    columns after the other, so rows between two ops are never stored. What needs the
    whole row (the sum of squares of a norm) comes before the columns. There is one
    chunk per row unless rows are fewer than workers; a chunk never changes a result.

    Vectors have the width of a head where an op works on heads, of a
    quantization group where values are quantized, and 64 columns elsewhere. The
    columns left over are one shorter vector.

    Before:
    ```mlir
    func.func private @rms_norm_quantize_896(%x: memref<?x896xf32>, %w: memref<896xf32>,
        %codes: memref<?x896xi8>, ...) attributes {lumen.kernel = "rows"} {
      %0 = bufferization.to_tensor %x restrict : memref<?x896xf32> to tensor<?x896xf32>
      %1 = bufferization.to_tensor %w restrict : memref<896xf32> to tensor<896xf32>
      %2 = lumen.rms_norm %0, %1 {epsilon = 1.0e-06 : f32} : tensor<?x896xf32>, tensor<896xf32>
      %3:4 = lumen.quantize %2 : ...
      bufferization.materialize_in_destination %3#0 in restrict writable %codes : ...
      ...
    }
    ```
    After:
    ```mlir
    scf.forall (%row, %chunk) in (%rows, %chunks) {
      %sum = scf.for %column = %c0 to %c896 step %c32 iter_args(%acc = %zero) -> (vector<32xf32>) {
        ...
      }
      ... // %inverse = 1 / sqrt(mean + epsilon)
      scf.for %tile = %begin to %end step %c1 {
        %column = arith.muli %tile, %c32 : index
        %v = vector.load %x[%row, %column] : memref<?x896xf32>, vector<32xf32>
        %g = vector.load %w[%column] : memref<896xf32>, vector<32xf32>
        ... // multiply, largest magnitude, round
        vector.store %code, %codes[%row, %column] : memref<?x896xi8>, vector<32xi8>
        ... // scale, offset, sum
      }
    }
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
    "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def SynthesizeAttentionPass : Pass<"lumen-synthesize-attention", "::mlir::ModuleOp"> {
  let summary = "write attention kernels as tiles with an online softmax";
  let description = [{
    Replaces the body of every kernel of kind "attention" by a parallel loop
    over KV heads and tiles of 8 rows. A row is a (token, query head) pair that
    reads the KV head. A tile walks over 64 positions at a time: scores (lanes
    are positions), running maximum and sum, and the weighted values (lanes are
    the head dimension). Keys and values are converted to float32 once per tile.
    Positions after the last one that the tile may see are not visited. A step
    of one token has tiles of as many rows as query heads share a KV head. A
    quantization of the result follows in the tile; its group must divide the
    head dimension.

    Every 512 positions have a softmax of their own, and these parts are merged in
    their order. Where one token has too few tiles to keep the team busy, the parts are
    divided among the workers too and merged in a second parallel loop.

    The operations of a row and their order depend on its position only. So a
    row has the same bits in a chunk of any length and on any number of workers.
    How many rows and lanes are in registers at a time follows from the vector
    registers of the module's `lumen.target`.

    Before:
    ```mlir
    %a = lumen.attention %q, %k, %v, %layer, %position
      {heads = 14 : i64, kv_heads = 2 : i64, scale = 1.250000e-01 : f32} : ...
    bufferization.materialize_in_destination %a in restrict writable %out : ...
    ```
    After:
    ```mlir
    scf.forall (%head, %i, %part) in (2, %tiles, %parts) {
      ... // queries times scale, to scratch
      scf.for %p = %part to %last step %c1 {
        scf.for %start = %begin to %stop step %c64 {
          scf.for %pass = %c0 to %passes step %c1 {
            %s:16 = scf.for %d = %c0 to %c64 step %c1 iter_args(...) -> (vector<16xf32>, ...) {
              %key = vector.load %k[%layer, %head, %block, %d, %c0] : ..., vector<16xf16>
              ...
            }
            ... // to scratch
          }
          ... // mask, maximum, exponential, sum, correction
          %o:8 = scf.for %j = %c0 to %valid step %c1 iter_args(...) -> (vector<32xf32>, ...) {
            %value = vector.load %v[%layer, %head, %position, %c0] : ..., vector<32xf16>
            ...
          }
        }
        ... // join with the parts before, or leave it for the second loop
      }
      ... // divide by the sum and store
    }
    scf.forall (%head, %tile) in (%heads, 1) {
      ... // no iterations where tiles had all parts; join the parts, divide and store
    }
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
    "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def SynthesizeRoutingPass : Pass<"lumen-synthesize-routing", "::mlir::ModuleOp"> {
  let summary = "write the kernels that choose experts and sort tokens by them";
  let description = [{
    Replaces the body of every kernel of kind "routing". `lumen.route` becomes a
    parallel loop over tokens: the probabilities of all experts as one vector, and
    then, once per expert that is used, the first lane of the largest value. The op
    `lumen.group_tokens` becomes a counting sort by one worker.

    Before:
    ```mlir
    %e, %w = lumen.route %logits {gating = "softmax", normalized = true, scale = 1.0 : f32}
      : tensor<?x8xf32> -> tensor<?x2xi32>, tensor<?x2xf32>
    bufferization.materialize_in_destination %e in restrict writable %experts : ...
    ```
    After:
    ```mlir
    scf.forall (%t) in (%tokens) {
      ... // softmax of vector<8xf32>
      scf.for %s = %c0 to %c2 step %c1 {
        %left = vector.load %choice[%c0] : memref<8xf32>, vector<8xf32>
        %most = vector.reduction <maxnumf>, %left : vector<8xf32> into f32
        ...
        memref.store %number, %experts[%t, %s] : memref<?x2xi32>
      }
      ... // divide the weights by their sum and scale them
    }
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
    "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def SynthesizePackPass : Pass<"lumen-synthesize-pack", "::mlir::ModuleOp"> {
  let summary = "write the kernels that pack weights";
  let description = [{
    Replaces `lumen.pack` between bytes and bytes, in kernels of kind "pack", by
    a parallel loop over tiles of rows. The region of the format decodes a
    block, and its codes go to the bit planes and its scales to the tables of
    the packed layout. Rows past the last of a tile become zeros.

    Before:

    ```mlir
    %w = lumen.from_bytes %raw, %n, %k : memref<?xi8> -> tensor<?x?x!lumen.q<@q8_0>>
    %p = lumen.pack %w : tensor<?x?x!lumen.q<@q8_0>>
                      -> tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16>>
    lumen.to_bytes %p into %out : ..., memref<?xi8>
    ```

    After:

    ```mlir
    scf.forall (%tile) in (%tiles) {
      scf.for %block = %c0 to %blocks step %c1 {
        scf.for %lane = %c0 to %c16 step %c1 {
          scf.if %exists { /* decode, gather the bits of each plane, store */ } else { /* zeros */ }
        }
      }
    }
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect",
    "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def SynthesizeTensorsPass : Pass<"lumen-synthesize-tensors", "::mlir::ModuleOp"> {
  let summary = "tile and fuse kernels of tensors, and give them buffers";
  let description = [{
    In kernels of kind "tensor", upstream's tile-and-fuse makes every op of linalg a
    `scf.forall` over tiles. What it alone reads is computed there too, where a tile of it
    fits on the stack. Products of matrices have loops of their own: the right factor is
    packed in panels of columns, and every worker packs rows of the left one.

    Then upstream's one-shot bufferization decides what is computed in place. Buffers of a
    tile are `memref.alloca`; others are `memref.alloc`, which the team shares. What stands
    between tiles (loops, branches, single elements) is left to one worker. Offsets that a
    call chooses are kept inside of their tensor, and no integer is divided by zero.

    Before:
    ```mlir
    %0 = bufferization.to_tensor %x restrict : memref<64x256xf32> to tensor<64x256xf32>
    %1 = linalg.generic ... ins(%0 : tensor<64x256xf32>) outs(%empty : tensor<64x256xf32>)
    bufferization.materialize_in_destination %1 in restrict writable %out
    ```
    After:
    ```mlir
    scf.forall (%i) = (0) to (64) step (32) {
      %a = memref.subview %x[%i, 0] [32, 256] [1, 1] : ...
      %b = memref.subview %out[%i, 0] [32, 256] [1, 1] : ...
      linalg.generic ... ins(%a : memref<32x256xf32, ...>) outs(%b : memref<32x256xf32, ...>)
    }
    ```
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
    "::mlir::bufferization::BufferizationDialect", "::mlir::linalg::LinalgDialect",
    "::mlir::lumen::LumenDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
    "::mlir::tensor::TensorDialect", "::mlir::vector::VectorDialect"];
}

#endif // LUMEN_PASSES_FUSED_TO_LOOPS

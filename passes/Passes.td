// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_PASSES
#define LUMEN_PASSES

include "mlir/Pass/PassBase.td"

// Passes stand in the order in which the pipelines run them.

//===----------------------------------------------------------------------===//
// lumen -> fused
//===----------------------------------------------------------------------===//

def FuseQuantizedLinearPass : Pass<"lumen-fuse-quantized-linear", "::mlir::ModuleOp"> {
  let summary = "fuse dequantization and linear layers into lumen.qlinear";
  let description = [{
    A `lumen.linear` becomes a `lumen.qlinear` of one weight that reads its float32
    activation. Where the weight is a `lumen.dequantize`, the quantized weight is
    taken instead, so no float copy of it is ever made; a float weight stays as it
    is. A dequantized embedding table goes into `lumen.embedding` the same way.

    Before:
    ```mlir
    %f = lumen.dequantize %w : tensor<128x896x!lumen.q<@q8_0>> -> tensor<128x896xf32>
    %y = lumen.linear %x, %f bias(%b : tensor<128xf32>)
       : tensor<?x896xf32>, tensor<128x896xf32> -> tensor<?x128xf32>
    ```
    After:
    ```mlir
    %y = lumen.qlinear activations(%x : tensor<?x896xf32>)
      weights(%w : tensor<128x896x!lumen.q<@q8_0>>) biases(%b : tensor<128xf32>)
      -> tensor<?x128xf32>
    ```
  }];
}

def QuantizeActivationsPass : Pass<"lumen-quantize-activations", "::mlir::ModuleOp"> {
  let summary = "give quantized products 8-bit activations";
  let description = [{
    In mode `int8` every activation that meets quantized weights is quantized once,
    right after it is computed, and all its `lumen.qlinear` users read the codes.
    The sums are kept per `sum_group` = the smallest scale group among the users'
    formats, at most 32. Products with float weights keep reading float32, and so
    does an activation whose rows are not whole groups of 32.

    In mode `exact` nothing changes: codes of weights meet float32 activations.

    Before:
    ```mlir
    %q = lumen.qlinear activations(%x : tensor<?x896xf32>)
      weights(%wq : tensor<896x896x!lumen.q<@q4_k>>) -> tensor<?x896xf32>
    %v = lumen.qlinear activations(%x : tensor<?x896xf32>)
      weights(%wv : tensor<128x896x!lumen.q<@q6_k>>) -> tensor<?x128xf32>
    ```
    After:
    ```mlir
    %c, %s, %o, %m = lumen.quantize %x {sum_group = 16 : i64} : tensor<?x896xf32>
      -> tensor<?x896xi8>, tensor<?x28xf32>, tensor<?x56xi32>, tensor<?x56xf32>
    %q = lumen.qlinear activations(%c, %s, %o, %m : ...)
      weights(%wq : tensor<896x896x!lumen.q<@q4_k>>) -> tensor<?x896xf32>
    %v = lumen.qlinear activations(%c, %s, %o, %m : ...)
      weights(%wv : tensor<128x896x!lumen.q<@q6_k>>) -> tensor<?x128xf32>
    ```
  }];
  let options = [
    Option<"mode", "mode", "::mlir::lumen::ActivationMode",
           "::mlir::lumen::ActivationMode::Int8", "what quantized weights are multiplied with",
           [{::llvm::cl::values(
               clEnumValN(::mlir::lumen::ActivationMode::Int8, "int8",
                          "8-bit codes, one scale per 32 values"),
               clEnumValN(::mlir::lumen::ActivationMode::Exact, "exact", "float32 rows"))}]>
  ];
}

def MergeLinearsPass : Pass<"lumen-merge-linears", "::mlir::ModuleOp"> {
  let summary = "merge products that read the same activation";
  let description = [{
    `lumen.qlinear` ops of one block with the same activations become one op with
    several weights, at the place of the first: Q, K and V, or gate and up. The
    activation is then read once, and the op has enough rows to keep a team of
    workers busy. The order of the weights is that of the program. Ops with biases
    merge with ops with biases only, since a `lumen.qlinear` has as many biases as
    weights or none. An op whose weight or bias is computed after the first stays.

    Before:
    ```mlir
    %g = lumen.qlinear activations(%x : tensor<?x896xf32>)
      weights(%wg : tensor<4864x896xf16>) -> tensor<?x4864xf32>
    %u = lumen.qlinear activations(%x : tensor<?x896xf32>)
      weights(%wu : tensor<4864x896xf16>) -> tensor<?x4864xf32>
    ```
    After:
    ```mlir
    %g, %u = lumen.qlinear activations(%x : tensor<?x896xf32>)
      weights(%wg, %wu : tensor<4864x896xf16>, tensor<4864x896xf16>)
      -> tensor<?x4864xf32>, tensor<?x4864xf32>
    ```
  }];
}

def PackWeightsPass : Pass<"lumen-pack-weights", "::mlir::ModuleOp"> {
  let summary = "make product weights arrive in their packed layout";
  let description = [{
    Every weight of a `lumen.qlinear` becomes an argument with the encoding
    `#lumen.packed<rows = R>`, through all calls up to the public functions, whose
    caller packs each weight once, at load. R is the number of rows of the module's
    `lumen.target`, unless the option `rows` says otherwise.

    Where an argument is also read in the file's layout (a table used by the
    embedding and by the output head), the packed form becomes a second argument
    next to it, with the same attributes, `lumen.name` among them.

    Before:
    ```mlir
    func.func @head(%tokens: tensor<?xi32>,
        %e: tensor<151936x896x!lumen.q<@q8_0>> {lumen.name = "token_embd.weight"})
        -> tensor<?x151936xf32> {
      %x = lumen.embedding %tokens, %e : ...
      %y = lumen.qlinear activations(%x : tensor<?x896xf32>)
        weights(%e : tensor<151936x896x!lumen.q<@q8_0>>) -> tensor<?x151936xf32>
      return %y : tensor<?x151936xf32>
    }
    ```
    After:
    ```mlir
    func.func @head(%tokens: tensor<?xi32>,
        %e: tensor<151936x896x!lumen.q<@q8_0>> {lumen.name = "token_embd.weight"},
        %p: tensor<151936x896x!lumen.q<@q8_0>, #lumen.packed<rows = 16>>
          {lumen.name = "token_embd.weight"}) -> tensor<?x151936xf32> {
      %x = lumen.embedding %tokens, %e : ...
      %y = lumen.qlinear activations(%x : tensor<?x896xf32>)
        weights(%p : tensor<151936x896x!lumen.q<@q8_0>, #lumen.packed<rows = 16>>)
        -> tensor<?x151936xf32>
      return %y : tensor<?x151936xf32>
    }
    ```
  }];
  let options = [
    Option<"rows", "rows", "int64_t", "0",
           "rows of a tile; 0 takes them from the module's lumen.target">
  ];
}

def FormKernelsPass : Pass<"lumen-form-kernels", "::mlir::ModuleOp"> {
  let summary = "outline the ops of every function into kernels";
  let description = [{
    Divides the body of every function into kernels, the units that are scheduled
    as one loop nest: private functions with the attribute `lumen.kernel`, called
    in the place of their ops. What belongs together:

    - "product": a `lumen.qlinear` with its element-wise epilogue, that is a
      `lumen.swiglu` of two of its results and `lumen.add` of a result and a value
      from elsewhere (the residual), where nothing else reads the result;
    - "attention": `lumen.attention` and the `lumen.quantize` of its result;
    - "rows": chains of ops that work row by row, such as norm and quantize, with
      `lumen.last_rows` only at the beginning;
      and the `lumen.rope` and `lumen.kv_append` of one position;
    - "pack": `lumen.pack`.

    Kernels of equal content are one function, so that compile time does not grow
    with the number of layers. The name says the content: the ops, the formats and
    the shapes. Kernels stand at the end of the module.

    Before:
    ```mlir
    func.func private @layer(%x: tensor<?x896xf32>, %n: tensor<896xf32>, %w: !packed)
        -> tensor<?x896xf32> {
      %0 = lumen.rms_norm %x, %n {epsilon = 1.0e-06 : f32} : ...
      %c, %s, %o, %m = lumen.quantize %0 : ...
      %1 = lumen.qlinear activations(%c, %s, %o, %m : ...) weights(%w : !packed) -> ...
      %2 = lumen.add %x, %1 : tensor<?x896xf32>
      return %2 : tensor<?x896xf32>
    }
    ```
    After:
    ```mlir
    func.func private @layer(%x: tensor<?x896xf32>, %n: tensor<896xf32>, %w: !packed)
        -> tensor<?x896xf32> {
      %0:4 = call @rms_norm_quantize_896(%x, %n) : ...
      %1 = call @qlinear_q8_0_896x896_add(%0#0, %0#1, %0#2, %0#3, %w, %x) : ...
      return %1 : tensor<?x896xf32>
    }
    func.func private @rms_norm_quantize_896(%x: tensor<?x896xf32>, %n: tensor<896xf32>)
        -> (...) attributes {lumen.kernel = "rows"} {
      %0 = lumen.rms_norm %x, %n {epsilon = 1.0e-06 : f32} : ...
      %c, %s, %o, %m = lumen.quantize %0 : ...
      return %c, %s, %o, %m : ...
    }
    func.func private @qlinear_q8_0_896x896_add(...) -> tensor<?x896xf32>
        attributes {lumen.kernel = "product"} { ... }
    ```
  }];
  let dependentDialects = ["::mlir::func::FuncDialect"];
}

def CheckFusedPass : Pass<"lumen-check-fused", "::mlir::ModuleOp"> {
  let summary = "check what the fused stage promises";
  let description = [{
    Changes nothing; fails with a diagnostic at the op that breaks the contract:

    - a function that is not a kernel only calls functions (besides constants and
      arithmetic on index);
    - a kernel is private (but "pack" kernels can be entry points), calls nothing
      and holds the ops of its kind, as `lumen-form-kernels` makes them;
    - no `lumen.dequantize` or `lumen.linear` is left, so there is no float copy of
      a quantized weight;
    - every weight of a `lumen.qlinear` is an argument in a packed layout.

    ```mlir
    func.func @f(%w: tensor<64x64x!lumen.q<@q8_0>>) -> tensor<64x64xf32> {
      // error: makes a float copy of a quantized weight; ...
      %0 = lumen.dequantize %w : tensor<64x64x!lumen.q<@q8_0>> -> tensor<64x64xf32>
      return %0 : tensor<64x64xf32>
    }
    ```
  }];
}

//===----------------------------------------------------------------------===//
// fused -> linalg
//===----------------------------------------------------------------------===//

def BufferizePass : Pass<"lumen-bufferize", "::mlir::ModuleOp"> {
  let summary = "give functions buffers instead of tensors, without any copy";
  let description = [{
    Arguments become buffers and results become trailing out arguments that the
    caller provides: activations, vectors and caches a memref of their shape,
    weights (raw or packed) their bytes as `memref<BYTESxi8>`. A weight with
    dynamic dimensions is a `memref<?xi8>` followed by those dimensions as index
    arguments. A cache that `lumen.kv_append` updates is written in place and has no
    out argument. The argument attribute `lumen.result` says which result a buffer
    holds. In public functions, more attributes tell whoever calls from outside what
    to provide: `lumen.out` marks out arguments, `lumen.rows` says how many rows one
    has, `lumen.tokens` whose rows are bounded by `lumen.max_tokens`, `llvm.align` which bytes are packed weights.

    The body of a kernel (attribute `lumen.kernel`) keeps its ops on tensors,
    between views of its buffers. Every other function is a straight line of calls:
    what a call returns goes to an out argument of the caller or to a
    `memref.alloc`, whose number of rows is followed through calls and
    `lumen.last_rows`. Nothing is ever copied, so a public function that returns an
    argument unchanged (other than a cache) is an error, as is the use of a cache
    as it was before an update.

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
        %out: memref<?x8xf32> {lumen.out, lumen.result = 0 : i64, lumen.rows = array<i64: 0>}) {
      %c0 = arith.constant 0 : index
      %rows = memref.dim %x, %c0 : memref<?x8xf32>
      %y = memref.alloc(%rows) : memref<?x8xf32>
      call @rms_norm_8(%x, %w, %y) : (memref<?x8xf32>, memref<8xf32>, memref<?x8xf32>) -> ()
      call @rms_norm_8(%y, %w, %out) : (memref<?x8xf32>, memref<8xf32>, memref<?x8xf32>) -> ()
      return
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect",
    "::mlir::bufferization::BufferizationDialect", "::mlir::memref::MemRefDialect"];
}

def SynthesizeProductPass : Pass<"lumen-synthesize-product", "::mlir::ModuleOp"> {
  let summary = "write product kernels as linalg on packed tensors";
  let description = [{
    Replaces the body of every kernel of kind "product" by a parallel loop over
    blocks of tokens and tiles of rows. A register tile (tokens x rows results) is a
    small tensor carried through loops over the blocks and spans of the weight. For
    8-bit activations a span is two `linalg.generic`: an integer one, whose body
    shifts and masks the bytes of the bit planes by amounts that depend on
    `linalg.index` (and looks tables up), and a float one that applies scales and
    minima. Biases and element-wise ops follow in registers.

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
           "tokens per register tile (a power of two; 0: what the target says)">,
    Option<"blockBytes", "block-bytes", "int64_t", "512 * 1024",
           "bytes of activations in a block of tokens, which stay in a cache while the weights pass by">
  ];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::bufferization::BufferizationDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
    "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect"];
}

def SynthesizeRowsPass : Pass<"lumen-synthesize-rows", "::mlir::ModuleOp"> {
  let summary = "write row-local kernels as loops of vector code";
  let description = [{
    Replaces the body of every kernel of kind "rows" by one parallel loop over rows
    and chunks of columns. A chain of ops is computed in registers, a piece of
    columns after the other, so rows between two ops are never stored. What needs the
    whole row (the sum of squares of a norm) comes before the columns. There is one
    chunk per row unless rows are fewer than workers; a chunk never changes a result.

    Vectors have the width of a head where an op works on heads, of a quantization
    group where values are quantized, and 64 columns elsewhere; the columns left over
    are one shorter vector.

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
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
    "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def SynthesizeAttentionPass : Pass<"lumen-synthesize-attention", "::mlir::ModuleOp"> {
  let summary = "write attention kernels as tiles with an online softmax";
  let description = [{
    Replaces the body of every kernel of kind "attention" by a parallel loop over KV
    heads and tiles of 8 rows, where a row is a (token, query head) pair that reads
    the KV head. A tile walks over 64 positions at a time: scores (lanes are
    positions), running maximum and sum, and the weighted values (lanes are the head
    dimension). Keys and values are converted to float32 once per tile. Positions
    after the last one that the tile may see are not visited. A step of one token has
    tiles of as many rows as query heads share a KV head. A quantization of the result
    follows in the tile; its group must divide the head dimension.

    Every 512 positions have a softmax of their own, and these parts are merged in
    their order. Where one token has too few tiles to keep the team busy, the parts are
    divided among the workers too and merged in a second parallel loop.

    The operations of a row and their order depend on its position only, so a row has
    the same bits in a chunk of any length and on any number of workers. How many rows and lanes are in registers
    at a time comes from `vector_bits` of the module's `lumen.target`.

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
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
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
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
    "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def SynthesizePackPass : Pass<"lumen-synthesize-pack", "::mlir::ModuleOp"> {
  let summary = "write the kernels that pack weights";
  let description = [{
    Replaces `lumen.pack` between bytes and bytes, in kernels of kind "pack", by a
    parallel loop over tiles of rows: the region of the format decodes a block, and
    its codes go to the bit planes and its scales to the tables of the packed
    layout. Rows past the last of a tile become zeros.

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
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect",
    "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

//===----------------------------------------------------------------------===//
// linalg -> vector
//===----------------------------------------------------------------------===//

def VectorizeProductPass : Pass<"lumen-vectorize-product", "::mlir::ModuleOp"> {
  let summary = "turn the register tiles of product kernels into vectors";
  let description = [{
    In kernels of kind "product", every small static tensor becomes vectors: its
    last dimension is the lanes, the others are unrolled. Slices of buffers become
    1-D loads where they are used, accumulators become vector values carried by the
    loops. A `linalg.generic` that adds products of unsigned and signed 8-bit
    operands over four consecutive k becomes `lumen.dot4`.

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
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect",
    "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
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
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::memref::MemRefDialect"];
}

//===----------------------------------------------------------------------===//
// vector -> llvm
//===----------------------------------------------------------------------===//

def LowerDot4Pass : Pass<"lumen-lower-dot4", "::mlir::ModuleOp"> {
  let summary = "lower lumen.dot4 and lumen.lookup to the target's instructions";
  let description = [{
    `lumen.dot4` becomes `vpdpbusd`, or `vpmaddubsw` and `vpmaddwd`, or plain vector
    arithmetic. Pairs of products have 16 bits: signed codes give their sign to the
    activations, unsigned ones of 8 bits go in two parts, and narrower ones are added up
    over as many steps as fit.
    `lumen.lookup` becomes a byte shuffle or a chain of selects. Vectors wider than
    the target's are split.

    Before:

    ```mlir
    %r = lumen.dot4 %codes, %x, %acc {bits = 4 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
    ```

    After, with `dot4 = "avx512vnni"`:

    ```mlir
    %word = vector.bitcast %x : vector<4xi8> to vector<1xi32>
    ...
    %r = llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"(%acc, %codes, %bytes)
       : (vector<16xi32>, vector<64xi8>, vector<64xi8>) -> vector<16xi32>
    ```
  }];
  let options = [
    Option<"dot4", "dot4", "std::string", "\"\"",
           "implementation to use instead of the one of the module's target">
  ];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::vector::VectorDialect"];
}

def ExpandF16Pass : Pass<"lumen-expand-f16", "::mlir::ModuleOp"> {
  let summary = "convert between f16 and f32 in integer arithmetic where the target cannot";
  let description = [{
    The baseline of x86 has no conversion between f16 and f32, and LLVM would call a
    library function for every element. On such targets `arith.extf` and
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
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

def SpmdPass : Pass<"lumen-spmd", "::mlir::func::FuncOp"> {
  let summary = "divide parallel loops among the workers of a team";
  let description = [{
    Every worker runs the same function. A `scf.forall` at the top level becomes a
    loop over the worker's own share of the iterations, taken as one sequence with
    the last dimension fastest: worker w of n has w*total/n up to (w+1)*total/n, a
    contiguous piece. Behind it the workers wait for each other, unless the loop
    says `lumen.nowait`; the last loop of a function must not say so. Behind a loop
    that follows one that waited, they only wait if it has iterations.

    Before:

    ```mlir
    scf.forall (%t, %n) in (%tokens, 56) {
      "use"(%t, %n) : (index, index) -> ()
    }
    ```

    After:

    ```mlir
    %id = lumen.worker_id
    %count = lumen.worker_count
    %c56 = arith.constant 56 : index
    %c1 = arith.constant 1 : index
    %total = arith.muli %tokens, %c56 : index
    %next = arith.addi %id, %c1 : index
    %0 = arith.muli %id, %total : index
    %begin = arith.divui %0, %count : index
    %1 = arith.muli %next, %total : index
    %end = arith.divui %1, %count : index
    scf.for %i = %begin to %end step %c1 {
      %n = arith.remui %i, %c56 : index
      %t = arith.divui %i, %c56 : index
      "use"(%t, %n) : (index, index) -> ()
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
    Not part of a normal compilation: `lumen bench --profile` asks for it. Around
    every call of a kernel the clock is read, and worker 0 adds what it took to
    `@lumen_profile`, which has two words for each kernel of the module, in their
    order: calls and nanoseconds. A kernel ends where its workers have met, so the
    time of worker 0 is that of all of them, waiting included.

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
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::scf::SCFDialect"];
}

def LowerTeamPass : Pass<"lumen-lower-team", "::mlir::ModuleOp"> {
  let summary = "make the workers of a team threads";
  let description = [{
    Every function that asks for the worker, itself or in a function it calls, gets
    a last argument `!llvm.ptr {lumen.worker}` to the runtime's

    ```c
    struct lumen_worker { uint64_t id; uint64_t count; void *team; };
    ```

    `lumen.worker_id` and `lumen.worker_count` become loads from it and
    `lumen.barrier` a call of the runtime's `void lumen_barrier(lumen_worker *)`.

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
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect"];
}

def FlattenArgumentsPass : Pass<"lumen-flatten-arguments", "::mlir::ModuleOp"> {
  let summary = "pass buffers as bare pointers, with what is known of them";
  let description = [{
    A memref argument becomes a pointer and one index per dynamic dimension, in
    functions and calls alike: shapes that the type says need not be passed, and a
    plain pointer can carry what LLVM may assume of it:

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
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::memref::MemRefDialect"];
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
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect"];
}

def ApproximateMathPass : Pass<"lumen-approximate-math"> {
  let summary = "compute math functions by arithmetic instead of library calls";
  let description = [{
    `math.exp` becomes a polynomial (on vectors and scalars alike, so both give the
    same result), and `math.fma` a multiplication and an addition that are fused only
    where the target has the instruction.

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
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::math::MathDialect", "::mlir::vector::VectorDialect"];
}

//===----------------------------------------------------------------------===//
// Contracts
//===----------------------------------------------------------------------===//

def CheckStagePass : Pass<"lumen-check-stage", "::mlir::ModuleOp"> {
  let summary = "check that a stage has done what it promises";
  let description = [{
    Changes nothing; fails where the IR is not what the next stage may rely on.

    - `stage=linalg`: functions take buffers; functions that are no kernels are
      straight lines of calls; kernels have loops in place of the ops of the model,
      and write shared buffers only inside `scf.forall`.
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
    Option<"stage", "stage", "std::string", "\"\"", "linalg, vector or llvm">
  ];
}

#endif // LUMEN_PASSES

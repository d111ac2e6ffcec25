// SPDX-License-Identifier: Apache-2.0
//
// Passes lumen -> fused, in the order in which the pipeline runs them.
#ifndef LUMEN_PASSES_LUMEN_TO_FUSED
#define LUMEN_PASSES_LUMEN_TO_FUSED

include "mlir/Pass/PassBase.td"

def RaiseLinalgPass : Pass<"lumen-raise-linalg", "::mlir::ModuleOp"> {
  let summary = "raise linalg ops to the ops of lumen that equal them";
  let description = [{
    A product of rows with a weight becomes a `lumen.linear`, whatever form of linalg
    says it: `linalg.matmul`, `linalg.contract` or a `linalg.generic` of a multiplication
    and an addition. The weight is a `lumen.dequantize` and is read as `[n, k]`: transposed by the indexing map or by
    `linalg.transpose`. Where the sum does not start from zero, `lumen.add` adds what it
    starts from. All dimensions but the last one of a batch are rows, and a vector is one.
    Beside ops of lumen, additions and products of rows become `lumen.add` and `lumen.mul`.
    All values are float32. Other ops of linalg stay.

    Before:
    ```mlir
    %f = lumen.dequantize %w : tensor<128x896x!lumen.q<@q8_0>> -> tensor<128x896xf32>
    %t = linalg.transpose ins(%f : tensor<128x896xf32>) outs(%e : tensor<896x128xf32>)
      permutation = [1, 0]
    %y = linalg.matmul ins(%x, %t : tensor<?x896xf32>, tensor<896x128xf32>)
      outs(%zero : tensor<?x128xf32>) -> tensor<?x128xf32>
    ```
    After:
    ```mlir
    %f = lumen.dequantize %w : tensor<128x896x!lumen.q<@q8_0>> -> tensor<128x896xf32>
    %y = lumen.linear %x, %f : tensor<?x896xf32>, tensor<128x896xf32> -> tensor<?x128xf32>
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::tensor::TensorDialect"];
}

def PrepareTensorsPass : Pass<"lumen-prepare-tensors", "::mlir::ModuleOp"> {
  let summary = "bring ops on tensors into few forms, and fuse element-wise ones";
  let description = [{
    In functions with ops of linalg, tensor, arith, math or scf on tensors, calls of such
    functions are inlined, and what has several steps (`linalg.softmax`, `tensor.pad`,
    `tensor.concat`) becomes these. Named ops of linalg and element-wise ops of arith and
    math become `linalg.generic`. One that alone reads the result of another computes
    that itself. What a public function would return as it came is copied.

    Functions of lumen ops alone stay as they are.

    Before:
    ```mlir
    %y = arith.mulf %x, %x : tensor<4x8xf32>
    %z = math.exp %y : tensor<4x8xf32>
    ```
    After:
    ```mlir
    %z = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>],
        iterator_types = ["parallel", "parallel"]}
        ins(%x : tensor<4x8xf32>) outs(%empty : tensor<4x8xf32>) {
    ^bb0(%in: f32, %out: f32):
      %0 = arith.mulf %in, %in : f32
      %1 = math.exp %0 : f32
      linalg.yield %1 : f32
    } -> tensor<4x8xf32>
    ```
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect"];
}

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
  let dependentDialects = ["::mlir::lumen::LumenDialect"];
}

def QuantizeActivationsPass : Pass<"lumen-quantize-activations", "::mlir::ModuleOp"> {
  let summary = "give quantized products 8-bit activations";
  let description = [{
    In mode `int8` every activation that meets quantized weights is quantized right
    after it is computed, and its `lumen.qlinear` users read the codes. `group` codes
    share a scale: 256 where the blocks of the format they meet are multiples of it, 32
    otherwise. Formats of one group share the codes; those of another have codes of
    their own, so that no result depends on what else reads the same values.
    The sums are kept per `sum_group` = the smallest scale group among the users'
    formats, at most 32, and the offsets for the bias that divides all of theirs.
    Products with float weights keep reading float32, and so does an activation whose
    rows are not whole groups of 32. Where the target has `bf16_dot`, products whose
    weights all are bf16 read a `lumen.to_bf16` of the activation.

    In mode `exact` nothing changes: codes of weights meet float32 activations.

    Before:
    ```mlir
    %q = lumen.qlinear activations(%x : tensor<?x1536xf32>)
      weights(%wq : tensor<1536x1536x!lumen.q<@q4_k>>) -> tensor<?x1536xf32>
    %v = lumen.qlinear activations(%x : tensor<?x1536xf32>)
      weights(%wv : tensor<256x1536x!lumen.q<@q6_k>>) -> tensor<?x256xf32>
    ```
    After:
    ```mlir
    %c, %s, %o, %m = lumen.quantize %x {bias = -32 : i64, group = 256 : i64, sum_group = 16 : i64}
      : tensor<?x1536xf32> -> tensor<?x1536xi8>, tensor<?x6xf32>, tensor<?x96xi32>, tensor<?x96xf32>
    %q = lumen.qlinear activations(%c, %s, %o, %m : ...)
      weights(%wq : tensor<1536x1536x!lumen.q<@q4_k>>) {offset_bias = -32 : i64} -> tensor<?x1536xf32>
    %v = lumen.qlinear activations(%c, %s, %o, %m : ...)
      weights(%wv : tensor<256x1536x!lumen.q<@q6_k>>) {offset_bias = -32 : i64} -> tensor<?x256xf32>
    ```
  }];
  let options = [
    Option<"mode", "mode", "::mlir::lumen::ActivationMode",
           "::mlir::lumen::ActivationMode::Int8", "what quantized weights are multiplied with",
           [{::llvm::cl::values(
               clEnumValN(::mlir::lumen::ActivationMode::Int8, "int8",
                          "8-bit codes with scales"),
               clEnumValN(::mlir::lumen::ActivationMode::Exact, "exact", "float32 rows"))}]>
  ];
  let dependentDialects = ["::mlir::lumen::LumenDialect"];
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
  let dependentDialects = ["::mlir::lumen::LumenDialect"];
}

def PackWeightsPass : Pass<"lumen-pack-weights", "::mlir::ModuleOp"> {
  let summary = "make product weights arrive in their packed layout";
  let description = [{
    Every weight of a `lumen.qlinear` becomes an argument with the encoding
    `#lumen.packed<rows = R, k = K>`, through all calls up to the public
    functions. Their caller packs each weight once, at load; `lumen.tile` on
    their arguments is this layout. K is the number of columns that a step of
    the product takes. R is the number of rows of the module's `lumen.target`,
    but one vector of rows for a format with several groups in 32 weights. So it
    is for what one op joins with such a weight. R divides the rows of an
    expert. The option `rows` sets it for all.

    Where an argument is also read in the file's layout, such as a table of
    embedding and output head, the packed form becomes a second argument. It
    stands next to the first one and has the same attributes, `lumen.name` among
    them.

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
        %p: tensor<151936x896x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>
          {lumen.name = "token_embd.weight",
           lumen.tile = #lumen.packed<rows = 16, k = 4>}) -> tensor<?x151936xf32> {
      %x = lumen.embedding %tokens, %e : ...
      %y = lumen.qlinear activations(%x : tensor<?x896xf32>)
        weights(%p : tensor<151936x896x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>)
        -> tensor<?x151936xf32>
      return %y : tensor<?x151936xf32>
    }
    ```
  }];
  let options = [
    Option<"rows", "rows", "int64_t", "0",
           "rows of a tile; 0 takes them from the module's lumen.target">
  ];
  let dependentDialects = ["::mlir::lumen::LumenDialect"];
}

def FormKernelsPass : Pass<"lumen-form-kernels", "::mlir::ModuleOp"> {
  let summary = "outline the ops of every function into kernels";
  let description = [{
    Divides the body of every function into kernels, the units that are scheduled
    as one loop nest: private functions with the attribute `lumen.kernel`, called
    in the place of their ops. What belongs together:

    - "product": a `lumen.qlinear` with its element-wise epilogue. That is
      activation functions and `lumen.mul` of nothing but its results (gated
      units). It is also `lumen.add` of a result and a value from elsewhere (the
      residual), where nothing else reads the result;
    - "attention": `lumen.attention` and the `lumen.quantize` of its result;
    - "rows": chains of ops that work row by row, such as norm and quantize; and
      the `lumen.rope` and `lumen.kv_append` of the same rows;
    - "pack": `lumen.pack`;
    - "tensor": ops of linalg, tensor, arith, math and scf that depend on one another. What
      they compute together is decided in the kernel. Results of open size have arguments
      that say it (`lumen.result_sizes`).

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
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
    "::mlir::func::FuncDialect", "::mlir::lumen::LumenDialect", "::mlir::tensor::TensorDialect"];
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
  let dependentDialects = ["::mlir::lumen::LumenDialect"];
}

#endif // LUMEN_PASSES_LUMEN_TO_FUSED

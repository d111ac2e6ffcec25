// SPDX-License-Identifier: Apache-2.0
//
// Weights and their products, as models say them and as kernels compute them.
#ifndef LUMEN_PRODUCT_OPS
#define LUMEN_PRODUCT_OPS

include "dialect/LumenOpBase.td"

def Lumen_DequantizeOp : Lumen_Op<"dequantize", [Pure, WeightUserOpInterface,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the float32 values of a quantized weight";
  let description = [{
    Applies the format of the element type to every block:
    `tensor<NxKx!lumen.q<@f>>` becomes `tensor<NxKxf32>`. It exists to say what
    is computed; on the fast path it is fused away and no float copy of a weight
    is ever made.

    ```mlir
    %f = lumen.dequantize %w : tensor<896x896x!lumen.q<@q8_0>> -> tensor<896x896xf32>
    ```
  }];
  let arguments = (ins Lumen_Quantized:$weight);
  let results = (outs Lumen_FloatWeight:$result);
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getWeightOperands() { return getWeightMutable(); }
  }];
  let assemblyFormat = "$weight attr-dict `:` type($weight) `->` type($result)";
  let hasVerifier = 1;
}

def Lumen_LinearOp : Lumen_Op<"linear", [Pure, WeightUserOpInterface]> {
  let summary = "y = x Wᵀ + b";
  let description = [{
    `result[t, n] = sum_k x[t, k] * weight[n, k] (+ bias[n])` in float32.

    ```mlir
    %y = lumen.linear %x, %w bias(%b : tensor<128xf32>)
       : tensor<?x896xf32>, tensor<128x896xf32> -> tensor<?x128xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x, Lumen_FloatWeight:$weight, Optional<Lumen_Vec>:$bias);
  let results = (outs Lumen_Rows:$result);
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getWeightOperands() { return getWeightMutable(); }
  }];
  let assemblyFormat = [{
    $x `,` $weight (`bias` `(` $bias^ `:` type($bias) `)`)? attr-dict
    `:` type($x) `,` type($weight) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Lumen_ExpertLinearOp : Lumen_Op<"expert_linear", [Pure, WeightUserOpInterface]> {
  let summary = "the products of sorted tokens with the weights of their experts";
  let description = [{
    `weight` holds the matrices of all experts, one below the other: E x N rows of K
    columns. Row i of `x`, seen as T * S rows of K columns, is multiplied with the
    matrix of the expert whose group (see `lumen.group_tokens`) it is in:

        result[i, n] = sum_k x[i, k] * weight[expert * N + n, k].

    Of experts without tokens nothing is read.

    ```mlir
    %y = lumen.expert_linear %x, %w, %groups
       : tensor<?x7168xf32>, tensor<98304x896xf32>, tensor<129x2xi32> -> tensor<?x6144xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x, Lumen_FloatWeight:$weight, Lumen_Groups:$groups);
  let results = (outs Lumen_Rows:$result);
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getWeightOperands() { return getWeightMutable(); }
  }];
  let assemblyFormat = [{
    $x `,` $weight `,` $groups attr-dict
    `:` type($x) `,` type($weight) `,` type($groups) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Lumen_QuantizeOp : Lumen_RowOp<"quantize"> {
  let summary = "8-bit codes of activations";
  let description = [{
    For every group of `group` values of a row, with m = max|x|:

        scale = m / 127,   code = round_half_even(x * (127 / m)),

    all codes being 0 where m < 2^-120, whose inverse may not fit float32,

    and for every `sum_group` values `sum = sum code` and `offset = bias * sum code`.
    Where `bias` is that of a weight's codes, integer sums start from the offset;
    `sum` multiplies the minima of formats that have them. Sums are f32, or i16
    where the minima of all weights are small integers times a float of the block.

    ```mlir
    %codes, %scales, %offsets, %sums = lumen.quantize %x {group = 32 : i64, sum_group = 32 : i64}
       : tensor<?x896xf32> -> tensor<?x896xi8>, tensor<?x28xf32>, tensor<?x28xi32>, tensor<?x28xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x,
    DefaultValuedAttr<I64Attr, "32">:$group,
    DefaultValuedAttr<I64Attr, "32">:$sum_group,
    DefaultValuedAttr<I64Attr, "-1">:$bias);
  let results = (outs Lumen_Codes:$codes, Lumen_Rows:$scales, Lumen_Offsets:$offsets, Lumen_Sums:$sums);
  let assemblyFormat = [{
    $x attr-dict `:` type($x) `->` type($codes) `,` type($scales) `,` type($offsets) `,` type($sums)
  }];
  let builders = [OpBuilder<(ins "Value":$x, "int64_t":$group, "int64_t":$sumGroup,
    CArg<"int64_t", "-1">:$bias, CArg<"bool", "false">:$integerSums)>];
  let hasVerifier = 1;
}

def Lumen_PackOp : Lumen_KernelOp<"pack", "Pack", [WeightUserOpInterface,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a weight in its packed layout";
  let description = [{
    Re-encodes the codes of a weight into bit planes interleaved over the rows of a
    tile, keeping their width and the width of the scales. Done once, at load.

    ```mlir
    %p = lumen.pack %w : tensor<?x?x!lumen.q<@q8_0>>
                      -> tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>
    ```
  }];
  let arguments = (ins Lumen_Weight:$weight);
  let results = (outs Lumen_Weight:$result);
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getWeightOperands() { return getWeightMutable(); }
  }];
  let assemblyFormat = "$weight attr-dict `:` type($weight) `->` type($result)";
  let hasVerifier = 1;
}

def Lumen_QLinearOp : Lumen_KernelOp<"qlinear", "Product", [AttrSizedOperandSegments,
    WeightUserOpInterface, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "products of one activation with quantized weights";
  let description = [{
    `result_i[t, n] = sum_k x[t, k] * weight_i[n, k] (+ bias_i[n])`. x is given as
    the four results of `lumen.quantize` (integer products), as float32 rows (exact
    products), or rounded to bf16 for weights in bf16. Several weights that read the
    same activation are one op: Q, K and V, or gate and up. There are as many biases
    as weights, or none. A weight whose result nobody reads is dropped.

    The integer form adds one term to the result for every scale of the activations,
    in ascending order: `xscale[t] * sum_g (f32(isum_g) * scale[n, g] - min[n, g] *
    sum[t, g])`. It sums over the groups that have this scale of the activations. The
    integers of a group, `isum = sum v(code) * xcode`, are exact. A scale
    serves a multiple of 32 columns that divides the blocks of all weights. The
    offsets are the sums of codes times `offset_bias`.

    With `groups` the weights are those of experts: see `lumen.expert_linear`.

    ```mlir
    %q, %k = lumen.qlinear activations(%c, %s, %o, %m
        : tensor<?x896xi8>, tensor<?x28xf32>, tensor<?x28xi32>, tensor<?x28xf32>)
      weights(%wq, %wk : tensor<896x896x!lumen.q<@q8_0>>, tensor<128x896x!lumen.q<@q8_0>>)
      -> tensor<?x896xf32>, tensor<?x128xf32>
    ```
  }];
  let arguments = (ins Variadic<Lumen_Activation>:$activations, Variadic<Lumen_Weight>:$weights,
    Variadic<Lumen_Vec>:$biases, Optional<Lumen_Groups>:$groups,
    DefaultValuedAttr<I64Attr, "-1">:$offset_bias);
  let results = (outs Variadic<Lumen_Rows>:$outputs);
  let assemblyFormat = [{
    `activations` `(` $activations `:` type($activations) `)`
    `weights` `(` $weights `:` type($weights) `)`
    (`biases` `(` $biases^ `:` type($biases) `)`)?
    (`groups` `(` $groups^ `:` type($groups) `)`)? attr-dict `->` type($outputs)
  }];
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getWeightOperands() { return getWeightsMutable(); }
    /// True where the activation is given as 8-bit codes.
    bool isInteger() { return getActivations().size() == 4; }
    /// True where it is given in bf16, as the weights are.
    bool isBf16() {
      return getActivations().size() == 1 &&
             ::mlir::getElementTypeOrSelf(getActivations().front().getType()).isBF16();
    }
    /// Number of input columns: those of the weights.
    int64_t getColumns() {
      return ::llvm::cast<::mlir::RankedTensorType>(getWeights().front().getType()).getDimSize(1);
    }
    /// Matrices that every weight holds.
    int64_t getExperts() {
      return getGroups() ? getGroups().getType().getDimSize(0) - 1 : 1;
    }
    /// Codes that share a scale, of an integer activation.
    int64_t getActivationGroup();
    /// Rows of `getColumns()` columns that every row of an activation holds.
    int64_t getSlots();
  }];
}

#endif // LUMEN_PRODUCT_OPS

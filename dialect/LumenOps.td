// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_OPS
#define LUMEN_OPS

include "dialect/LumenDialect.td"
include "dialect/LumenTypes.td"
include "dialect/LumenAttrs.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Lumen_Op<string mnemonic, list<Trait> traits = []>
    : Op<Lumen_Dialect, mnemonic, traits>;

//===----------------------------------------------------------------------===//
// Operand types. T is the (dynamic) number of tokens of a step.
//===----------------------------------------------------------------------===//

def Lumen_Rows : 2DTensorOf<[F32]>;       // T x K activations
def Lumen_Vec : 1DTensorOf<[F32]>;        // K values: norm weights, biases
def Lumen_Tokens : 1DTensorOf<[I32]>;     // T token ids
def Lumen_Codes : 2DTensorOf<[I8]>;       // T x K activation codes
def Lumen_Offsets : 2DTensorOf<[I32]>;    // T x K/sum_group
def Lumen_WeightElement : AnyTypeOf<[Lumen_QuantType, F32, F16, BF16]>;
def Lumen_Slots : 2DTensorOf<[I32]>;      // T x used experts
def Lumen_Groups : 2DTensorOf<[I32]>;     // (experts + 1) x 2
def Lumen_Weight : 2DTensorOf<[Lumen_WeightElement]>;  // N x K, raw or packed
def Lumen_Quantized : 2DTensorOf<[Lumen_QuantType]>;
def Lumen_FloatWeight : 2DTensorOf<[F32, F16, BF16]>;
def Lumen_Activation : AnyTypeOf<[Lumen_Rows, Lumen_Codes, Lumen_Offsets]>;
// Pages of floats, or of bytes (8-bit codes and their scales).
def Lumen_Cache : AnyTypeOf<[TensorRankOf<[F16, F32], [5]>, TensorRankOf<[I8], [4]>]>;
def Lumen_Bytes : MemRefRankOf<[I8], [1]>;
def Lumen_StorageField : AnyTypeOf<[AnyFloat, AnySignlessInteger,
    FixedVectorOfRankAndType<[1], [AnySignlessInteger, AnyFloat]>]>;

//===----------------------------------------------------------------------===//
// Formats
//===----------------------------------------------------------------------===//

def Lumen_FormatOp : Lumen_Op<"format", [Symbol, IsolatedFromAbove, SingleBlock]> {
  let summary = "describes a quantization format";
  let description = [{
    A format says how one block of `block` weights is stored and how its bytes
    become integer codes and scales. The block arguments of the region are the
    storage fields in file order; `storage` names them. The region ends in
    `lumen.decoded`.

    With v(c) = `table`[c] where a table is given and c + `bias` otherwise, the
    weight k of a block, in group g = k / `group`, is

        weight[k] = scale[g] * v(code[k]) - min[g].

    The first `header` storage fields stand once at the start of every row, before
    its blocks: scales per output channel.

    ```mlir
    lumen.format @q4_0 block(32) group(32) bits(4) bias(-8) storage(["d", "qs"]) {
    ^bb0(%d: f16, %qs: vector<16xi8>):
      %mask = arith.constant dense<15> : vector<16xi8>
      %four = arith.constant dense<4> : vector<16xi8>
      %lo = arith.andi %qs, %mask : vector<16xi8>
      %hi = arith.shrui %qs, %four : vector<16xi8>
      %codes = vector.shuffle %lo, %hi [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]
        : vector<16xi8>, vector<16xi8>
      lumen.decoded codes(%codes : vector<32xi8>) scale(%d : f16)
    }
    ```
  }];
  let arguments = (ins
    SymbolNameAttr:$sym_name,
    OptionalAttr<StrAttr>:$sym_visibility,
    ConfinedAttr<I64Attr, [IntPositive]>:$block,
    ConfinedAttr<I64Attr, [IntPositive]>:$group,
    ConfinedAttr<I64Attr, [IntMinValue<1>, IntMaxValue<8>]>:$bits,
    DefaultValuedAttr<I64Attr, "0">:$bias,
    OptionalAttr<DenseI8ArrayAttr>:$table,
    DefaultValuedAttr<ConfinedAttr<I64Attr, [IntNonNegative]>, "0">:$header,
    StrArrayAttr:$storage);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `block` `(` $block `)` `group` `(` $group `)` `bits` `(` $bits `)`
    (`bias` `(` $bias^ `)`)? (`table` `(` $table^ `)`)? (`header` `(` $header^ `)`)?
    `storage` `(` $storage `)` attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The terminator of the region.
    ::mlir::lumen::DecodedOp getDecoded();
    /// Bytes of the fields that stand once at the start of a row.
    int64_t getHeaderBytes();
    /// Bytes of one stored block, without the header.
    int64_t getBlockBytes();
    /// Bytes of a row of this many columns.
    int64_t getRowBytes(int64_t columns);
    /// Byte offset of storage field `index`: inside the row for fields of the
    /// header, inside a block for others.
    int64_t getFieldOffset(unsigned index);
    /// Number of codes whose integer sum shares one scale: min(group, 32).
    int64_t getSumGroup() { return std::min<int64_t>(getGroup(), 32); }
  }];
}

def Lumen_DecodedOp : Lumen_Op<"decoded", [Terminator, Pure, HasParent<"FormatOp">,
    AttrSizedOperandSegments]> {
  let summary = "what a block of a format decodes to";
  let description = [{
    `codes` are the unsigned codes of the block. The scale (and the optional
    minimum) of a group is the product of the factors given: a scalar float per
    block (or row, if it depends on the header only), a vector with one entry per
    group, or both. Vector entries of type i8 or i32 are signed integers.

    ```mlir
    lumen.decoded codes(%codes : vector<256xi8>) scale(%d, %sc : f16, vector<8xi8>)
                  min(%dmin, %mn : f16, vector<8xi8>)
    ```
  }];
  let arguments = (ins
    FixedVectorOfRankAndType<[1], [I8]>:$codes,
    Variadic<AnyType>:$scale,
    Variadic<AnyType>:$min);
  let assemblyFormat = [{
    `codes` `(` $codes `:` type($codes) `)` `scale` `(` $scale `:` type($scale) `)`
    (`min` `(` $min^ `:` type($min) `)`)? attr-dict
  }];
  let hasVerifier = 1;
}

def Lumen_StoredOp : Lumen_Op<"stored", [Pure, HasParent<"FormatOp">,
    AllTypesMatch<["value", "result"]>]> {
  let summary = "what a packed weight keeps of a factor";
  let description = [{
    The identity. It marks the value behind a scale or minimum that the packed
    weight keeps, where that is narrower than the factor itself; what follows up to
    `lumen.decoded` works element by element and is done where the factor is used.
    Integers are unsigned and below 2^`bits`, or signed of their whole type if
    `bits` is its width.

    ```mlir
    %kept = lumen.stored %nibbles bits(4) : vector<16xi8>
    %wide = arith.extui %kept : vector<16xi8> to vector<16xi32>
    ```
  }];
  let arguments = (ins AnyType:$value, ConfinedAttr<I64Attr, [IntPositive]>:$bits);
  let results = (outs AnyType:$result);
  let assemblyFormat = "$value `bits` `(` $bits `)` attr-dict `:` type($value)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// The model: value semantics on tensors
//===----------------------------------------------------------------------===//

def Lumen_DequantizeOp : Lumen_Op<"dequantize", [Pure,
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
  let assemblyFormat = "$weight attr-dict `:` type($weight) `->` type($result)";
  let hasVerifier = 1;
}

def Lumen_EmbeddingOp : Lumen_Op<"embedding", [Pure,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "rows of the embedding table";
  let description = [{
    `result[t, :] = table[tokens[t], :]`, dequantized to float32. The table is in
    the file's own layout, so only the rows asked for are ever touched.
    A `lumen.dequantize` of the table folds into the op.

    ```mlir
    %x = lumen.embedding %tokens, %table
       : tensor<?xi32>, tensor<151936x896x!lumen.q<@q8_0>> -> tensor<?x896xf32>
    ```
  }];
  let arguments = (ins Lumen_Tokens:$tokens, Lumen_Weight:$table);
  let results = (outs Lumen_Rows:$result);
  let assemblyFormat = [{
    $tokens `,` $table attr-dict `:` type($tokens) `,` type($table) `->` type($result)
  }];
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
}

def Lumen_LinearOp : Lumen_Op<"linear", [Pure]> {
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
  let assemblyFormat = [{
    $x `,` $weight (`bias` `(` $bias^ `:` type($bias) `)`)? attr-dict
    `:` type($x) `,` type($weight) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Lumen_RmsNormOp : Lumen_Op<"rms_norm", [Pure, AllTypesMatch<["x", "result"]>]> {
  let summary = "root mean square normalization";
  let description = [{
    `result[t, k] = x[t, k] / sqrt(mean_k(x[t, k]^2) + epsilon) * weight[k]`.

    A weight of fewer values than a row normalizes every head of so many columns on
    its own, each with this weight.

    ```mlir
    %n = lumen.rms_norm %x, %w {epsilon = 1.0e-06 : f32}
       : tensor<?x896xf32>, tensor<896xf32>
    %h = lumen.rms_norm %q, %wq {epsilon = 1.0e-06 : f32}
       : tensor<?x896xf32>, tensor<64xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x, Lumen_Vec:$weight, F32Attr:$epsilon);
  let results = (outs Lumen_Rows:$result);
  let assemblyFormat = "$x `,` $weight attr-dict `:` type($x) `,` type($weight)";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// True where every head is normalized on its own.
    bool isPerHead();
  }];
}

def Lumen_RopeOp : Lumen_Op<"rope", [Pure, AllTypesMatch<["x", "result"]>]> {
  let summary = "rotary position embedding";
  let description = [{
    Rotates pairs of every head of `x` (T x heads*head_dim). Row p of `table` holds
    cos(theta_i p) for i < rot/2, then sin(theta_i p), for the absolute position p;
    row t of `x` stands at `position` + t. The first `rot` values of a head turn;
    the pair i is (i, i + rot/2) in style "neox" and (2i, 2i + 1) in style "norm":

        a' = a cos - b sin,   b' = a sin + b cos.

    ```mlir
    %r = lumen.rope %q, %table, %position {head_dim = 64 : i64, style = "neox"}
       : tensor<?x896xf32>, tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x, Lumen_Rows:$table, Index:$position,
    ConfinedAttr<I64Attr, [IntPositive]>:$head_dim, StrAttr:$style);
  let results = (outs Lumen_Rows:$result);
  let assemblyFormat = "$x `,` $table `,` $position attr-dict `:` type($x) `,` type($table)";
  let hasVerifier = 1;
}

def Lumen_KvAppendOp : Lumen_Op<"kv_append", [Pure, AllTypesMatch<["cache", "result"]>]> {
  let summary = "writes new rows into a KV cache";
  let description = [{
    Writes the rows of `x` (T x kv_heads*D) as positions `position` + t of layer
    `layer`. A "key" cache is `[layer][kv head][position/16][d][position%16]`: the
    lanes of a vector are positions, so a score needs no horizontal sum. A "value"
    cache is `[layer][kv head][position/16][position%16][d]`. A cache is a ring: past
    its last block, positions begin again at the first one.

    A cache of i8 is `[layer][kv head][position/16][byte]`. Per 32 values of a head (the
    last group may be shorter), with m = max|x|, it keeps `code = round_half_even(x *
    (127 / m))` and the scale `m / 127` as f16. First the codes of the 16 positions of
    a page, of keys as `[d/4][position%16][d%4]` with 128 added, of values as
    `[position%16][d]`; then the scales, `[group][position%16]`. D is a multiple of 4.

    ```mlir
    %k2 = lumen.kv_append %k, %x, %layer, %position {kind = "key"}
        : tensor<24x2x?x64x16xf16>, tensor<?x128xf32>
    %k3 = lumen.kv_append %k8, %x, %layer, %position {kind = "key"}
        : tensor<24x2x?x1088xi8>, tensor<?x128xf32>
    ```
  }];
  let arguments = (ins Lumen_Cache:$cache, Lumen_Rows:$x, Index:$layer, Index:$position, StrAttr:$kind);
  let results = (outs Lumen_Cache:$result);
  let extraClassDeclaration = [{
    /// D, the values of a head.
    int64_t getHeadDim();
  }];
  let assemblyFormat = [{
    $cache `,` $x `,` $layer `,` $position attr-dict `:` type($cache) `,` type($x)
  }];
  let hasVerifier = 1;
}

def Lumen_AttentionOp : Lumen_Op<"attention", [Pure, AllTypesMatch<["q", "result"]>]> {
  let summary = "causal attention over the KV cache";
  let description = [{
    Row t of `q` (T x heads*D) stands at `position` + t and attends to the positions
    0 .. `position` + t of `layer`. Query head h reads KV head h / (heads / kv_heads):

        result[t, h] = sum_j softmax_j(scale * q[t, h] . k[j]) v[j].

    With a `window` of w, only the last w of these positions count, and the caches
    may be rings (see `lumen.kv_append`) of a multiple of 64 positions that hold at
    least the w - 1 positions before the step's first and those of the step.

    Where the caches are of i8, `scale * log2(e) * q[t, h]` is rounded to 8-bit codes
    in the same groups, with a scale in float32, so that the products are integers.

    ```mlir
    %a = lumen.attention %q, %k, %v, %layer, %position
           {heads = 14 : i64, kv_heads = 2 : i64, scale = 1.250000e-01 : f32}
       : tensor<?x896xf32>, tensor<24x2x?x64x16xf16>, tensor<24x2x?x16x64xf16>
    ```
  }];
  let arguments = (ins Lumen_Rows:$q, Lumen_Cache:$k, Lumen_Cache:$v, Index:$layer, Index:$position,
    ConfinedAttr<I64Attr, [IntPositive]>:$heads,
    ConfinedAttr<I64Attr, [IntPositive]>:$kv_heads,
    F32Attr:$scale,
    OptionalAttr<ConfinedAttr<I64Attr, [IntPositive]>>:$window);
  let results = (outs Lumen_Rows:$result);
  let extraClassDeclaration = [{
    /// D, the values of a head.
    int64_t getHeadDim();
  }];
  let assemblyFormat = [{
    $q `,` $k `,` $v `,` $layer `,` $position attr-dict `:` type($q) `,` type($k) `,` type($v)
  }];
  let hasVerifier = 1;
}

def Lumen_SwigluOp : Lumen_Op<"swiglu", [Pure, AllTypesMatch<["gate", "up", "result"]>]> {
  let summary = "gated activation of the feed-forward block";
  let description = [{
    `result = gate / (1 + exp(-gate)) * up`, element by element.

    ```mlir
    %h = lumen.swiglu %gate, %up : tensor<?x4864xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$gate, Lumen_Rows:$up);
  let results = (outs Lumen_Rows:$result);
  let assemblyFormat = "$gate `,` $up attr-dict `:` type($gate)";
}

def Lumen_AddOp : Lumen_Op<"add", [Pure, Commutative, AllTypesMatch<["lhs", "rhs", "result"]>]> {
  let summary = "sum of two activations (the residual connection)";
  let description = [{
    `result = lhs + rhs`, element by element.

    ```mlir
    %y = lumen.add %x, %a : tensor<?x896xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$lhs, Lumen_Rows:$rhs);
  let results = (outs Lumen_Rows:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs)";
}

def Lumen_ScaleOp : Lumen_Op<"scale", [Pure, AllTypesMatch<["x", "result"]>]> {
  let summary = "an activation times a constant";
  let description = [{
    `result = factor * x`, element by element: the multipliers of some models.

    ```mlir
    %y = lumen.scale %x {factor = 2.5 : f32} : tensor<?x896xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x, F32Attr:$factor);
  let results = (outs Lumen_Rows:$result);
  let assemblyFormat = "$x attr-dict `:` type($x)";
}

def Lumen_GateOp : Lumen_Op<"gate", [Pure, AllTypesMatch<["x", "result"]>]> {
  let summary = "rows times the sigmoid of one number each";
  let description = [{
    `result[t, n] = x[t, n] / (1 + exp(-gate[t, 0]))`: how much of a shared expert
    a token takes.

    ```mlir
    %y = lumen.gate %x, %g : tensor<?x896xf32>, tensor<?x1xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x, Lumen_Rows:$gate);
  let results = (outs Lumen_Rows:$result);
  let assemblyFormat = "$x `,` $gate attr-dict `:` type($x) `,` type($gate)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Mixtures of experts
//===----------------------------------------------------------------------===//

def Lumen_RouteOp : Lumen_Op<"route", [Pure]> {
  let summary = "chooses the experts of every token";
  let description = [{
    With p = softmax or sigmoid of a row of `logits` (T x experts), chooses the K
    experts of largest p + `bias`, the largest first and of equal ones the one of
    the smaller number. `bias` decides the choice only: the weights are the p of
    the chosen experts, divided by their sum if `normalized`, times `scale`.

    ```mlir
    %e, %w = lumen.route %logits bias(%b : tensor<128xf32>)
        {gating = "sigmoid", normalized = true, scale = 2.5 : f32}
      : tensor<?x128xf32> -> tensor<?x8xi32>, tensor<?x8xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$logits, Optional<Lumen_Vec>:$bias, StrAttr:$gating,
    BoolAttr:$normalized, F32Attr:$scale);
  let results = (outs Lumen_Slots:$experts, Lumen_Rows:$weights);
  let assemblyFormat = [{
    $logits (`bias` `(` $bias^ `:` type($bias) `)`)? attr-dict
    `:` type($logits) `->` type($experts) `,` type($weights)
  }];
  let hasVerifier = 1;
}

def Lumen_GroupTokensOp : Lumen_Op<"group_tokens", [Pure]> {
  let summary = "sorts the tokens by their experts";
  let description = [{
    The T * K pairs of a token and one of its experts are put in order of the
    experts (and of the tokens, for one expert). Number i of that order stands at
    place (i / K, i % K):

    - `source[i]` is its token,
    - `place[t, s]` the number that slot s of token t has got,
    - `groups[g]` is (expert, its first number) of the g-th expert that has tokens;
      the entries behind the last one are (0, T * K).

    ```mlir
    %source, %place, %groups = lumen.group_tokens %e
      : tensor<?x8xi32> -> tensor<?x8xi32>, tensor<?x8xi32>, tensor<129x2xi32>
    ```
  }];
  let arguments = (ins Lumen_Slots:$experts);
  let results = (outs Lumen_Slots:$source, Lumen_Slots:$place, Lumen_Groups:$groups);
  let assemblyFormat = [{
    $experts attr-dict `:` type($experts) `->` type($source) `,` type($place) `,` type($groups)
  }];
  let hasVerifier = 1;
}

def Lumen_GatherRowsOp : Lumen_Op<"gather_rows", [Pure]> {
  let summary = "rows in the order of another table";
  let description = [{
    `result[t, s * K + k] = x[source[t, s], k]` for rows of K columns: the tokens,
    sorted by their experts.

    ```mlir
    %y = lumen.gather_rows %x, %source : tensor<?x896xf32>, tensor<?x8xi32> -> tensor<?x7168xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x, Lumen_Slots:$source);
  let results = (outs Lumen_Rows:$result);
  let assemblyFormat = "$x `,` $source attr-dict `:` type($x) `,` type($source) `->` type($result)";
  let hasVerifier = 1;
}

def Lumen_ExpertLinearOp : Lumen_Op<"expert_linear", [Pure]> {
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
  let assemblyFormat = [{
    $x `,` $weight `,` $groups attr-dict
    `:` type($x) `,` type($weight) `,` type($groups) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Lumen_CombineOp : Lumen_Op<"combine", [Pure]> {
  let summary = "adds up what the experts of every token say";
  let description = [{
    `result[t, n] = sum_s weights[t, s] * x[place[t, s], n]`, in the order of the
    slots, where `x` is seen as T * S rows of N columns.

    ```mlir
    %y = lumen.combine %x, %weights, %place
       : tensor<?x7168xf32>, tensor<?x8xf32>, tensor<?x8xi32> -> tensor<?x896xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x, Lumen_Rows:$weights, Lumen_Slots:$place);
  let results = (outs Lumen_Rows:$result);
  let assemblyFormat = [{
    $x `,` $weights `,` $place attr-dict
    `:` type($x) `,` type($weights) `,` type($place) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Lumen_LastRowsOp : Lumen_Op<"last_rows", [Pure]> {
  let summary = "the rows from `first` on";
  let description = [{
    `result[i, :] = x[first + i, :]`; used so that the output head is computed only
    for the tokens whose logits are wanted. `first` is at most the number of rows.
    A constant `first` of zero folds away.

    ```mlir
    %y = lumen.last_rows %x, %first : tensor<?x896xf32> -> tensor<?x896xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x, Index:$first);
  let results = (outs Lumen_Rows:$result);
  let assemblyFormat = "$x `,` $first attr-dict `:` type($x) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

//===----------------------------------------------------------------------===//
// The fused form
//===----------------------------------------------------------------------===//

def Lumen_QuantizeOp : Lumen_Op<"quantize", [Pure]> {
  let summary = "8-bit codes of activations";
  let description = [{
    For every group of `group` values of a row, with m = max|x|:

        scale = m / 127,   code = round_half_even(x * (127 / m)),

    all codes being 0 where m < 2^-120, whose inverse may not fit float32,

    and for every `sum_group` values `offset = -sum code` and `sum = scale * sum code`.
    The offset is negated so that a bias of -2^n of the weight's codes is one
    shift; `sum` multiplies the minima of formats that have them.

    ```mlir
    %codes, %scales, %offsets, %sums = lumen.quantize %x {group = 32 : i64, sum_group = 32 : i64}
       : tensor<?x896xf32> -> tensor<?x896xi8>, tensor<?x28xf32>, tensor<?x28xi32>, tensor<?x28xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x,
    DefaultValuedAttr<I64Attr, "32">:$group,
    DefaultValuedAttr<I64Attr, "32">:$sum_group);
  let results = (outs Lumen_Codes:$codes, Lumen_Rows:$scales, Lumen_Offsets:$offsets, Lumen_Rows:$sums);
  let assemblyFormat = [{
    $x attr-dict `:` type($x) `->` type($codes) `,` type($scales) `,` type($offsets) `,` type($sums)
  }];
  let builders = [OpBuilder<(ins "Value":$x, "int64_t":$group, "int64_t":$sumGroup)>];
  let hasVerifier = 1;
}

def Lumen_PackOp : Lumen_Op<"pack", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a weight in its packed layout";
  let description = [{
    Re-encodes the codes of a weight into bit planes interleaved over the rows of a
    tile, keeping their width and the width of the scales. Done once, at load.

    ```mlir
    %p = lumen.pack %w : tensor<?x?x!lumen.q<@q8_0>>
                      -> tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16>>
    ```
  }];
  let arguments = (ins Lumen_Weight:$weight);
  let results = (outs Lumen_Weight:$result);
  let assemblyFormat = "$weight attr-dict `:` type($weight) `->` type($result)";
  let hasVerifier = 1;
}

def Lumen_QLinearOp : Lumen_Op<"qlinear", [Pure, AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "products of one activation with quantized weights";
  let description = [{
    `result_i[t, n] = sum_k x[t, k] * weight_i[n, k] (+ bias_i[n])`, where x is given
    either as the four results of `lumen.quantize` (integer products) or as float32
    rows (exact products). Several weights that read the same activation are one
    op: Q, K and V, or gate and up. There are as many biases as weights, or none.
    A weight whose result nobody reads is dropped.

    For each group of min(group, 32) weights, in ascending order, the integer form
    adds `f32(isum) * (scale[n, g] * xscale[t, k/32])` to the result, with
    `isum = sum v(code) * xcode` exact, and then `-min[n, g] * sum[t, g]`.

    With `groups` the weights are those of experts: see `lumen.expert_linear`.

    ```mlir
    %q, %k = lumen.qlinear activations(%c, %s, %o, %m
        : tensor<?x896xi8>, tensor<?x28xf32>, tensor<?x28xi32>, tensor<?x28xf32>)
      weights(%wq, %wk : tensor<896x896x!lumen.q<@q8_0>>, tensor<128x896x!lumen.q<@q8_0>>)
      -> tensor<?x896xf32>, tensor<?x128xf32>
    ```
  }];
  let arguments = (ins Variadic<Lumen_Activation>:$activations, Variadic<Lumen_Weight>:$weights,
    Variadic<Lumen_Vec>:$biases, Optional<Lumen_Groups>:$groups);
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
    /// True where the activation is given as 8-bit codes.
    bool isInteger() { return getActivations().size() == 4; }
    /// Number of input columns: those of the weights.
    int64_t getColumns() {
      return ::llvm::cast<::mlir::RankedTensorType>(getWeights().front().getType()).getDimSize(1);
    }
    /// Matrices that every weight holds.
    int64_t getExperts() {
      return getGroups() ? getGroups().getType().getDimSize(0) - 1 : 1;
    }
    /// Rows of `getColumns()` columns that every row of an activation holds.
    int64_t getSlots();
  }];
}

//===----------------------------------------------------------------------===//
// Below tensors: bytes, registers, the team
//===----------------------------------------------------------------------===//

def Lumen_FromBytesOp : Lumen_Op<"from_bytes", [Pure,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the weight that a byte buffer holds";
  let description = [{
    Where bytes become a weight: marks that `bytes` holds a weight of the result's
    shape, format and layout. `sizes` are the dynamic dimensions of the result.
    Kernel synthesis reads the bytes; the weight itself is never materialized.

    ```mlir
    %w = lumen.from_bytes %bytes : memref<956032xi8>
      -> tensor<896x896x!lumen.q<@q8_0>, #lumen.packed<rows = 16>>
    ```
  }];
  let arguments = (ins Lumen_Bytes:$bytes, Variadic<Index>:$sizes);
  let results = (outs Lumen_Weight:$weight);
  let assemblyFormat = "$bytes (`,` $sizes^)? attr-dict `:` type($bytes) `->` type($weight)";
  let hasVerifier = 1;
}

def Lumen_ToBytesOp : Lumen_Op<"to_bytes"> {
  let summary = "stores a packed weight into a byte buffer";
  let description = [{
    The destination form of a packed weight: the bytes of `weight`, in its layout,
    go to `bytes`.

    ```mlir
    lumen.to_bytes %p into %bytes
      : tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16>>, memref<?xi8>
    ```
  }];
  let arguments = (ins Lumen_Weight:$weight, Arg<Lumen_Bytes, "", [MemWrite]>:$bytes);
  let assemblyFormat = "$weight `into` $bytes attr-dict `:` type($weight) `,` type($bytes)";
}

def Lumen_Dot4Op : Lumen_Op<"dot4", [Pure, AllTypesMatch<["acc", "result"]>]> {
  let summary = "four-way dot product of 8-bit lanes";
  let description = [{
    With R lanes of 32 bits:

        result[r] = acc[r] + sum_{j<4} codes[4r + j] * x[j].

    `codes` are unsigned and below 2^`bits`, or signed where the op says
    `signed_codes`; `x` is signed, in -127 .. 127. It is what a target implements:
    `vpdpbusd`, `vpmaddubsw` and `vpmaddwd`, `usdot`, ….

    ```mlir
    %r = lumen.dot4 %codes, %x, %acc {bits = 4 : i64} : vector<64xi8>, vector<4xi8>, vector<16xi32>
    %s = lumen.dot4 %w, %x, %acc {bits = 8 : i64, signed_codes}
       : vector<64xi8>, vector<4xi8>, vector<16xi32>
    ```
  }];
  let arguments = (ins
    FixedVectorOfRankAndType<[1], [I8]>:$codes,
    FixedVectorOfRankAndType<[1], [I8]>:$x,
    FixedVectorOfRankAndType<[1], [I32]>:$acc,
    ConfinedAttr<I64Attr, [IntMinValue<1>, IntMaxValue<8>]>:$bits,
    UnitAttr:$signed_codes);
  let results = (outs FixedVectorOfRankAndType<[1], [I32]>:$result);
  let assemblyFormat = [{
    $codes `,` $x `,` $acc attr-dict `:` type($codes) `,` type($x) `,` type($acc)
  }];
  let hasVerifier = 1;
}

def Lumen_LookupOp : Lumen_Op<"lookup", [Pure, SameOperandsAndResultType, Elementwise, Scalarizable,
    Vectorizable, Tensorizable]> {
  let summary = "small table lookup in registers";
  let description = [{
    `result = table[index]` for every element; the table has at most 16 entries and
    every index is inside it. On x86 this is one byte shuffle.

    ```mlir
    %v = lumen.lookup %codes [-127, -104, -83, -65, -49, -35, -22, -10,
                              1, 13, 25, 38, 53, 69, 89, 113] : vector<64xi8>
    ```
  }];
  let arguments = (ins SignlessIntegerLike:$index, DenseI8ArrayAttr:$table);
  let results = (outs SignlessIntegerLike:$result);
  let assemblyFormat = "$index $table attr-dict `:` type($index)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Lumen_WorkerIdOp : Lumen_Op<"worker_id", [Pure]> {
  let summary = "number of the worker that runs this code";
  let description = [{
    In 0 .. `lumen.worker_count` - 1. What a worker is (a thread, a block of a grid)
    is decided by the target's last lowering.

    ```mlir
    %id = lumen.worker_id
    ```
  }];
  let results = (outs Index:$result);
  let assemblyFormat = "attr-dict";
}

def Lumen_WorkerCountOp : Lumen_Op<"worker_count", [Pure]> {
  let summary = "size of the team of workers";
  let description = [{
    ```mlir
    %count = lumen.worker_count
    ```
  }];
  let results = (outs Index:$result);
  let assemblyFormat = "attr-dict";
}

def Lumen_BarrierOp : Lumen_Op<"barrier"> {
  let summary = "waits until every worker of the team is here";
  let description = [{
    What any worker wrote before the barrier is visible to all after it.

    ```mlir
    lumen.barrier
    ```
  }];
  let assemblyFormat = "attr-dict";
}

#endif // LUMEN_OPS

// SPDX-License-Identifier: Apache-2.0
//
// Attention, and what it needs of positions: rotation, the KV cache.
#ifndef LUMEN_ATTENTION_OPS
#define LUMEN_ATTENTION_OPS

include "dialect/LumenOpBase.td"

def Lumen_RopeOp : Lumen_RowOp<"rope", [AllTypesMatch<["x", "result"]>]> {
  let summary = "rotary position embedding";
  let description = [{
    Rotates pairs of every head of `x` (T x heads*head_dim). Row p of `table` holds
    cos(theta_i p) for i < rot/2, then sin(theta_i p), for the absolute position p;
    row t of `x` stands at `positions[t]`. The first `rot` values of a head turn;
    the pair i is (i, i + rot/2) in style "neox" and (2i, 2i + 1) in style "norm":

        a' = a cos - b sin,   b' = a sin + b cos.

    ```mlir
    %r = lumen.rope %q, %table, %positions {head_dim = 64 : i64, style = "neox"}
       : tensor<?x896xf32>, tensor<?x64xf32>, tensor<?xi32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x, Lumen_Rows:$table, Lumen_Numbers:$positions,
    ConfinedAttr<I64Attr, [IntPositive]>:$head_dim, StrAttr:$style);
  let results = (outs Lumen_Rows:$result);
  let extraClassDeclaration = [{
    ::llvm::SmallVector<NamedOperand> getBufferOperands() {
      return {{"table", getTable()}, {"positions", getPositions()}};
    }
  }];
  let assemblyFormat = [{
    $x `,` $table `,` $positions attr-dict `:` type($x) `,` type($table) `,` type($positions)
  }];
  let hasVerifier = 1;
}

def Lumen_KvAppendOp : Lumen_RowOp<"kv_append", [AllTypesMatch<["cache", "result"]>]> {
  let summary = "writes new rows into a KV cache";
  let description = [{
    Writes row t of `x` (T x kv_heads*D) to place `places[t]` of layer `layer`. A
    "key" cache is `[layer][kv head][place/16][d][place%16]`: the lanes of a vector
    are positions, so a score needs no horizontal sum. A "value" cache is
    `[layer][kv head][place/16][place%16][d]`. Four such blocks are a page, which
    holds 64 consecutive positions of one sequence (see `lumen.attention`).

    A cache of i8 is `[layer][kv head][place/16][byte]`. Per 32 values of a head (the
    last group may be shorter), with m = max|x|, it keeps `code = round_half_even(x *
    (127 / m))` and the scale `m / 127` as f16. First the codes of the 16 positions of
    a block, of keys as `[d/4][place%16][d%4]` with 128 added, of values as
    `[place%16][d]`; then the scales, `[group][place%16]`. D is a multiple of 4.

    ```mlir
    %k2 = lumen.kv_append %k, %x, %layer, %places {kind = "key"}
        : tensor<24x2x?x64x16xf16>, tensor<?x128xf32>, tensor<?xi32>
    %k3 = lumen.kv_append %k8, %x, %layer, %places {kind = "key"}
        : tensor<24x2x?x1088xi8>, tensor<?x128xf32>, tensor<?xi32>
    ```
  }];
  let arguments = (ins Lumen_Cache:$cache, Lumen_Rows:$x, Index:$layer, Lumen_Numbers:$places,
    StrAttr:$kind);
  let results = (outs Lumen_Cache:$result);
  let extraClassDeclaration = [{
    ::mlir::Value getRows() { return getX(); }
    ::mlir::Value getPositions() { return getPlaces(); }
    ::mlir::OpOperand *getUpdated() { return &getCacheMutable(); }
    ::llvm::SmallVector<NamedOperand> getBufferOperands() {
      return {{"cache", getCache()}, {"places", getPlaces()}};
    }
    /// D, the values of a head.
    int64_t getHeadDim();
  }];
  let assemblyFormat = [{
    $cache `,` $x `,` $layer `,` $places attr-dict
      `:` type($cache) `,` type($x) `,` type($places)
  }];
  let hasVerifier = 1;
}

def Lumen_AttentionOp : Lumen_KernelOp<"attention", "Attention", [AllTypesMatch<["q", "result"]>]> {
  let summary = "causal attention of many sequences over a paged KV cache";
  let description = [{
    A run, a row of `runs`, says which rows of `q` (T x heads*D) are of one sequence:
    the first one, how many, and the number s of the sequence. They stand at
    consecutive positions, from `positions[first]` on. Every row belongs to one run.

    Position j of sequence s lies in page `pages[s, j/64]` of the caches: its place is
    `64 * pages[s, j/64] + j%64` (see `lumen.kv_append`). Row t attends to the
    positions 0 .. `positions[t]` of its sequence in `layer`. Query head h reads KV
    head h / (heads / kv_heads):

        result[t, h] = sum_j softmax_j(scale * q[t, h] . k[j]) v[j].

    With a `window` of w, only the last w of these positions count. Pages before
    them are not read, but their numbers must be those of pages.

    Where the caches are of i8, `scale * log2(e) * q[t, h]` is rounded to 8-bit codes
    in the same groups, with a scale in float32, so that the products are integers.

    The result of a row depends on its sequence alone: not on which pages hold it, nor
    on the other runs.

    ```mlir
    %a = lumen.attention %q, %k, %v, %layer, %positions, %pages, %runs
           {heads = 14 : i64, kv_heads = 2 : i64, scale = 1.250000e-01 : f32}
       : tensor<?x896xf32>, tensor<24x2x?x64x16xf16>, tensor<24x2x?x16x64xf16>,
         tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$q, Lumen_Cache:$k, Lumen_Cache:$v, Index:$layer,
    Lumen_Numbers:$positions, Lumen_Pages:$pages, Lumen_Runs:$runs,
    ConfinedAttr<I64Attr, [IntPositive]>:$heads,
    ConfinedAttr<I64Attr, [IntPositive]>:$kv_heads,
    F32Attr:$scale,
    OptionalAttr<ConfinedAttr<I64Attr, [IntPositive]>>:$window);
  let results = (outs Lumen_Rows:$result);
  let extraClassDeclaration = [{
    ::llvm::SmallVector<NamedOperand> getBufferOperands() {
      return {{"q", getQ()}, {"k", getK()}, {"v", getV()},
              {"positions", getPositions()}, {"pages", getPages()}, {"runs", getRuns()}};
    }
    /// D, the values of a head.
    int64_t getHeadDim();
  }];
  let assemblyFormat = [{
    $q `,` $k `,` $v `,` $layer `,` $positions `,` $pages `,` $runs attr-dict
      `:` type($q) `,` type($k) `,` type($v) `,` type($positions) `,` type($pages) `,`
      type($runs)
  }];
  let hasVerifier = 1;
}

#endif // LUMEN_ATTENTION_OPS

// SPDX-License-Identifier: Apache-2.0
//
// Mixtures of experts: which tokens go where. Their products are in
// ProductOps.td.
#ifndef LUMEN_EXPERT_OPS
#define LUMEN_EXPERT_OPS

include "dialect/LumenOpBase.td"

def Lumen_RouteOp : Lumen_KernelOp<"route", "Routing"> {
  let summary = "chooses the experts of every token";
  let description = [{
    With p = softmax or sigmoid of a row of `logits` (T x experts), chooses the
    K experts of largest p + `bias`, the largest first. Of equal ones, the
    smaller number comes first. `bias` decides the choice only: the weights are
    the p of the chosen experts, divided by their sum if `normalized`, times
    `scale`.

    ```mlir
    %e, %w = lumen.route %logits bias(%b : tensor<128xf32>)
        {gating = "sigmoid", normalized = true, scale = 2.5 : f32}
      : tensor<?x128xf32> -> tensor<?x8xi32>, tensor<?x8xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$logits, Optional<Lumen_Vec>:$bias, StrAttr:$gating,
    BoolAttr:$normalized, F32Attr:$scale);
  let results = (outs Lumen_Slots:$experts, Lumen_Rows:$weights);
  let extraClassDeclaration = [{
    ::llvm::SmallVector<NamedOperand> getBufferOperands();
  }];
  let assemblyFormat = [{
    $logits (`bias` `(` $bias^ `:` type($bias) `)`)? attr-dict
    `:` type($logits) `->` type($experts) `,` type($weights)
  }];
  let hasVerifier = 1;
}

def Lumen_GroupTokensOp : Lumen_KernelOp<"group_tokens", "Routing"> {
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
  let extraClassDeclaration = [{
    ::llvm::SmallVector<NamedOperand> getBufferOperands() {
      return {{"experts", getExperts()}};
    }
  }];
  let assemblyFormat = [{
    $experts attr-dict `:` type($experts) `->` type($source) `,` type($place) `,` type($groups)
  }];
  let hasVerifier = 1;
}

def Lumen_GatherRowsOp : Lumen_RowOp<"gather_rows"> {
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
  let extraClassDeclaration = [{
    ::llvm::SmallVector<NamedOperand> getBufferOperands() {
      return {{"x", getX()}, {"source", getSource()}};
    }
  }];
  let assemblyFormat = "$x `,` $source attr-dict `:` type($x) `,` type($source) `->` type($result)";
  let hasVerifier = 1;
}

def Lumen_CombineOp : Lumen_RowOp<"combine"> {
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
  let extraClassDeclaration = [{
    ::llvm::SmallVector<NamedOperand> getBufferOperands() {
      return {{"x", getX()}, {"weights", getWeights()}, {"place", getPlace()}};
    }
  }];
  let assemblyFormat = [{
    $x `,` $weights `,` $place attr-dict
    `:` type($x) `,` type($weights) `,` type($place) `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // LUMEN_EXPERT_OPS

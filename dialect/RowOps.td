// SPDX-License-Identifier: Apache-2.0
//
// What is computed of every row (a token's activations) on its own.
#ifndef LUMEN_ROW_OPS
#define LUMEN_ROW_OPS

include "dialect/LumenOpBase.td"

def Lumen_EmbeddingOp : Lumen_RowOp<"embedding", [WeightUserOpInterface,
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
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getWeightOperands() { return getTableMutable(); }
    ::llvm::SmallVector<NamedOperand> getBufferOperands() {
      return {{"tokens", getTokens()}, {"table", getTable()}};
    }
  }];
  let assemblyFormat = [{
    $tokens `,` $table attr-dict `:` type($tokens) `,` type($table) `->` type($result)
  }];
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
}

def Lumen_SelectRowsOp : Lumen_RowOp<"select_rows"> {
  let summary = "chosen rows";
  let description = [{
    `result[i, :] = x[rows[i], :]`; used so that the output head is computed only for
    the tokens whose logits are wanted.

    ```mlir
    %y = lumen.select_rows %x, %rows
       : tensor<?x896xf32>, tensor<?xi32> -> tensor<?x896xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x, Lumen_Numbers:$rows);
  let results = (outs Lumen_Rows:$result);
  let extraClassDeclaration = [{
    ::llvm::SmallVector<NamedOperand> getBufferOperands() {
      return {{"x", getX()}, {"rows", getRows()}};
    }
  }];
  let assemblyFormat = "$x `,` $rows attr-dict `:` type($x) `,` type($rows) `->` type($result)";
  let hasVerifier = 1;
}

def Lumen_RmsNormOp : Lumen_RowOp<"rms_norm", [AllTypesMatch<["x", "result"]>]> {
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
    ::llvm::SmallVector<NamedOperand> getBufferOperands() {
      return {{"weight", getWeight()}};
    }
    /// True where every head is normalized on its own.
    bool isPerHead();
  }];
}

def Lumen_GateOp : Lumen_RowOp<"gate", [AllTypesMatch<["x", "result"]>]> {
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
  let extraClassDeclaration = [{
    ::llvm::SmallVector<NamedOperand> getBufferOperands() {
      return {{"gate", getGate()}};
    }
  }];
  let assemblyFormat = "$x `,` $gate attr-dict `:` type($x) `,` type($gate)";
  let hasVerifier = 1;
}

def Lumen_ToBf16Op : Lumen_RowOp<"to_bf16"> {
  let summary = "activations rounded to bf16";
  let description = [{
    The nearest bf16 of every value, of two equally near ones the even one: for
    products with bf16 weights. NaN stays NaN.

    ```mlir
    %y = lumen.to_bf16 %x : tensor<?x896xf32> -> tensor<?x896xbf16>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x);
  let results = (outs Lumen_Bf16Rows:$result);
  let assemblyFormat = "$x attr-dict `:` type($x) `->` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Element by element
//===----------------------------------------------------------------------===//

class Lumen_UnaryOp<string mnemonic, list<Trait> traits = []>
    : Lumen_ElementwiseOp<mnemonic, !listconcat(traits, [AllTypesMatch<["x", "result"]>])> {
  let arguments = (ins Lumen_Rows:$x);
  let results = (outs Lumen_Rows:$result);
  let assemblyFormat = "$x attr-dict `:` type($x)";
}

class Lumen_BinaryOp<string mnemonic, list<Trait> traits = []>
    : Lumen_ElementwiseOp<mnemonic, !listconcat(traits, [AllTypesMatch<["lhs", "rhs", "result"]>])> {
  let arguments = (ins Lumen_Rows:$lhs, Lumen_Rows:$rhs);
  let results = (outs Lumen_Rows:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs)";
}

def Lumen_AddOp : Lumen_BinaryOp<"add", [Commutative]> {
  let summary = "sum of two activations (the residual connection)";
  let description = [{
    `result = lhs + rhs`, element by element.

    ```mlir
    %y = lumen.add %x, %a : tensor<?x896xf32>
    ```
  }];
}

def Lumen_GeluOp : Lumen_UnaryOp<"gelu", [ProductEpilogue]> {
  let summary = "Gaussian error linear unit, with tanh";
  let description = [{
    `result = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`, element by
    element. Gated (GeGLU), as in Gemma:

    ```mlir
    %g = lumen.gelu %gate : tensor<?x4864xf32>
    %h = lumen.mul %g, %up : tensor<?x4864xf32>
    ```
  }];
}

def Lumen_MulOp : Lumen_BinaryOp<"mul", [Commutative, ProductEpilogue]> {
  let summary = "product of two activations (the gated unit)";
  let description = [{
    `result = lhs * rhs`, element by element. With an activation function of one of
    them it gates the other. SwiGLU:

    ```mlir
    %s = lumen.silu %gate : tensor<?x4864xf32>
    %h = lumen.mul %s, %up : tensor<?x4864xf32>
    ```
  }];
}

def Lumen_ScaleOp : Lumen_UnaryOp<"scale"> {
  let summary = "an activation times a constant";
  let description = [{
    `result = factor * x`, element by element: the multipliers of some models.

    ```mlir
    %y = lumen.scale %x {factor = 2.5 : f32} : tensor<?x896xf32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x, F32Attr:$factor);
}

def Lumen_SiluOp : Lumen_UnaryOp<"silu", [ProductEpilogue]> {
  let summary = "sigmoid linear unit";
  let description = [{
    `result = x / (1 + exp(-x))`, element by element.

    ```mlir
    %y = lumen.silu %x : tensor<?x4864xf32>
    ```
  }];
}

#endif // LUMEN_ROW_OPS

// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_ATTRS
#define LUMEN_ATTRS

include "dialect/LumenDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/TensorEncoding.td"

class Lumen_Attr<string name, string attrMnemonic, list<Trait> traits = []>
    : AttrDef<Lumen_Dialect, name, traits> {
  let mnemonic = attrMnemonic;
}

def Lumen_PackedAttr : Lumen_Attr<"Packed", "packed",
    [DeclareAttrInterfaceMethods<VerifiableTensorEncoding>]> {
  let summary = "packed layout of a weight";
  let description = [{
    Layout attribute (tensor encoding) of a weight of shape N x K whose codes are
    re-encoded into bit planes, interleaved over `rows` output rows and `k`
    consecutive columns: the columns of a row that one step of a product takes
    (four of codes, for `lumen.dot4`; one of floats, which is what `k` is where
    it is not given). `rows` is what the register tile of the target has: two
    vectors of 32-bit lanes, or one for formats with several groups in 32 codes.
    See `docs/packed-layout.md` for the bytes.

    ```mlir
    tensor<4864x896x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>
    tensor<4864x896xf16, #lumen.packed<rows = 16>>
    ```
  }];
  let parameters = (ins "int64_t":$rows,
                        DefaultValuedParameter<"int64_t", "1">:$k);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def Lumen_TargetAttr : Lumen_Attr<"Target", "target"> {
  let summary = "what the compiler must know of a target";
  let description = [{
    A row of the table in `lumen_mlir.compiler.targets`, attached to the module as
    `lumen.target`. `dot4` names the instruction that implements `lumen.dot4`;
    `rows` x `tokens` is the register tile of a product kernel.

    ```mlir
    module attributes {lumen.target = #lumen.target<name = "x86-64-v3",
      triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v3", features = "",
      dot4 = "avx2", vector_bits = 256, rows = 8, tokens = 4>} {}
    ```
  }];
  let parameters = (ins
    StringRefParameter<"name of the target">:$name,
    StringRefParameter<"LLVM triple">:$triple,
    StringRefParameter<"LLVM cpu name">:$cpu,
    StringRefParameter<"LLVM feature string">:$features,
    StringRefParameter<"implementation of lumen.dot4">:$dot4,
    "int64_t":$vector_bits,
    "int64_t":$rows,
    "int64_t":$tokens);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

#endif // LUMEN_ATTRS

// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_TYPES
#define LUMEN_TYPES

include "dialect/LumenDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinTypeInterfaces.td"

class Lumen_Type<string name, string typeMnemonic, list<Trait> traits = []>
    : TypeDef<Lumen_Dialect, name, traits> {
  let mnemonic = typeMnemonic;
}

def Lumen_QuantType : Lumen_Type<"Quant", "q", [MemRefElementTypeInterface]> {
  let summary = "element of a quantized tensor";
  let description = [{
    The element type of a tensor whose storage is described by a `lumen.format`.
    The tensor's shape is the logical one; how many bytes stand behind it follows
    from the format.

    ```mlir
    tensor<4864x896x!lumen.q<@q8_0>>
    ```
  }];
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$format);
  let assemblyFormat = "`<` $format `>`";
}

#endif // LUMEN_TYPES

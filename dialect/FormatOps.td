// SPDX-License-Identifier: Apache-2.0
//
// Quantization formats, described.
#ifndef LUMEN_FORMAT_OPS
#define LUMEN_FORMAT_OPS

include "dialect/LumenOpBase.td"

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
    minimum) of a group is the product of the factors given. These are a scalar
    float per block (or row, if it depends on the header only), a vector with
    one entry per group, or both. Vector entries of type i8 or i32 are signed
    integers.

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
    weight keeps, where that is narrower than the factor itself. What follows up
    to `lumen.decoded` works element by element and is done where the factor is
    used. Integers are unsigned and below 2^`bits`, or signed of their whole
    type if `bits` is its width.

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

#endif // LUMEN_FORMAT_OPS

// SPDX-License-Identifier: Apache-2.0
//
// Below tensors: bytes, registers, the team.
#ifndef LUMEN_KERNEL_OPS
#define LUMEN_KERNEL_OPS

include "dialect/LumenOpBase.td"

def Lumen_FromBytesOp : Lumen_Op<"from_bytes", [Pure,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the weight that a byte buffer holds";
  let description = [{
    Where bytes become a weight: marks that `bytes` holds a weight of the result's
    shape, format and layout. `sizes` are the dynamic dimensions of the result.
    Kernel synthesis reads the bytes; the weight itself is never materialized.

    ```mlir
    %w = lumen.from_bytes %bytes : memref<956032xi8>
      -> tensor<896x896x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>
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
      : tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>, memref<?xi8>
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

def Lumen_Dot2Op : Lumen_Op<"dot2", [Pure, AllTypesMatch<["acc", "result"]>]> {
  let summary = "two-way dot product of 16-bit lanes";
  let description = [{
    With R lanes of 32 bits:

        result[r] = acc[r] + sum_{j<2} codes[2r + j] * x[j],

    or x[2r + j] where `x` has two elements per lane, too. All are signed integers
    with sums of 32 bits, or bf16 with sums of f32. It is what a target implements:
    `vpdpwssd`, `vpmaddwd`, `vdpbf16ps`, `bfdot`, ….

    Products of bf16 are exact in f32. Without an instruction, the one of j = 1 is
    added first and both additions round to the nearest. Instructions may add up
    in another order, round otherwise, and take denormal numbers for 0.

    ```mlir
    %r = lumen.dot2 %codes, %x, %acc : vector<32xi16>, vector<2xi16>, vector<16xi32>
    %s = lumen.dot2 %w, %y, %sums : vector<32xbf16>, vector<2xbf16>, vector<16xf32>
    ```
  }];
  let arguments = (ins
    FixedVectorOfRankAndType<[1], [I16, BF16]>:$codes,
    FixedVectorOfRankAndType<[1], [I16, BF16]>:$x,
    FixedVectorOfRankAndType<[1], [I32, F32]>:$acc);
  let results = (outs FixedVectorOfRankAndType<[1], [I32, F32]>:$result);
  let extraClassDeclaration = [{
    /// Whether it multiplies bf16.
    bool isFloat() {
      return ::mlir::getElementTypeOrSelf(getAcc().getType()).isF32();
    }
  }];
  let assemblyFormat = [{
    $codes `,` $x `,` $acc attr-dict `:` type($codes) `,` type($x) `,` type($acc)
  }];
  let hasVerifier = 1;
}

def Lumen_MmaOp : Lumen_Op<"mma", [Pure, AllTypesMatch<["acc", "result"]>]> {
  let summary = "small matrix product of 8-bit codes";
  let description = [{
    With the m, n and k of `shape`:

        result[i][j] = acc[i][j] + sum_{l<k} lhs[i][l] * rhs[j][l].

    `lhs` are the codes of m tokens, with k consecutive ones together. `rhs` are those
    of n rows of a weight, with `step` consecutive ones together: [k / step][n][step],
    or [n][k] where `shape` has no step. Where it has `weights_left`, `lhs` are rows and
    `rhs` tokens. `shape` also says whether codes are signed. Sums wrap around. It is
    what a target implements: `smmla`, `tdpbssd`, `mma.sync`, ….

    ```mlir
    %r = lumen.mma <m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32> %x, %w, %acc
       : vector<16xi8>, vector<16xi8>, vector<4xi32>
    %s = lumen.mma <m = 16, n = 16, k = 32, lhs = si8, rhs = si8, acc = i32, step = 4> %a, %b, %c
       : vector<512xi8>, vector<512xi8>, vector<256xi32>
    ```
  }];
  let arguments = (ins
    Lumen_DotAttr:$shape,
    FixedVectorOfRankAndType<[1], [I8]>:$lhs,
    FixedVectorOfRankAndType<[1], [I8]>:$rhs,
    FixedVectorOfRankAndType<[1], [I32]>:$acc);
  let results = (outs FixedVectorOfRankAndType<[1], [I32]>:$result);
  let assemblyFormat = [{
    $shape $lhs `,` $rhs `,` $acc attr-dict `:` type($lhs) `,` type($rhs) `,` type($acc)
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
  let hasCanonicalizer = 1;
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

def Lumen_ClaimOp : Lumen_Op<"claim"> {
  let summary = "the next iterations of a loop for this worker";
  let description = [{
    Every worker of the team calls it in a loop with the same `total` until
    `first` equals `last`; together they then have claimed the iterations 0 ..
    `total` - 1, each of them once. Which worker gets which is decided at run
    time. It takes the pieces of its own share first, then what is left of the
    shares of others, who may be slower.

    ```mlir
    %first, %last = lumen.claim %total
    ```
  }];
  let arguments = (ins Index:$total);
  let results = (outs Index:$first, Index:$last);
  let assemblyFormat = "$total attr-dict";
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

#endif // LUMEN_KERNEL_OPS

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
    Layout attribute (tensor encoding) of a weight of shape N x K whose codes
    are re-encoded into bit planes. They are interleaved over `rows` output rows
    and `k` consecutive columns, which are what one step of a product takes of a
    row. These are four columns of codes, for `lumen.dot4`, and one of floats
    (the default of `k`), or two of bf16, for `lumen.dot2`. `rows` is what the register tile of the target has:
    two vectors of 32-bit lanes, or one for formats with several groups in 32
    codes. With `signed_codes`, codes that take a byte are stored less by 128, as signed
    bytes. With `whole_codes`, codes of 3, 5, 6 and 7 bits lie whole in the lower bits of
    bytes, and the last ones of a span in what these leave over. See `docs/packed-layout.md` for the bytes.

    ```mlir
    tensor<4864x896x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>
    tensor<4864x896x!lumen.q<@q8_0>, #lumen.packed<rows = 8, k = 4, signed_codes = true>>
    tensor<4864x896xf16, #lumen.packed<rows = 16>>
    ```
  }];
  let parameters = (ins "int64_t":$rows,
                        DefaultValuedParameter<"int64_t", "1">:$k,
                        DefaultValuedParameter<"bool", "false">:$signed_codes,
                        DefaultValuedParameter<"bool", "false">:$whole_codes);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def Lumen_DotAttr : Lumen_Attr<"Dot", "dot"> {
  let summary = "dot products that one instruction computes";
  let description = [{
    The instruction takes an m x k matrix `lhs` (activations) and a k x n matrix `rhs`
    (codes of weights), or the other way round where `weights_left`. It makes m x n sums
    `acc`,

    ```
    acc[i][j] += sum over l < k of lhs[i][l] * rhs[l][j]
    ```

    `lhs`, `rhs` and `acc` are the types of their elements. Where `accumulates` is
    false, the instruction makes the sums alone: adding them takes another one.

    Each of the n columns of `rhs` has `step` codes side by side: it is stored as
    [k / step][n][step]. By default that is all k of them. An instruction with a
    smaller `step` may be told to take fewer steps than k has.

    ```mlir
    // vpdpbusd: 4 products in each lane of 32 bits.
    #lumen.dot<m = 1, n = 16, k = 4, lhs = si8, rhs = ui8, acc = i32>
    // vpmaddubsw: pairs, whose sums saturate at 16 bits.
    #lumen.dot<m = 1, n = 16, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>
    // sdot
    #lumen.dot<m = 1, n = 4, k = 4, lhs = si8, rhs = si8, acc = i32>
    // smmla: 2 x 8 times 8 x 2.
    #lumen.dot<m = 2, n = 2, k = 8, lhs = si8, rhs = si8, acc = i32>
    // tdpbssd: 16 x 32 times 32 x 16, where four codes of a column lie together.
    #lumen.dot<m = 16, n = 16, k = 32, lhs = si8, rhs = si8, acc = i32, step = 4>
    // mma.sync: 16 rows of a weight by 8 tokens, in the registers of a warp.
    #lumen.dot<m = 16, n = 8, k = 32, lhs = si8, rhs = si8, acc = i32, weights_left = true>
    ```
  }];
  let parameters = (ins
    "int64_t":$m,
    "int64_t":$n,
    "int64_t":$k,
    "::mlir::IntegerType":$lhs,
    "::mlir::IntegerType":$rhs,
    "::mlir::IntegerType":$acc,
    DefaultValuedParameter<"bool", "true">:$accumulates,
    DefaultValuedParameter<"int64_t", "0">:$step,
    DefaultValuedParameter<"bool", "false">:$weights_left);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Codes of a column of `rhs` that lie side by side.
    int64_t getStepSize() const { return getStep() ? getStep() : getK(); }

    /// Rows of weights, and tokens.
    int64_t getRows() const { return getWeightsLeft() ? getM() : getN(); }
    int64_t getTokens() const { return getWeightsLeft() ? getN() : getM(); }

    /// The same with another k.
    DotAttr withK(int64_t k) const;
  }];
}

def Lumen_TargetAttr : Lumen_Attr<"Target", "target"> {
  let summary = "what the compiler must know of a target";
  let description = [{
    A row of the table in `lumen_mlir.compiler.targets`, attached to the module as
    `lumen.target`. An empty `triple` is that of the process that compiles.

    Vectors: `vector_registers` registers of `vector_bits` bits. `fma` and `f16` say
    whether instructions multiply and add in one, and convert between f16 and f32;
    `cache_line` is in bytes. `dot` multiplies 8-bit codes, `pair_dot` pairs of 16-bit
    ones; without them, `lumen.dot4` and `lumen.dot2` become plain vector arithmetic.
    `rows` x `tokens` is the register tile of a product kernel. `mma` multiplies small
    matrices of 8-bit codes; products of many tokens use it where a target has one.
    `bf16_dot` says whether an instruction multiplies pairs of bf16 in every lane of 32
    bits and adds them up in f32: such weights then meet activations in bf16.

    Where `warp` is more than 1, a worker is not one thread but so many that run the same
    code. Each of them has one lane of every vector. `workers` is how many of them such a
    processor runs at the same time: products of few tokens are cut into as many pieces.

    ```mlir
    module attributes {lumen.target = #lumen.target<name = "x86-64-v3",
      triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v3", features = "",
      vector_registers = 16, vector_bits = 256, fma = true, f16 = true, cache_line = 64,
      dot = <m = 1, n = 16, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>,
      pair_dot = <m = 1, n = 8, k = 2, lhs = si16, rhs = si16, acc = i32, accumulates = false>,
      rows = 16, tokens = 4>} {}
    ```
  }];
  let parameters = (ins
    StringRefParameter<"name of the target">:$name,
    StringRefParameter<"LLVM triple">:$triple,
    StringRefParameter<"LLVM cpu name">:$cpu,
    StringRefParameter<"LLVM feature string">:$features,
    "int64_t":$vector_registers,
    "int64_t":$vector_bits,
    "bool":$fma,
    "bool":$f16,
    "int64_t":$cache_line,
    OptionalParameter<"DotAttr">:$dot,
    OptionalParameter<"DotAttr">:$pair_dot,
    OptionalParameter<"DotAttr">:$mma,
    DefaultValuedParameter<"bool", "false">:$bf16_dot,
    DefaultValuedParameter<"int64_t", "1">:$warp,
    DefaultValuedParameter<"int64_t", "1">:$workers,
    "int64_t":$rows,
    "int64_t":$tokens);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// The target of the module around `op` or of `op` itself; null if it has
    /// none.
    static TargetAttr lookup(Operation *op);

    ::llvm::Triple::ArchType getArchitecture() const;

    /// Whether `features` has LLVM's feature of this name, beyond those of `cpu`.
    bool hasFeature(::llvm::StringRef name) const;

    /// Lanes of 32 bits.
    int64_t getLanes() const { return getVectorBits() / 32; }

    /// Whether a worker is a warp of threads.
    bool hasWarps() const { return getWarp() > 1; }

    /// Whether 8-bit codes had better be signed: `dot` takes them so, or adds
    /// pairs of products up in 16 bits, where those of unsigned ones do not fit.
    bool prefersSignedCodes() const;

    /// Whether `dot` takes codes of 8 bits only as signed bytes.
    bool storesSignedCodes() const;

    /// Whether bits that lie apart are joined by instructions that shift and
    /// insert, so that codes had better be whole.
    bool storesWholeCodes() const;

    /// Whether one instruction adds a pair of 16-bit products to a sum, and the
    /// registers hold the sums of two groups of codes for all tokens of a tile.
    bool addsPairs() const;

    /// Tokens of the register tile that `mma` computes with `rows` rows: half of
    /// the registers hold its sums, or those of one instruction; a quarter where
    /// weights are unpacked in registers.
    int64_t getMmaTokens() const;
  }];
}

#endif // LUMEN_ATTRS

// SPDX-License-Identifier: Apache-2.0
//
// What the ops have in common: their class and the types of their operands.
#ifndef LUMEN_OP_BASE
#define LUMEN_OP_BASE

include "dialect/LumenDialect.td"
include "dialect/LumenTypes.td"
include "dialect/LumenAttrs.td"
include "dialect/KernelOpInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

/// No dimension or number of elements is so large that sizes in bytes overflow.
def Lumen_BoundedShapes : NativeOpTrait<"BoundedShapes"> {
  let cppNamespace = "::mlir::lumen";
}

class Lumen_Op<string mnemonic, list<Trait> traits = []>
    : Op<Lumen_Dialect, mnemonic, !listconcat([Lumen_BoundedShapes], traits)>;

/// An op of the model that a kernel of this kind computes.
class Lumen_KernelOp<string mnemonic, string kind, list<Trait> traits = []>
    : Lumen_Op<mnemonic, !listconcat([Pure, KernelOpInterface, InKernel<kind>], traits)>;
class Lumen_RowOp<string mnemonic, list<Trait> traits = []>
    : Lumen_KernelOp<mnemonic, "Rows", traits>;
class Lumen_ElementwiseOp<string mnemonic, list<Trait> traits = []>
    : Lumen_RowOp<mnemonic, !listconcat([Elementwise], traits)>;

//===----------------------------------------------------------------------===//
// Operand types. T is the (dynamic) number of tokens of a step.
//===----------------------------------------------------------------------===//

def Lumen_Rows : 2DTensorOf<[F32]>;       // T x K activations
def Lumen_Vec : 1DTensorOf<[F32]>;        // K values: norm weights, biases
def Lumen_Tokens : 1DTensorOf<[I32]>;     // T token ids
def Lumen_Bf16Rows : 2DTensorOf<[BF16]>;   // T x K activations, rounded
def Lumen_Numbers : 1DTensorOf<[I32]>;    // T positions, places of a cache, or rows
def Lumen_Runs : 2DTensorOf<[I32]>;       // S x 3: rows of a step that are of one sequence
def Lumen_Pages : 2DTensorOf<[I32]>;      // sequences x pages of 64 positions
def Lumen_Codes : 2DTensorOf<[I8]>;       // T x K activation codes
def Lumen_Offsets : 2DTensorOf<[I32]>;    // T x K/sum_group
def Lumen_Sums : 2DTensorOf<[F32, I16]>;  // T x K/sum_group
def Lumen_WeightElement : AnyTypeOf<[Lumen_QuantType, F32, F16, BF16]>;
def Lumen_Slots : 2DTensorOf<[I32]>;      // T x used experts
def Lumen_Groups : 2DTensorOf<[I32]>;     // (experts + 1) x 2
def Lumen_Keys : 2DTensorOf<[I32]>;       // T x groups of columns, ordered as unsigned
def Lumen_Weight : 2DTensorOf<[Lumen_WeightElement]>;  // N x K, raw or packed
def Lumen_Quantized : 2DTensorOf<[Lumen_QuantType]>;
def Lumen_FloatWeight : 2DTensorOf<[F32, F16, BF16]>;
def Lumen_Activation : AnyTypeOf<[Lumen_Rows, Lumen_Bf16Rows, Lumen_Codes, Lumen_Offsets,
    Lumen_Sums]>;
// Pages of floats, or of bytes (8-bit codes and their scales).
def Lumen_Cache : AnyTypeOf<[TensorRankOf<[F16, F32], [5]>, TensorRankOf<[I8], [4]>]>;
def Lumen_Bytes : MemRefRankOf<[I8], [1]>;
def Lumen_StorageField : AnyTypeOf<[AnyFloat, AnySignlessInteger,
    FixedVectorOfRankAndType<[1], [AnySignlessInteger, AnyFloat]>]>;

#endif // LUMEN_OP_BASE

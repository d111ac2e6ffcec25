// SPDX-License-Identifier: Apache-2.0
//
// Vector code that the synthesis of row and attention kernels share. A row is a
// sequence of values along the columns; vectors here run along a row.
#ifndef LUMEN_PASSES_SUPPORT_ROWUTILS_H
#define LUMEN_PASSES_SUPPORT_ROWUTILS_H

#include "dialect/LumenDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::lumen {

//===----------------------------------------------------------------------===//
// The body of a bufferized kernel: tensor ops between memrefs
//===----------------------------------------------------------------------===//

/// The memref that `tensor` reads (`bufferization.to_tensor` or
/// `lumen.from_bytes`), or that the chain of `lumen.kv_append` it ends began
/// with; null where it is computed.
Value getSourceBuffer(Value tensor);

/// The memrefs that `bufferization.materialize_in_destination` fills with
/// `result`.
SmallVector<Value> getDestinations(Value result);

/// Memory of a worker's own, aligned for any vector.
Value allocateScratch(ImplicitLocOpBuilder &b, ArrayRef<int64_t> shape,
                      Type element);

/// Erases all ops of the kernel's body that have a tensor operand or result.
void eraseTensorOps(func::FuncOp kernel);

//===----------------------------------------------------------------------===//
// Scalars and vectors
//===----------------------------------------------------------------------===//

/// `value + offset`, or `value` where the offset is 0.
Value addConstant(ImplicitLocOpBuilder &b, Value value, int64_t offset);

/// `value / divisor` (unsigned), or `value` where the divisor is 1.
Value divideByConstant(ImplicitLocOpBuilder &b, Value value, int64_t divisor);

/// A constant f32 vector of `size` equal lanes.
Value splat(ImplicitLocOpBuilder &b, int64_t size, double value);

/// `scalar` in every one of `size` lanes.
Value broadcast(ImplicitLocOpBuilder &b, Value scalar, int64_t size);

/// `vector` as consecutive vectors of `size` lanes.
SmallVector<Value> splitVector(ImplicitLocOpBuilder &b, Value vector,
                               int64_t size);

/// The lanes of `vectors` one after the other.
Value concatVectors(ImplicitLocOpBuilder &b, ArrayRef<Value> vectors);

/// `vector` converted to f32 or f16 elements.
Value convertElements(ImplicitLocOpBuilder &b, Value vector, Type element);

/// `acc + lhs * rhs`. The product has no other use and both ops carry
/// `contract`, so that a target with fused multiply-add always fuses them.
Value multiplyAdd(ImplicitLocOpBuilder &b, Value lhs, Value rhs, Value acc);

/// A vector rounded to integers.
struct Rounded {
  Value real;    // of floats
  Value integer; // of i32
};

/// Rounds lanes of magnitude below 2^22 to the nearest integer, ties to even.
/// Two additions on every target, while not all have an instruction for it.
Rounded emitRoundEven(ImplicitLocOpBuilder &b, Value x);

/// Sums of every `group` neighbouring lanes of `integers` (a power of two), in
/// order.
Value emitGroupSums(ImplicitLocOpBuilder &b, Value integers, int64_t group);

/// Sum of the lanes in a fixed order: the upper half is added to the lower one
/// until one lane is left. An odd number of lanes is filled up with zeros.
Value emitTreeSum(ImplicitLocOpBuilder &b, Value vector);

//===----------------------------------------------------------------------===//
// Quantization of activations
//===----------------------------------------------------------------------===//

/// One group of `lumen.quantize`.
struct QuantizedGroup {
  Value codes; // vector<group x i8>
  Value scale; // f32
  Value sums;  // vector of i32, a lane per sum group
};

/// Quantizes the lanes of `x` with one scale; see `lumen.quantize`.
QuantizedGroup emitQuantizedGroup(ImplicitLocOpBuilder &b, Value x,
                                  int64_t sumGroup);

/// Quantizes the columns `column`, … of row `row`, which are `values` (whole
/// groups), and stores codes, scales, offsets and sums where `op` has
/// destinations.
void emitQuantizeStore(ImplicitLocOpBuilder &b, QuantizeOp op, Value row,
                       Value column, Value values);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_SUPPORT_ROWUTILS_H

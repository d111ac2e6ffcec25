// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

Rounded lumen::emitRoundEven(KernelBuilder &b, Value x) {
  // The last bit of floats from 2^23 to 2^24 counts as one, so adding 1.5 *
  // 2^23 rounds and leaves the integer in the low bits.
  constexpr float kShift = 0x1.8p23f;
  auto type = cast<VectorType>(x.getType());
  auto integerType = type.clone(b.getI32Type());
  Value shifts = b.real(type, kShift);
  Value shifted = arith::AddFOp::create(b, x, shifts);
  Value shiftBits = b.integer(integerType, llvm::bit_cast<int32_t>(kShift));
  Value bits = arith::BitcastOp::create(b, integerType, shifted);
  return {arith::SubFOp::create(b, shifted, shifts),
          arith::SubIOp::create(b, bits, shiftBits)};
}

Value lumen::emitRoundToBf16(KernelBuilder &b, Value x) {
  auto type = cast<VectorType>(x.getType());
  auto words = type.clone(b.getI32Type());
  Value bits = arith::BitcastOp::create(b, words, x);
  // The upper half, plus one where the lower is more than half of its last bit,
  // or half of it and that bit is set.
  Value half = b.integer(words, 16);
  Value last = arith::AndIOp::create(b, arith::ShRUIOp::create(b, bits, half),
                                     b.integer(words, 1));
  Value rounded = arith::AddIOp::create(
      b, bits, arith::AddIOp::create(b, last, b.integer(words, 0x7fff)));
  // A NaN may have its bits in the lower half alone.
  Value quiet = arith::OrIOp::create(b, bits, b.integer(words, 0x400000));
  Value isNan = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, x, x);
  bits = arith::SelectOp::create(b, isNan, quiet, rounded);
  Value upper = arith::TruncIOp::create(b, type.clone(b.getI16Type()),
                                        arith::ShRUIOp::create(b, bits, half));
  return arith::BitcastOp::create(b, type.clone(b.getBF16Type()), upper);
}

Value lumen::emitGroupSums(KernelBuilder &b, Value integers, int64_t group) {
  if (getLanes(integers) == group) {
    Value sum =
        vector::ReductionOp::create(b, vector::CombiningKind::ADD, integers);
    return b.broadcast(sum, 1);
  }
  // Whole registers first, which takes no shuffles.
  constexpr int64_t kRegister = 16;
  if (group > kRegister) {
    SmallVector<Value> sums;
    for (Value lanes : b.split(integers, group)) {
      SmallVector<Value> parts = b.split(lanes, kRegister);
      Value sum = parts.front();
      for (Value part : ArrayRef(parts).drop_front())
        sum = arith::AddIOp::create(b, sum, part);
      sums.push_back(sum);
    }
    integers = b.concatenate(sums);
    group = kRegister;
  }
  for (; group > 1; group /= 2) {
    auto pairs = vector::DeinterleaveOp::create(b, integers);
    integers = arith::AddIOp::create(b, pairs.getRes1(), pairs.getRes2());
  }
  return integers;
}

Value lumen::emitTreeSum(KernelBuilder &b, Value vector) {
  int64_t lanes = getLanes(vector);
  if (int64_t full = llvm::PowerOf2Ceil(lanes); full != lanes) {
    vector = b.insert(vector, b.splat(full, 0.0), 0);
    lanes = full;
  }
  for (; lanes > 1; lanes /= 2) {
    SmallVector<Value> halves = b.split(vector, lanes / 2);
    vector = arith::AddFOp::create(b, halves[0], halves[1]);
  }
  return vector::ExtractOp::create(b, vector, 0);
}

Value lumen::emitMaximum(KernelBuilder &b, Value vector) {
  return vector::ReductionOp::create(b, vector::CombiningKind::MAXNUMF, vector,
                                     arith::FastMathFlags::nnan);
}

Value lumen::emitExp2(KernelBuilder &b, Value x) {
  // x = n + f with |f| <= 1/2. 2^f is a polynomial (minimax, relative error
  // 1e-7) that is exactly 1 at 0; n goes into the exponent. Below 2^-125 all is
  // 0.
  static constexpr double kCoefficients[] = {0.0013264727, 0.009671513,
                                             0.055507336, 0.24022242, 0.693147};
  auto type = cast<VectorType>(x.getType());
  auto integerType = type.clone(b.getI32Type());
  Value lowest = b.real(type, -125.0);
  Value bounded =
      arith::MaxNumFOp::create(b, x, lowest, arith::FastMathFlags::nnan);
  Rounded whole = emitRoundEven(b, bounded);
  Value fraction = arith::SubFOp::create(b, bounded, whole.real);
  Value power = b.real(type, kCoefficients[0]);
  for (double coefficient : ArrayRef(kCoefficients).drop_front())
    power = b.multiplyAdd(power, fraction, b.real(type, coefficient));
  power = b.multiplyAdd(power, fraction, b.real(type, 1.0));
  Value shift = b.integer(integerType, 23);
  Value exponent = arith::ShLIOp::create(b, whole.integer, shift);
  Value bits = arith::BitcastOp::create(b, integerType, power);
  bits = arith::AddIOp::create(b, bits, exponent);
  Value result = arith::BitcastOp::create(b, type, bits);
  Value inRange =
      arith::CmpFOp::create(b, arith::CmpFPredicate::OGE, x, lowest);
  return arith::SelectOp::create(b, inRange, result, b.real(type, 0.0));
}

Value lumen::emitTimesSigmoid(KernelBuilder &b, Value x, Value y) {
  Value exponential = math::ExpOp::create(b, arith::NegFOp::create(b, y));
  Value one = b.real(y.getType(), 1.0);
  return arith::DivFOp::create(b, x,
                               arith::AddFOp::create(b, exponential, one));
}

Value lumen::emitSigmoid(KernelBuilder &b, Value x) {
  return emitTimesSigmoid(b, b.real(x.getType(), 1.0), x);
}

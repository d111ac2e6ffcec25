// SPDX-License-Identifier: Apache-2.0
#include "passes/support/RowUtils.h"

#include "dialect/FormatLayout.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

//===----------------------------------------------------------------------===//
// The body of a bufferized kernel
//===----------------------------------------------------------------------===//

Value lumen::getSourceBuffer(Value tensor) {
  while (auto append = tensor.getDefiningOp<KvAppendOp>())
    tensor = append.getCache();
  if (auto toTensor = tensor.getDefiningOp<bufferization::ToTensorOp>())
    return toTensor.getBuffer();
  if (auto fromBytes = tensor.getDefiningOp<FromBytesOp>())
    return fromBytes.getBytes();
  return {};
}

SmallVector<Value> lumen::getDestinations(Value result) {
  SmallVector<Value> destinations;
  for (Operation *user : result.getUsers())
    if (auto store = dyn_cast<bufferization::MaterializeInDestinationOp>(user))
      if (store.getSource() == result)
        destinations.push_back(store.getDest());
  return destinations;
}

Value lumen::allocateScratch(ImplicitLocOpBuilder &b, ArrayRef<int64_t> shape,
                             Type element) {
  return memref::AllocaOp::create(b, MemRefType::get(shape, element),
                                  b.getI64IntegerAttr(kAlignment));
}

void lumen::eraseTensorOps(func::FuncOp kernel) {
  for (Operation &op :
       llvm::make_early_inc_range(llvm::reverse(kernel.getBody().front()))) {
    auto isTensor = [](Type type) { return isa<TensorType>(type); };
    if (llvm::any_of(op.getOperandTypes(), isTensor) ||
        llvm::any_of(op.getResultTypes(), isTensor))
      op.erase();
  }
}

//===----------------------------------------------------------------------===//
// Scalars and vectors
//===----------------------------------------------------------------------===//

static int64_t getLanes(Value vector) {
  return cast<VectorType>(vector.getType()).getNumElements();
}

Value lumen::addConstant(ImplicitLocOpBuilder &b, Value value, int64_t offset) {
  if (offset == 0)
    return value;
  return arith::AddIOp::create(b, value,
                               arith::ConstantIndexOp::create(b, offset));
}

Value lumen::divideByConstant(ImplicitLocOpBuilder &b, Value value,
                              int64_t divisor) {
  if (divisor == 1)
    return value;
  return arith::DivUIOp::create(b, value,
                                arith::ConstantIndexOp::create(b, divisor));
}

Value lumen::splat(ImplicitLocOpBuilder &b, int64_t size, double value) {
  auto type = VectorType::get({size}, b.getF32Type());
  return arith::ConstantOp::create(
      b, DenseElementsAttr::get(type, b.getF32FloatAttr(value)));
}

Value lumen::broadcast(ImplicitLocOpBuilder &b, Value scalar, int64_t size) {
  return vector::BroadcastOp::create(
      b, VectorType::get({size}, scalar.getType()), scalar);
}

SmallVector<Value> lumen::splitVector(ImplicitLocOpBuilder &b, Value vector,
                                      int64_t size) {
  int64_t lanes = getLanes(vector);
  if (lanes == size)
    return {vector};
  SmallVector<Value> parts;
  for (int64_t begin = 0; begin < lanes; begin += size)
    parts.push_back(vector::ExtractStridedSliceOp::create(
        b, vector, ArrayRef<int64_t>{begin}, ArrayRef<int64_t>{size},
        ArrayRef<int64_t>{1}));
  return parts;
}

Value lumen::concatVectors(ImplicitLocOpBuilder &b, ArrayRef<Value> vectors) {
  if (vectors.size() == 1)
    return vectors.front();
  int64_t lanes = 0;
  for (Value vector : vectors)
    lanes += getLanes(vector);
  auto type =
      VectorType::get({lanes}, getElementTypeOrSelf(vectors.front().getType()));
  Value result = arith::ConstantOp::create(b, b.getZeroAttr(type));
  int64_t begin = 0;
  for (Value vector : vectors) {
    result = vector::InsertStridedSliceOp::create(
        b, vector, result, ArrayRef<int64_t>{begin}, ArrayRef<int64_t>{1});
    begin += getLanes(vector);
  }
  return result;
}

Value lumen::convertElements(ImplicitLocOpBuilder &b, Value vector,
                             Type element) {
  auto type = cast<VectorType>(vector.getType());
  if (type.getElementType() == element)
    return vector;
  if (type.getElementTypeBitWidth() < element.getIntOrFloatBitWidth())
    return arith::ExtFOp::create(b, type.clone(element), vector);
  return arith::TruncFOp::create(b, type.clone(element), vector);
}

Value lumen::multiplyAdd(ImplicitLocOpBuilder &b, Value lhs, Value rhs,
                         Value acc) {
  Value product =
      arith::MulFOp::create(b, lhs, rhs, arith::FastMathFlags::contract);
  return arith::AddFOp::create(b, acc, product, arith::FastMathFlags::contract);
}

Rounded lumen::emitRoundEven(ImplicitLocOpBuilder &b, Value x) {
  // The last bit of floats from 2^23 to 2^24 counts as one, so adding 1.5 *
  // 2^23 rounds and leaves the integer in the low bits.
  constexpr float shift = 0x1.8p23f;
  auto type = cast<VectorType>(x.getType());
  auto integerType = type.clone(b.getI32Type());
  Value shifts = splat(b, type.getNumElements(), shift);
  Value shifted = arith::AddFOp::create(b, x, shifts);
  Value shiftBits = arith::ConstantOp::create(
      b, DenseElementsAttr::get(
             integerType, b.getI32IntegerAttr(llvm::bit_cast<int32_t>(shift))));
  Value bits = arith::BitcastOp::create(b, integerType, shifted);
  return {arith::SubFOp::create(b, shifted, shifts),
          arith::SubIOp::create(b, bits, shiftBits)};
}

Value lumen::emitGroupSums(ImplicitLocOpBuilder &b, Value integers,
                           int64_t group) {
  auto type = cast<VectorType>(integers.getType());
  if (type.getNumElements() == group) {
    Value sum =
        vector::ReductionOp::create(b, vector::CombiningKind::ADD, integers);
    return broadcast(b, sum, 1);
  }
  // Whole registers first, which takes no shuffles.
  constexpr int64_t kRegister = 16;
  if (group > kRegister) {
    SmallVector<Value> sums;
    for (Value lanes : splitVector(b, integers, group)) {
      SmallVector<Value> parts = splitVector(b, lanes, kRegister);
      Value sum = parts.front();
      for (Value part : ArrayRef(parts).drop_front())
        sum = arith::AddIOp::create(b, sum, part);
      sums.push_back(sum);
    }
    integers = concatVectors(b, sums);
    group = kRegister;
  }
  for (; group > 1; group /= 2) {
    auto pairs = vector::DeinterleaveOp::create(b, integers);
    integers = arith::AddIOp::create(b, pairs.getRes1(), pairs.getRes2());
  }
  return integers;
}

Value lumen::emitTreeSum(ImplicitLocOpBuilder &b, Value vector) {
  int64_t lanes = getLanes(vector);
  if (int64_t full = llvm::PowerOf2Ceil(lanes); full != lanes) {
    vector = vector::InsertStridedSliceOp::create(
        b, vector, splat(b, full, 0.0), ArrayRef<int64_t>{0},
        ArrayRef<int64_t>{1});
    lanes = full;
  }
  for (; lanes > 1; lanes /= 2) {
    SmallVector<Value> halves = splitVector(b, vector, lanes / 2);
    vector = arith::AddFOp::create(b, halves[0], halves[1]);
  }
  return vector::ExtractOp::create(b, vector, 0);
}

//===----------------------------------------------------------------------===//
// Quantization of activations
//===----------------------------------------------------------------------===//

QuantizedGroup lumen::emitQuantizedGroup(ImplicitLocOpBuilder &b, Value x,
                                         int64_t sumGroup) {
  auto type = cast<VectorType>(x.getType());
  int64_t lanes = type.getNumElements();
  Type f32 = b.getF32Type();
  QuantizedGroup group;

  // The largest magnitude is the same in any order; nnan makes it one
  // instruction.
  Value magnitude = math::AbsFOp::create(b, x);
  Value most = vector::ReductionOp::create(
      b, vector::CombiningKind::MAXNUMF, magnitude, arith::FastMathFlags::nnan);
  Value largest = arith::ConstantOp::create(b, b.getF32FloatAttr(127.0f));
  group.scale = arith::DivFOp::create(b, most, largest);
  // Below 2^-120 the inverse overflows; such a group counts as all zeros.
  Value zero = arith::ConstantOp::create(b, b.getF32FloatAttr(0.0f));
  Value tiny = arith::ConstantOp::create(b, b.getF32FloatAttr(0x1p-120f));
  Value inverse = arith::DivFOp::create(b, largest, most);
  Value usable =
      arith::CmpFOp::create(b, arith::CmpFPredicate::OGE, most, tiny);
  inverse = arith::SelectOp::create(b, usable, inverse, zero);

  Value scaled = arith::MulFOp::create(b, x, broadcast(b, inverse, lanes));
  Value wide = emitRoundEven(b, scaled).integer;
  group.codes = arith::TruncIOp::create(b, type.clone(b.getI8Type()), wide);
  group.sums = emitGroupSums(b, wide, sumGroup);
  return group;
}

void lumen::emitQuantizeStore(ImplicitLocOpBuilder &b, QuantizeOp op, Value row,
                              Value column, Value values) {
  int64_t groupSize = op.getGroup(), sumGroup = op.getSumGroup();
  auto store = [&](Value result, Value lanes, Value first) {
    for (Value buffer : getDestinations(result))
      vector::StoreOp::create(b, lanes, buffer, ValueRange{row, first});
  };
  for (auto [i, part] : llvm::enumerate(splitVector(b, values, groupSize))) {
    QuantizedGroup group = emitQuantizedGroup(b, part, sumGroup);
    Value begin = addConstant(b, column, i * groupSize);
    store(op.getCodes(), group.codes, begin);
    store(op.getScales(), broadcast(b, group.scale, 1),
          divideByConstant(b, begin, groupSize));
    Value firstSum = divideByConstant(b, begin, sumGroup);
    auto type = cast<VectorType>(group.sums.getType());
    Value bias = arith::ConstantOp::create(
        b, DenseElementsAttr::get(type, int32_t(op.getBias())));
    store(op.getOffsets(), arith::MulIOp::create(b, group.sums, bias),
          firstSum);
    auto sumType = type.clone(getElementTypeOrSelf(op.getSums()));
    Value sums =
        sumType.getElementType().isF32()
            ? arith::SIToFPOp::create(b, sumType, group.sums).getResult()
            : arith::TruncIOp::create(b, sumType, group.sums);
    store(op.getSums(), sums, firstSum);
  }
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/support/KernelBuilder.h"

#include "dialect/layout/FormatLayout.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace mlir::lumen;

int64_t lumen::getLanes(Value vector) {
  return cast<VectorType>(vector.getType()).getNumElements();
}

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

Value KernelBuilder::index(int64_t value) {
  return arith::ConstantIndexOp::create(*this, value);
}

/// A constant of `type`, or of a vector or tensor of such constants.
static Value constant(KernelBuilder &b, Type type, TypedAttr element) {
  if (auto shaped = dyn_cast<ShapedType>(type))
    element = DenseElementsAttr::get(shaped, Attribute(element));
  return arith::ConstantOp::create(b, element);
}

Value KernelBuilder::integer(Type type, int64_t value) {
  Type element = getElementTypeOrSelf(type);
  APInt bits(element.getIntOrFloatBitWidth(), value, /*isSigned=*/true,
             /*implicitTrunc=*/true);
  return constant(*this, type, IntegerAttr::get(element, bits));
}

Value KernelBuilder::real(Type type, double value) {
  return constant(*this, type,
                  FloatAttr::get(getElementTypeOrSelf(type), value));
}

Value KernelBuilder::splat(int64_t lanes, double value) {
  return real(VectorType::get(lanes, getF32Type()), value);
}

Value KernelBuilder::zero(Type type) {
  return arith::ConstantOp::create(*this, getZeroAttr(type));
}

Value KernelBuilder::laneNumbers(int64_t lanes, int64_t first) {
  return numbers(lanes, [&](int64_t lane) { return first + lane; });
}

Value KernelBuilder::numbers(int64_t lanes, function_ref<int64_t(int64_t)> of) {
  SmallVector<int32_t> values(lanes);
  for (auto [lane, value] : llvm::enumerate(values))
    value = of(lane);
  auto type = VectorType::get(lanes, getI32Type());
  return arith::ConstantOp::create(
      *this, DenseElementsAttr::get(type, ArrayRef(values)));
}

//===----------------------------------------------------------------------===//
// Indices and constants
//===----------------------------------------------------------------------===//

Value KernelBuilder::add(Value value, int64_t offset) {
  return offset ? arith::AddIOp::create(*this, value, index(offset)) : value;
}

Value KernelBuilder::multiply(Value value, int64_t factor) {
  return arith::MulIOp::create(*this, value, index(factor));
}

Value KernelBuilder::divide(Value value, int64_t divisor) {
  if (divisor == 1)
    return value;
  return arith::DivUIOp::create(*this, value, index(divisor));
}

Value KernelBuilder::remainder(Value value, int64_t divisor) {
  return arith::RemUIOp::create(*this, value, index(divisor));
}

Value KernelBuilder::toIndex(Value value) {
  return arith::IndexCastUIOp::create(*this, getIndexType(), value);
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value KernelBuilder::allocateScratch(ArrayRef<int64_t> shape, Type element) {
  return memref::AllocaOp::create(*this, MemRefType::get(shape, element),
                                  getI64IntegerAttr(kAlignment));
}

Value KernelBuilder::collapseInner(Value buffer) {
  int64_t rank = cast<MemRefType>(buffer.getType()).getRank();
  SmallVector<ReassociationIndices> groups;
  for (int64_t i = 0; i < rank - 2; ++i)
    groups.push_back({i});
  groups.push_back({rank - 2, rank - 1});
  return memref::CollapseShapeOp::create(*this, buffer, groups);
}

Value KernelBuilder::load(Value buffer, ValueRange at) {
  return memref::LoadOp::create(*this, buffer, at);
}

Value KernelBuilder::load(int64_t lanes, Value buffer, ValueRange at) {
  auto type = VectorType::get(lanes, getElementTypeOrSelf(buffer.getType()));
  return vector::LoadOp::create(*this, type, buffer, at);
}

void KernelBuilder::store(Value value, Value buffer, ValueRange at) {
  if (isa<VectorType>(value.getType()))
    vector::StoreOp::create(*this, value, buffer, at);
  else
    memref::StoreOp::create(*this, value, buffer, at);
}

/// For all elements.
static Value takeAll(KernelBuilder &b, Value numbers) {
  Type type = cast<VectorType>(numbers.getType()).clone(b.getI1Type());
  return b.integer(type, 1);
}

Value KernelBuilder::gather(Value buffer, ValueRange at, Value numbers) {
  Type element = cast<MemRefType>(buffer.getType()).getElementType();
  auto type = cast<VectorType>(numbers.getType()).clone(element);
  auto gather = vector::GatherOp::create(*this, type, buffer, at, numbers,
                                         takeAll(*this, numbers), zero(type));
  gather.setAlignment(getBytes(element));
  return gather;
}

void KernelBuilder::scatter(Value vector, Value buffer, ValueRange at,
                            Value numbers) {
  vector::ScatterOp::create(*this, /*resultType=*/Type(), buffer, at, numbers,
                            takeAll(*this, numbers), vector);
}

//===----------------------------------------------------------------------===//
// Control flow
//===----------------------------------------------------------------------===//

void KernelBuilder::forEach(Value begin, Value end, int64_t step,
                            function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(*this, begin, end, index(step));
  InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

void KernelBuilder::forEach(Value count, function_ref<void(Value)> body) {
  forEach(index(0), count, 1, body);
}

void KernelBuilder::forEach(int64_t count, function_ref<void(Value)> body) {
  forEach(index(count), body);
}

SmallVector<Value> KernelBuilder::accumulate(Value begin, Value end,
                                             int64_t step, ValueRange init,
                                             Body body) {
  auto loop = scf::ForOp::create(*this, begin, end, index(step), init);
  InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  scf::YieldOp::create(*this,
                       body(loop.getInductionVar(), loop.getRegionIterArgs()));
  return llvm::to_vector_of<Value>(loop.getResults());
}

SmallVector<Value> KernelBuilder::accumulate(Value count, ValueRange init,
                                             Body body) {
  return accumulate(index(0), count, 1, init, body);
}

scf::ForallOp KernelBuilder::parallel(ArrayRef<OpFoldResult> sizes,
                                      function_ref<void(ValueRange)> body) {
  auto loop = scf::ForallOp::create(*this, sizes, ValueRange{},
                                    /*mapping=*/std::nullopt);
  InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVars());
  return loop;
}

void KernelBuilder::outline(function_ref<void()> body) {
  auto op = scf::ExecuteRegionOp::create(*this, TypeRange(),
                                         /*no_inline=*/true);
  InsertionGuard guard(*this);
  setInsertionPointToStart(&op.getRegion().emplaceBlock());
  body();
  scf::YieldOp::create(*this);
}

void KernelBuilder::branch(Value condition, function_ref<void()> then,
                           function_ref<void()> otherwise) {
  auto branch = scf::IfOp::create(*this, condition,
                                  /*withElseRegion=*/bool(otherwise));
  InsertionGuard guard(*this);
  setInsertionPointToStart(branch.thenBlock());
  then();
  if (!otherwise)
    return;
  setInsertionPointToStart(branch.elseBlock());
  otherwise();
}

Value KernelBuilder::choose(Value condition, Type type,
                            function_ref<Value()> then,
                            function_ref<Value()> otherwise) {
  auto branch = scf::IfOp::create(*this, type, condition,
                                  /*withElseRegion=*/true);
  InsertionGuard guard(*this);
  setInsertionPointToStart(branch.thenBlock());
  scf::YieldOp::create(*this, then());
  setInsertionPointToStart(branch.elseBlock());
  scf::YieldOp::create(*this, otherwise());
  return branch.getResult(0);
}

//===----------------------------------------------------------------------===//
// Vectors
//===----------------------------------------------------------------------===//

Value KernelBuilder::broadcast(Value scalar, int64_t lanes) {
  return vector::BroadcastOp::create(
      *this, VectorType::get(lanes, scalar.getType()), scalar);
}

Value KernelBuilder::spreadLane(Value vector, int64_t lane, int64_t lanes) {
  return vector::ShuffleOp::create(*this, vector, vector,
                                   SmallVector<int64_t>(lanes, lane));
}

Value KernelBuilder::extract(Value vector, int64_t first, int64_t lanes) {
  if (getLanes(vector) == lanes)
    return vector;
  return vector::ExtractStridedSliceOp::create(
      *this, vector, ArrayRef<int64_t>{first}, ArrayRef<int64_t>{lanes},
      ArrayRef<int64_t>{1});
}

SmallVector<Value> KernelBuilder::split(Value vector, int64_t lanes) {
  SmallVector<Value> parts;
  for (int64_t first = 0, all = getLanes(vector); first < all; first += lanes)
    parts.push_back(extract(vector, first, lanes));
  return parts;
}

Value KernelBuilder::insert(Value part, Value vector, int64_t first) {
  return vector::InsertStridedSliceOp::create(
      *this, part, vector, ArrayRef<int64_t>{first}, ArrayRef<int64_t>{1});
}

Value KernelBuilder::concatenate(ArrayRef<Value> vectors) {
  if (vectors.size() == 1)
    return vectors.front();
  int64_t lanes = 0;
  for (Value vector : vectors)
    lanes += getLanes(vector);
  Type element = getElementTypeOrSelf(vectors.front().getType());
  Value result = zero(VectorType::get(lanes, element));
  int64_t first = 0;
  for (Value vector : vectors) {
    result = insert(vector, result, first);
    first += getLanes(vector);
  }
  return result;
}

Value KernelBuilder::convert(Value value, Type element) {
  Type from = getElementTypeOrSelf(value.getType()), type = element;
  if (auto vector = dyn_cast<VectorType>(value.getType()))
    type = vector.clone(element);
  if (from == element)
    return value;
  if (isa<IntegerType>(from))
    return arith::SIToFPOp::create(*this, type, value);
  if (from.getIntOrFloatBitWidth() < element.getIntOrFloatBitWidth())
    return arith::ExtFOp::create(*this, type, value);
  return arith::TruncFOp::create(*this, type, value);
}

Value KernelBuilder::multiplyAdd(Value lhs, Value rhs, Value acc) {
  constexpr auto kContract = arith::FastMathFlags::contract;
  Value product = arith::MulFOp::create(*this, lhs, rhs, kContract);
  return arith::AddFOp::create(*this, acc, product, kContract);
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/target/arm/StepLoads.h"

#include "passes/target/arm/Instructions.h"
#include "passes/target/common/VectorPieces.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

/// The innermost dimensions of a buffer whose elements lie one after the other,
/// as far as they fill a register: how many, and their elements. None where all
/// together do not.
static std::optional<std::pair<int64_t, int64_t>>
findRegister(MemRefType type) {
  SmallVector<int64_t> strides;
  int64_t offset;
  if (failed(type.getStridesAndOffset(strides, offset)))
    return std::nullopt;
  int64_t elements = 1;
  for (int64_t i = type.getRank(); i-- > 0;) {
    if (strides[i] != elements || type.isDynamicDim(i))
      return std::nullopt;
    elements *= type.getDimSize(i);
    if (elements % arm::kBytes == 0)
      return std::pair(type.getRank() - i, elements);
  }
  return std::nullopt;
}

/// A load of the whole register that holds what `load` takes, and where in it
/// that begins.
static std::optional<std::pair<Value, int64_t>> widen(KernelBuilder &b,
                                                      vector::LoadOp load) {
  MemRefType type = load.getMemRefType();
  auto found = findRegister(type);
  if (!found || !type.getElementType().isInteger(8))
    return std::nullopt;
  auto [dims, elements] = *found;
  int64_t outer = type.getRank() - dims;
  SmallVector<int64_t> place, sizes(type.getShape().drop_front(outer));
  for (Value index : load.getIndices().drop_front(outer)) {
    std::optional<int64_t> value = getConstantIntValue(index);
    if (!value)
      return std::nullopt;
    place.push_back(*value);
  }
  SmallVector<int64_t> strides = computeStrides(sizes);
  int64_t flat = linearize(place, strides);
  if (flat % 4)
    return std::nullopt; // no word of a register
  int64_t begin = flat - flat % arm::kBytes;
  SmallVector<Value> indices(load.getIndices().take_front(outer));
  for (int64_t index : delinearize(begin, strides))
    indices.push_back(b.index(index));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointAfter(load);
  return std::pair(b.load(arm::kBytes, load.getBase(), indices), flat - begin);
}

Value arm::spreadStep(KernelBuilder &b, Value x) {
  auto bytes = VectorType::get(kBytes, b.getI8Type());
  auto load = x.getDefiningOp<vector::LoadOp>();
  auto wide = load ? widen(b, load) : std::nullopt;
  if (!wide)
    return spread(b, x, bytes);
  auto [source, first] = *wide;
  int64_t words = kBytes / 4;
  source = vector::BitCastOp::create(b, VectorType::get(words, b.getI32Type()),
                                     source);
  Value word = vector::ExtractOp::create(b, source, first / 4);
  return vector::BitCastOp::create(b, bytes, b.broadcast(word, words));
}

// SPDX-License-Identifier: Apache-2.0
//
// What lanes load and store, and the memory that they share.
#include "passes/target/gpu/LaneDistributor.h"

using namespace mlir;
using namespace mlir::lumen;

/// Of four codes.
constexpr int64_t kWordBytes = 4;

/// Of what a warp shares: that of the largest elements that a lane moves.
constexpr int64_t kScratchAlignment = 16;

SmallVector<Value> LaneDistributor::offsetLast(ValueRange indices,
                                               LaneLayout layout,
                                               int64_t turn) {
  SmallVector<Value> result(indices);
  Value offset;
  if (layout.getPeriod() > 1) {
    offset = laneIndex;
    if (layout.getPeriod() < kWarp)
      offset = b.remainder(offset, layout.getPeriod());
    offset = b.multiply(offset, layout.chunk);
    result.back() = arith::AddIOp::create(b, result.back(), offset);
  }
  result.back() = b.add(result.back(), turn * kWarp * layout.chunk);
  return result;
}

/// Codes and activations that are added up lie in words. (Wherever else a chunk
/// is as large as that, it may lie anywhere.)
void LaneDistributor::align(vector::LoadOp own, vector::LoadOp op) {
  SmallVector<Operation *> users(op->getUsers());
  while (!users.empty()) {
    Operation *user = users.pop_back_val();
    if (isa<Dot4Op, Dot2Op>(user))
      return own.setAlignment(kWordBytes);
    // Codes are unpacked first.
    if (user->getNumResults() == 1 &&
        user->getResult(0).getType() == op.getType() &&
        user->hasTrait<OpTrait::Elementwise>())
      llvm::append_range(users, user->getUsers());
  }
}

LogicalResult LaneDistributor::distribute(vector::LoadOp op) {
  LaneLayout layout = layouts.lookup(op.getResult());
  SmallVector<Value> own;
  for (int64_t turn = 0; turn < layout.getTurns(); ++turn) {
    SmallVector<Value> at = offsetLast(op.getIndices(), layout, turn);
    if (layout.chunk == 1) {
      own.push_back(b.load(op.getBase(), at));
      continue;
    }
    Value chunk = b.load(layout.chunk, op.getBase(), at);
    align(chunk.getDefiningOp<vector::LoadOp>(), op);
    if (layout.getTurns() == 1)
      return replace(op.getResult(), chunk);
    for (int64_t i = 0; i < layout.chunk; ++i)
      own.push_back(getOwnElement(b, chunk, i));
  }
  return replace(op.getResult(), joinElements(b, layout, own));
}

LogicalResult LaneDistributor::distribute(vector::StoreOp op) {
  LaneLayout layout = layouts.lookup(op.getValueToStore());
  for (int64_t turn = 0; turn < layout.getTurns(); ++turn) {
    SmallVector<Value> at = offsetLast(op.getIndices(), layout, turn);
    Value value = op.getValueToStore();
    if (layout.chunk == 1)
      value = getOwnElement(b, value, turn);
    else if (layout.getTurns() > 1)
      value = b.extract(value, turn * layout.chunk, layout.chunk);
    b.store(value, op.getBase(), at);
  }
  dead.push_back(op);
  return success();
}

LogicalResult LaneDistributor::distribute(memref::AllocaOp op) {
  MemRefType type = op.getType();
  if (!type.hasStaticShape() || !type.getLayout().isIdentity())
    return op.emitOpError("cannot be memory of a warp: its size is not known");
  scratch = llvm::alignTo(scratch, kScratchAlignment);
  Value memory = ScratchOp::create(b, type, scratch);
  Type element = type.getElementType();
  int64_t bytes =
      element.isIndex()
          ? 8
          : int64_t(llvm::divideCeil(element.getIntOrFloatBitWidth(), 8));
  scratch += bytes * type.getNumElements();
  op.getResult().replaceAllUsesWith(memory);
  dead.push_back(op);
  return success();
}

int64_t LaneDistributor::getScratchBytes() const {
  return llvm::alignTo(scratch, kScratchAlignment);
}

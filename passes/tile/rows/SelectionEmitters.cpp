// SPDX-License-Identifier: Apache-2.0
//
// The largest logits of a row, in groups.
#include "passes/support/KernelBuffers.h"
#include "passes/tile/rows/RowEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

constexpr int64_t kStep = GroupKeysOp::kStep;
constexpr int64_t kSign = int64_t(1) << 31;

/// The columns of `x` in groups.
struct ColumnGroups {
  ColumnGroups(Value x, int64_t size)
      : columns(rankedType(x).getDimSize(1)), size(size) {}

  int64_t count() const { return llvm::divideCeil(columns, size); }

  /// The column that a group is read from: as many are there as a group has, so
  /// the last one is read with columns of the one before.
  Value emitBegin(KernelBuilder &b, Value group) const {
    Value begin = b.multiply(group, size);
    return arith::MinUIOp::create(b, begin, b.index(columns - size));
  }

  int64_t columns, size;
};

static Value toI32(KernelBuilder &b, Value index) {
  return arith::IndexCastUIOp::create(b, b.getI32Type(), index);
}

/// Integers in the order of floats, if both are seen as they are.
static Value emitKeys(KernelBuilder &b, Value x) {
  auto type = cast<VectorType>(x.getType()).clone(b.getI32Type());
  auto constant = [&](int64_t value) { return b.integer(type, value); };
  auto compare = [&](arith::CmpIPredicate is, Value value, int64_t other) {
    return arith::CmpIOp::create(b, is, value, constant(other));
  };
  Value bits = arith::BitcastOp::create(b, type, x);
  Value isMinusZero = compare(arith::CmpIPredicate::eq, bits, kSign);
  bits = arith::SelectOp::create(b, isMinusZero, constant(0), bits);
  Value isNegative = compare(arith::CmpIPredicate::slt, bits, 0);
  Value ones = constant(-1);
  Value key = arith::SelectOp::create(
      b, isNegative, arith::XOrIOp::create(b, bits, ones),
      arith::XOrIOp::create(b, bits, constant(kSign)));
  Value magnitude = arith::AndIOp::create(b, bits, constant(kSign - 1));
  Value isNaN = compare(arith::CmpIPredicate::ugt, magnitude, 0x7f800000);
  return arith::SelectOp::create(b, isNaN, ones, key);
}

namespace {

class GroupKeysEmitter final : public RowOpEmitterOf<GroupKeysOp> {
  using RowOpEmitterOf::RowOpEmitterOf;

  /// A group is as much as a warp takes at once.
  void addWidths(ColumnWidths &widths) override { widths.requirePiece(1); }

  void emitStores(RowEmitter &rows, ColumnTile &tile) override {
    KernelBuilder &b = rows.b;
    Value group = tile.base;
    Value isGroup = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, group,
                                          b.index(getGroups().count()));
    Value key = b.choose(
        isGroup, b.getI32Type(),
        [&] { return emitLargest(b, rows.row, group); },
        [&] { return b.integer(b.getI32Type(), 0); });
    for (Value buffer : getDestinations(op.getResult()))
      b.store(key, buffer, {rows.row, group});
  }

  ColumnGroups getGroups() { return ColumnGroups(op.getX(), op.getGroup()); }

  Value emitLargest(KernelBuilder &b, Value row, Value group) {
    int64_t size = op.getGroup();
    Value begin = getGroups().emitBegin(b, group);
    Value keys =
        emitKeys(b, b.load(size, getSourceBuffer(op.getX()), {row, begin}));
    // What belongs to the group before counts for nothing.
    Value foreign = arith::SubIOp::create(b, b.multiply(group, size), begin);
    Value isOwn =
        arith::CmpIOp::create(b, arith::CmpIPredicate::uge, b.laneNumbers(size),
                              b.broadcast(toI32(b, foreign), size));
    keys = arith::SelectOp::create(b, isOwn, keys, b.zero(keys.getType()));
    return vector::ReductionOp::create(b, vector::CombiningKind::MAXUI, keys);
  }
};

class LargestGroupsEmitter final : public RowOpEmitterOf<LargestGroupsOp> {
  using RowOpEmitterOf::RowOpEmitterOf;

  void addWidths(ColumnWidths &widths) override {
    widths.requirePiece(op.getGroup());
  }

  void emitPrologue(RowEmitter &rows) override;

  SmallVector<Value> emitPieces(RowEmitter &rows, ColumnTile &tile) override {
    KernelBuilder &b = rows.b;
    Value begin = getGroups().emitBegin(b, group);
    Value first = arith::AddIOp::create(b, begin, tile.base);
    return {b.load(op.getGroup(), getSourceBuffer(op.getX()), {row, first})};
  }

  void emitStores(RowEmitter &rows, ColumnTile &tile) override {
    RowOpEmitter::emitStores(rows, tile);
    KernelBuilder &b = rows.b;
    for (Value buffer : getDestinations(op.getNumbers()))
      b.store(toI32(b, group), buffer, {rows.row, b.index(0)});
  }

  ColumnGroups getGroups() { return ColumnGroups(op.getX(), op.getGroup()); }

  /// `combine(acc, keys, numbers)` of all keys of the row, with the numbers of
  /// their groups.
  using Combine = function_ref<Value(Value, Value, Value)>;
  Value emitOverKeys(KernelBuilder &b, Value init,
                     vector::CombiningKind reduction, Combine combine);
  /// How many keys are as `predicate` says, compared with `bound`.
  Value emitCount(KernelBuilder &b, arith::CmpIPredicate predicate,
                  Value bound);
  /// The key of this rank, bit by bit from the highest one on.
  Value emitFindKey(KernelBuilder &b, Value rank);
  /// The group that has number `which` of those of this key.
  Value emitFindGroup(KernelBuilder &b, Value key, Value which);

  Value row, group;
};

} // namespace

Value LargestGroupsEmitter::emitOverKeys(KernelBuilder &b, Value init,
                                         vector::CombiningKind reduction,
                                         Combine combine) {
  int64_t columns = rankedType(op.getKeys()).getDimSize(1);
  auto all = b.accumulate(
      b.index(0), b.index(columns), kStep, b.broadcast(init, kStep),
      [&](Value begin, ValueRange acc) -> SmallVector<Value> {
        Value keys = b.load(kStep, getSourceBuffer(op.getKeys()), {row, begin});
        Value numbers = arith::AddIOp::create(
            b, b.laneNumbers(kStep), b.broadcast(toI32(b, begin), kStep));
        return {combine(acc[0], keys, numbers)};
      });
  return vector::ReductionOp::create(b, reduction, all.front());
}

Value LargestGroupsEmitter::emitCount(KernelBuilder &b,
                                      arith::CmpIPredicate predicate,
                                      Value bound) {
  Type i32 = b.getI32Type();
  return emitOverKeys(b, b.integer(i32, 0), vector::CombiningKind::ADD,
                      [&](Value acc, Value keys, Value) -> Value {
                        Value is = arith::CmpIOp::create(
                            b, predicate, keys, b.broadcast(bound, kStep));
                        Value one =
                            arith::ExtUIOp::create(b, keys.getType(), is);
                        return arith::AddIOp::create(b, acc, one);
                      });
}

Value LargestGroupsEmitter::emitFindKey(KernelBuilder &b, Value rank) {
  Type i32 = b.getI32Type();
  auto found = b.accumulate(
      b.index(32), b.integer(i32, 0),
      [&](Value turn, ValueRange acc) -> SmallVector<Value> {
        Value bit =
            arith::ShRUIOp::create(b, b.integer(i32, kSign), toI32(b, turn));
        Value larger = arith::OrIOp::create(b, acc[0], bit);
        Value count = emitCount(b, arith::CmpIPredicate::uge, larger);
        Value isIn =
            arith::CmpIOp::create(b, arith::CmpIPredicate::ugt, count, rank);
        return {arith::SelectOp::create(b, isIn, larger, acc[0])};
      });
  return found.front();
}

Value LargestGroupsEmitter::emitFindGroup(KernelBuilder &b, Value key,
                                          Value which) {
  Type i32 = b.getI32Type();
  int64_t last = getGroups().count() - 1;
  auto found = b.accumulate(
      b.add(b.toIndex(which), 1), b.integer(i32, -1),
      [&](Value, ValueRange before) -> SmallVector<Value> {
        return {emitOverKeys(
            b, b.integer(i32, last), vector::CombiningKind::MINSI,
            [&](Value acc, Value keys, Value numbers) -> Value {
              Value isKey = arith::CmpIOp::create(
                  b, arith::CmpIPredicate::eq, keys, b.broadcast(key, kStep));
              Value isBehind =
                  arith::CmpIOp::create(b, arith::CmpIPredicate::sgt, numbers,
                                        b.broadcast(before[0], kStep));
              Value is = arith::AndIOp::create(b, isKey, isBehind);
              Value least = arith::MinSIOp::create(b, acc, numbers);
              return arith::SelectOp::create(b, is, least, acc);
            })};
      });
  return found.front();
}

void LargestGroupsEmitter::emitPrologue(RowEmitter &rows) {
  KernelBuilder &b = rows.b;
  row = b.toIndex(b.load(getSourceBuffer(op.getRows()), rows.row));
  Value rank = b.load(getSourceBuffer(op.getRanks()), rows.row);
  Value key = emitFindKey(b, rank);
  Value larger = emitCount(b, arith::CmpIPredicate::ugt, key);
  Value which = arith::SubIOp::create(b, rank, larger);
  group = b.toIndex(emitFindGroup(b, key, which));
}

RowOpEmitterPtr lumen::createEmitter(GroupKeysOp op) {
  return std::make_unique<GroupKeysEmitter>(op);
}

RowOpEmitterPtr lumen::createEmitter(LargestGroupsOp op) {
  return std::make_unique<LargestGroupsEmitter>(op);
}

// SPDX-License-Identifier: Apache-2.0
//
// Small matrices, whose elements are in lanes as an instruction takes them: how
// they are loaded and stored, how they get there, and their product.
#include "passes/target/gpu/LaneDistributor.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace mlir::lumen;

SmallVector<Value> LaneDistributor::offsetLast(ValueRange offsets,
                                               Value numbers, int64_t number) {
  SmallVector<Value> at(offsets);
  Value own = b.toIndex(getOwnElement(b, numbers, number));
  at.back() = arith::AddIOp::create(b, at.back(), own);
  return at;
}

/// Whether a mask takes all elements.
static bool takesAll(Value mask) { return matchPattern(mask, m_One()); }

LogicalResult LaneDistributor::distribute(vector::GatherOp op) {
  if (!takesAll(op.getMask()))
    return op.emitOpError("cannot be distributed: its mask may leave some out");
  LaneLayout layout = layouts.lookup(op.getResult());
  SmallVector<Value> own;
  for (int64_t i = 0; i < layout.getOwn(); ++i) {
    auto load = memref::LoadOp::create(
        b, op.getBase(), offsetLast(op.getOffsets(), op.getIndices(), i));
    load.setAlignmentAttr(op.getAlignmentAttr());
    own.push_back(load);
  }
  return replace(op.getResult(), joinElements(b, layout, own));
}

LogicalResult LaneDistributor::distribute(vector::ScatterOp op) {
  if (!takesAll(op.getMask()))
    return op.emitOpError("cannot be distributed: its mask may leave some out");
  LaneLayout layout = layouts.lookup(op.getValueToStore());
  for (int64_t i = 0; i < layout.getOwn(); ++i)
    b.store(getOwnElement(b, op.getValueToStore(), i), op.getBase(),
            offsetLast(op.getOffsets(), op.getIndices(), i));
  dead.push_back(op);
  return success();
}

namespace {

/// From where lanes take an element: number `own` of those of vector `source`
/// in the lane `(lane & kept) | set`.
struct LaneMove {
  int64_t source, own, kept, set;

  bool operator==(const LaneMove &other) const {
    return source == other.source && own == other.own && kept == other.kept &&
           set == other.set;
  }
};

/// The lane and the number among its own of an element.
std::pair<int64_t, int64_t> findPlace(LaneLayout layout, int64_t element) {
  int64_t chunk = element / layout.chunk;
  return {chunk % kWarp, chunk / kWarp * layout.chunk + element % layout.chunk};
}

/// Where own element `own` of the result comes from in all lanes; none where
/// that is no such move.
std::optional<LaneMove> findMove(ArrayRef<int64_t> mask, LaneLayout result,
                                 ArrayRef<LaneLayout> sources, int64_t own) {
  auto find = [&](int64_t lane) -> std::array<int64_t, 3> {
    int64_t turn = own / result.chunk;
    int64_t number =
        mask[(turn * kWarp + lane) * result.chunk + own % result.chunk];
    int64_t source = number >= sources[0].elements;
    auto [from, its] =
        findPlace(sources[source], number - (source ? sources[0].elements : 0));
    return {source, its, from};
  };
  auto [source, its, set] = find(0);
  LaneMove move = {source, its, 0, set};
  for (int64_t bit = 1; bit < kWarp; bit *= 2)
    if (find(bit)[2] == (set | bit))
      move.kept |= bit & ~set;
  for (int64_t lane = 0; lane < kWarp; ++lane) {
    auto [otherSource, otherIts, from] = find(lane);
    if (otherSource != source || otherIts != its ||
        from != ((lane & move.kept) | set))
      return std::nullopt;
  }
  return move;
}

} // namespace

/// Elements that stay in their lanes cost nothing, and what several elements
/// take from a lane moves once.
LogicalResult LaneDistributor::distribute(vector::ShuffleOp op) {
  LaneLayout layout = layouts.lookup(op.getResult());
  SmallVector<LaneLayout> from = {layouts.lookup(op.getV1()),
                                  layouts.lookup(op.getV2())};
  if (layout.getPeriod() < kWarp || from[0].getPeriod() < kWarp ||
      from[1].getPeriod() < kWarp)
    return op.emitOpError("cannot be distributed: not every lane has elements "
                          "of its own");
  SmallVector<std::pair<LaneMove, Value>> moved;
  SmallVector<Value> own;
  for (int64_t i = 0; i < layout.getOwn(); ++i) {
    std::optional<LaneMove> move = findMove(op.getMask(), layout, from, i);
    if (!move)
      return op.emitOpError("cannot be distributed: lanes take elements by no "
                            "simple rule");
    auto *known =
        llvm::find_if(moved, [&](auto &each) { return each.first == *move; });
    if (known == moved.end()) {
      Value value = getOwnElement(b, op.getOperand(move->source), move->own);
      if (move->kept != kWarp - 1) {
        Type i32 = b.getI32Type();
        Value number =
            arith::AndIOp::create(b, lane, b.integer(i32, move->kept));
        number = arith::OrIOp::create(b, number, b.integer(i32, move->set));
        value = ShuffleOp::create(b, value, number);
      }
      moved.push_back({*move, value});
      known = std::prev(moved.end());
    }
    own.push_back(known->second);
  }
  return replace(op.getResult(), joinElements(b, layout, own));
}

LogicalResult LaneDistributor::distribute(MmaOp op) {
  DotAttr shape = op.getShape();
  if (shape.getM() * shape.getN() != 4 * kWarp)
    return op.emitOpError("cannot be distributed: the instruction of a warp "
                          "makes 4 sums in each lane");
  LaneLayout layout = layouts.lookup(op.getResult());
  Type own = layout.getType(b.getI32Type());
  return replace(op.getResult(), WarpMmaOp::create(b, own, shape, op.getLhs(),
                                                   op.getRhs(), op.getAcc()));
}

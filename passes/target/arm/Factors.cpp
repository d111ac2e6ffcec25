// SPDX-License-Identifier: Apache-2.0
//
// Factors that are made from the bits of small floats.
#include "passes/target/arm/Instructions.h"
#include "passes/target/arm/Registers.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <functional>

using namespace mlir;
using namespace mlir::lumen;

namespace {

constexpr unsigned kHalf = 16;

/// The bytes that `op` extends to lanes of more bits.
Value findBytes(Operation *op) {
  auto extend = dyn_cast_or_null<arith::ExtUIOp>(op);
  if (!extend || !getElementTypeOrSelf(extend.getIn()).isInteger(8))
    return nullptr;
  return extend.getIn();
}

/// What a value of lanes of 32 bits is for a `byte` of `bytes`, where it
/// depends on nothing else.
std::optional<APInt> evaluate(Value value, Value bytes, uint64_t byte) {
  if (std::optional<APInt> splat = arm::findSplat(value))
    return splat;
  Operation *op = value.getDefiningOp();
  if (Value found = findBytes(op))
    return found == bytes ? std::optional(APInt(2 * kHalf, byte))
                          : std::nullopt;
  if (!isa_and_nonnull<arith::AddIOp, arith::SubIOp, arith::ShLIOp,
                       arith::SelectOp, arith::CmpIOp>(op))
    return std::nullopt;
  SmallVector<APInt, 3> operands;
  for (Value operand : op->getOperands()) {
    std::optional<APInt> known = evaluate(operand, bytes, byte);
    if (!known)
      return std::nullopt;
    operands.push_back(*known);
  }
  if (auto compare = dyn_cast<arith::CmpIOp>(op))
    return APInt(1, arith::applyCmpPredicate(compare.getPredicate(),
                                             operands[0], operands[1]));
  if (isa<arith::SelectOp>(op))
    return operands[operands[0].isOne() ? 1 : 2];
  if (isa<arith::ShLIOp>(op))
    return operands[0].shl(operands[1]);
  return isa<arith::AddIOp>(op) ? operands[0] + operands[1]
                                : operands[0] - operands[1];
}

/// 16 bits of lanes of 32: the lower ones of a value, or the upper ones where
/// the lower ones are zero.
class Halves {
public:
  /// Makes them; null where they do not follow from 16 bits of bytes.
  using Maker = std::function<Value()>;

  Halves(KernelBuilder &b, VectorType words)
      : b(b), type(words.clone(b.getI16Type())) {}

  Maker getUpper(Value words);

private:
  Maker getLower(Value words);
  /// A condition on lanes that 16 bits hold.
  Maker getCondition(arith::CmpIOp compare);
  /// Whether the larger one of two values is selected, whatever a byte is.
  static bool takesLarger(arith::SelectOp op);
  Value constant(const APInt &value) {
    return b.integer(type, value.trunc(kHalf).getSExtValue());
  }

  KernelBuilder &b;
  VectorType type;
};

Halves::Maker Halves::getLower(Value words) {
  if (std::optional<APInt> splat = arm::findSplat(words))
    return [=] { return constant(*splat); };
  Operation *op = words.getDefiningOp();
  if (Value bytes = findBytes(op))
    return [=] { return arith::ExtUIOp::create(b, type, bytes); };
  if (!isa_and_nonnull<arith::AddIOp, arith::SubIOp>(op))
    return nullptr;
  Maker lhs = getLower(op->getOperand(0)), rhs = getLower(op->getOperand(1));
  if (!lhs || !rhs)
    return nullptr;
  return [=]() -> Value {
    Value one = lhs(), other = rhs();
    if (isa<arith::AddIOp>(op))
      return arith::AddIOp::create(b, one, other);
    return arith::SubIOp::create(b, one, other);
  };
}

Halves::Maker Halves::getCondition(arith::CmpIOp compare) {
  if (!compare || !findBytes(compare.getLhs().getDefiningOp()))
    return nullptr;
  // Not negative in 16 bits either, whichever way they are compared.
  std::optional<APInt> limit = arm::findSplat(compare.getRhs());
  if (!limit || limit->uge(1 << (kHalf - 1)))
    return nullptr;
  Maker lhs = getLower(compare.getLhs());
  arith::CmpIPredicate predicate = compare.getPredicate();
  return [=] {
    return arith::CmpIOp::create(b, predicate, lhs(), constant(*limit));
  };
}

bool Halves::takesLarger(arith::SelectOp op) {
  auto compare = op.getCondition().getDefiningOp<arith::CmpIOp>();
  Value bytes = compare ? findBytes(compare.getLhs().getDefiningOp()) : nullptr;
  for (uint64_t byte = 0; byte < 1 << 8; ++byte) {
    std::optional<APInt> taken = evaluate(op, bytes, byte),
                         one = evaluate(op.getTrueValue(), bytes, byte),
                         other = evaluate(op.getFalseValue(), bytes, byte);
    if (!taken || !one || !other ||
        *taken != llvm::APIntOps::smax(*one, *other))
      return false;
  }
  return true;
}

Halves::Maker Halves::getUpper(Value words) {
  if (auto shift = words.getDefiningOp<arith::ShLIOp>()) {
    std::optional<APInt> amount = arm::findSplat(shift.getRhs());
    Maker lower = getLower(shift.getLhs());
    if (!amount || amount->ult(kHalf) || amount->uge(2 * kHalf) || !lower)
      return nullptr;
    return [=] {
      return arith::ShLIOp::create(b, lower(), constant(*amount - kHalf));
    };
  }
  auto op = words.getDefiningOp<arith::SelectOp>();
  if (!op)
    return nullptr;
  Maker one = getUpper(op.getTrueValue()), other = getUpper(op.getFalseValue());
  if (!one || !other)
    return nullptr;
  if (takesLarger(op))
    return [=] { return arith::MaxSIOp::create(b, one(), other()); };
  Maker condition =
      getCondition(op.getCondition().getDefiningOp<arith::CmpIOp>());
  if (!condition)
    return nullptr;
  return [=] {
    Value which = condition();
    return arith::SelectOp::create(b, which, one(), other());
  };
}

/// Bits of floats, of which bytes make only the upper 16: eight lanes of these
/// are one register, where those of floats are two.
struct NarrowBits final : OpRewritePattern<arith::BitcastOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::BitcastOp op,
                                PatternRewriter &rewriter) const override {
    auto words = dyn_cast<VectorType>(op.getIn().getType());
    if (!words || words.getRank() != 1 ||
        !words.getElementType().isInteger(2 * kHalf) ||
        words.getNumElements() * kHalf % (8 * arm::kBytes))
      return failure();
    KernelBuilder b(op.getLoc(), rewriter);
    Halves halves(b, words);
    Halves::Maker upper = halves.getUpper(op.getIn());
    if (!upper)
      return failure();
    Value bits = arith::ExtUIOp::create(b, words, upper());
    bits = arith::ShLIOp::create(b, bits, b.integer(words, kHalf));
    rewriter.modifyOpInPlace(op, [&] { op.getInMutable().assign(bits); });
    return success();
  }
};

} // namespace

void arm::addNarrowBits(RewritePatternSet &patterns) {
  patterns.add<NarrowBits>(patterns.getContext());
}

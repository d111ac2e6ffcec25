// SPDX-License-Identifier: Apache-2.0
#include "passes/vectorize/DotPattern.h"

#include "dialect/LumenDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

/// acc + extended bf16 * extended bf16.
static bool matchBf16Dot(linalg::GenericOp generic, Value yielded, Value &code,
                         Value &activation) {
  auto add = yielded.getDefiningOp<arith::AddFOp>();
  auto product = add ? add.getRhs().getDefiningOp<arith::MulFOp>() : nullptr;
  if (!product || add.getLhs() != generic.getBody()->getArguments().back())
    return false;
  auto lhs = product.getLhs().getDefiningOp<arith::ExtFOp>(),
       rhs = product.getRhs().getDefiningOp<arith::ExtFOp>();
  if (!lhs || !rhs || !add.getType().isF32() ||
      !lhs.getIn().getType().isBF16() || !rhs.getIn().getType().isBF16())
    return false;
  code = lhs.getIn();
  activation = rhs.getIn();
  return true;
}

bool lumen::matchDot(linalg::GenericOp generic, Value &code,
                     Value &activation) {
  auto iterators = generic.getIteratorTypesArray();
  int64_t steps = generic.getStaticLoopRanges().back();
  if (iterators.back() != utils::IteratorType::reduction ||
      (steps != 4 && steps != 2))
    return false;
  Value yielded =
      cast<linalg::YieldOp>(generic.getBody()->getTerminator()).getOperand(0);
  if (steps == 2 && matchBf16Dot(generic, yielded, code, activation))
    return true;
  auto add = yielded.getDefiningOp<arith::AddIOp>();
  auto product = add ? add.getRhs().getDefiningOp<arith::MulIOp>() : nullptr;
  if (!product || add.getLhs() != generic.getBody()->getArguments().back())
    return false;
  Operation *lhs = product.getLhs().getDefiningOp();
  auto rhs = product.getRhs().getDefiningOp<arith::ExtSIOp>();
  if (steps == 2 && rhs && rhs.getIn().getType().isInteger(16)) {
    code = product.getLhs();
    activation = rhs.getIn();
    return true;
  }
  if (steps != 4 || !isa_and_nonnull<arith::ExtUIOp, arith::ExtSIOp>(lhs) ||
      !rhs || !lhs->getOperand(0).getType().isInteger(8) ||
      !rhs.getIn().getType().isInteger(8))
    return false;
  code = lhs->getOperand(0);
  activation = rhs.getIn();
  return true;
}

/// Largest value of an unsigned i8 computed in the body of a generic.
static uint64_t getMaximum(Value value, unsigned depth = 16) {
  Operation *op = value.getDefiningOp();
  if (!depth--)
    return 255;
  APInt constant;
  if (matchPattern(value, m_ConstantInt(&constant)))
    return constant.getZExtValue();
  if (auto mask = dyn_cast_or_null<arith::AndIOp>(op))
    return std::min(getMaximum(mask.getLhs(), depth),
                    getMaximum(mask.getRhs(), depth));
  if (auto shift = dyn_cast_or_null<arith::ShRUIOp>(op))
    return getMaximum(shift.getLhs(), depth);
  if (auto shift = dyn_cast_or_null<arith::ShLIOp>(op))
    if (matchPattern(shift.getRhs(), m_ConstantInt(&constant)) &&
        constant.ult(8))
      return std::min<uint64_t>(255, getMaximum(shift.getLhs(), depth)
                                         << constant.getZExtValue());
  if (auto join = dyn_cast_or_null<arith::OrIOp>(op)) {
    uint64_t larger = std::max(getMaximum(join.getLhs(), depth),
                               getMaximum(join.getRhs(), depth));
    return llvm::NextPowerOf2(larger) - 1;
  }
  if (auto select = dyn_cast_or_null<arith::SelectOp>(op))
    return std::max(getMaximum(select.getTrueValue(), depth),
                    getMaximum(select.getFalseValue(), depth));
  if (auto lookup = dyn_cast_or_null<LookupOp>(op)) {
    uint64_t largest = 0;
    for (int8_t entry : lookup.getTable())
      largest = std::max<uint64_t>(largest, uint8_t(entry));
    return largest;
  }
  return 255;
}

int64_t lumen::getCodeBits(Value code) {
  return std::max(1u, llvm::Log2_64_Ceil(getMaximum(code) + 1));
}

// SPDX-License-Identifier: Apache-2.0
#include "dialect/layout/FormatLayout.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

#include <numeric>

using namespace mlir;
using namespace mlir::lumen;

/// How much a block may grow, in percent, where factors of fewer than 8 bits
/// are kept in whole bytes, which kernels need not take apart.
static constexpr int64_t kGrowth = 3;

int64_t lumen::getBytes(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.getNumElements() * getBytes(vector.getElementType());
  if (type.isIndex())
    return 8;
  return llvm::divideCeil(type.getIntOrFloatBitWidth(), 8);
}

SmallVector<BitPlane> lumen::getBitPlanes(int64_t bits) {
  if (bits == 8)
    return {{8, 0}};
  SmallVector<BitPlane> planes;
  int64_t offset = 0;
  for (int64_t width : {4, 2, 1}) {
    if (!(bits & width))
      continue;
    planes.push_back({width, offset});
    offset += width;
  }
  return planes;
}

bool lumen::leavesBits(int64_t bits) { return !llvm::isPowerOf2_64(bits); }

int64_t lumen::getStepsOfUnit(int64_t bits) { return 8 / std::gcd(bits, 8); }

SmallVector<CodePiece> lumen::getCodePieces(int64_t bits, int64_t step) {
  int64_t steps = getStepsOfUnit(bits), loads = steps * bits / 8,
          perLoad = 8 / bits, left = 8 % bits;
  int64_t first = step / steps * loads, number = step % steps;
  if (number < loads * perLoad)
    return {{first + number / perLoad, number % perLoad * bits, bits}};
  // What loads have left over, from the upper bits on. A code takes it from
  // fresh ones first, then what other codes left of it.
  SmallVector<int64_t> over(loads, left);
  SmallVector<CodePiece> pieces;
  for (int64_t code = loads * perLoad; code <= number; ++code) {
    pieces.clear();
    int64_t missing = bits;
    for (bool isFresh : {true, false})
      for (int64_t load = 0; load < loads && missing; ++load) {
        if (!over[load] || (over[load] == left) != isFresh)
          continue;
        int64_t width = std::min(over[load], missing);
        pieces.push_back({first + load, 8 - left + over[load] - width, width});
        over[load] -= width;
        missing -= width;
      }
  }
  return pieces;
}

//===----------------------------------------------------------------------===//
// Factors
//===----------------------------------------------------------------------===//

/// Visits what `value` is computed from, itself included, operands first; what
/// `stop` accepts is visited but not looked behind.
static void visitSources(Value value, function_ref<bool(Value)> stop,
                         function_ref<void(Value)> visit) {
  DenseSet<Value> seen;
  std::function<void(Value)> walk = [&](Value current) {
    if (!seen.insert(current).second)
      return;
    Operation *op = current.getDefiningOp();
    if (op && !stop(current))
      for (Value operand : op->getOperands())
        walk(operand);
    visit(current);
  };
  walk(value);
}

static bool isStored(Value value) {
  return isa_and_nonnull<StoredOp>(value.getDefiningOp());
}

bool lumen::dependsOnStored(Value factor) {
  bool found = false;
  visitSources(factor, isStored,
               [&](Value value) { found |= isStored(value); });
  return found;
}

static FactorLevel getLevel(FormatOp format, Value value) {
  if (isa<VectorType>(value.getType()))
    return FactorLevel::Group;
  bool header = false, block = false;
  visitSources(
      value, [](Value) { return false; },
      [&](Value source) {
        if (auto argument = dyn_cast<BlockArgument>(source))
          (argument.getArgNumber() < format.getHeader() ? header : block) =
              true;
      });
  return header && !block ? FactorLevel::Row : FactorLevel::Block;
}

static int64_t getStoredBits(Value value) {
  if (auto stored = value.getDefiningOp<StoredOp>())
    return stored.getBits();
  return getElementTypeOrSelf(value.getType()).getIntOrFloatBitWidth();
}

/// The least and the largest of some integers, or nothing: also where they may
/// need more than 32 bits, or follow from more than `depth` operations in a
/// row.
static std::optional<IntegerRange> getRange(Value value, unsigned depth = 8) {
  using Range = std::optional<IntegerRange>;
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  APInt constant;
  if (matchPattern(value, m_ConstantInt(&constant))) {
    if (!constant.isSignedIntN(32))
      return std::nullopt;
    return IntegerRange{constant.getSExtValue(), constant.getSExtValue()};
  }
  if (auto stored = value.getDefiningOp<StoredOp>();
      stored && stored.getBits() < 8)
    return IntegerRange{0, (int64_t(1) << stored.getBits()) - 1};
  // A byte is a number with or without a sign.
  if (getElementTypeOrSelf(value.getType()).isInteger(8))
    return IntegerRange{-128, 255};
  Operation *op = value.getDefiningOp();
  if (!op || !depth)
    return std::nullopt;
  auto join = [&](auto binary, auto function) -> Range {
    Range lhs = getRange(binary.getLhs(), depth - 1),
          rhs = getRange(binary.getRhs(), depth - 1);
    if (!lhs || !rhs)
      return std::nullopt;
    IntegerRange joined = function(*lhs, *rhs);
    return joined.getMagnitude() <= kMost ? Range(joined) : std::nullopt;
  };
  return llvm::TypeSwitch<Operation *, Range>(op)
      .Case<arith::ExtSIOp, arith::ExtUIOp>(
          [&](auto op) { return getRange(op.getIn(), depth - 1); })
      .Case([&](arith::AddIOp op) {
        return join(op, [](IntegerRange a, IntegerRange b) {
          return IntegerRange{a.least + b.least, a.most + b.most};
        });
      })
      .Case([&](arith::SubIOp op) {
        return join(op, [](IntegerRange a, IntegerRange b) {
          return IntegerRange{a.least - b.most, a.most - b.least};
        });
      })
      .Case([&](arith::MulIOp op) {
        return join(op, [](IntegerRange a, IntegerRange b) { return a * b; });
      })
      .Default([](Operation *) -> Range { return std::nullopt; });
}

IntegerRange IntegerRange::operator*(IntegerRange other) const {
  auto [low, high] = std::minmax({least * other.least, least * other.most,
                                  most * other.least, most * other.most});
  return {low, high};
}

int64_t IntegerRange::getMagnitude() const {
  return std::max(std::abs(least), std::abs(most));
}

std::optional<IntegerRange> lumen::getGroupIntegers(OperandRange factor) {
  if (factor.size() != 2 || !isa<FloatType>(factor[0].getType()))
    return std::nullopt;
  auto group = dyn_cast<VectorType>(factor[1].getType());
  if (!group || !isa<IntegerType>(group.getElementType()))
    return std::nullopt;
  return getRange(factor[1]);
}

/// The same for one of the parts that are multiplied.
static std::optional<int64_t> getSignificantBits(Value part) {
  Type element = getElementTypeOrSelf(part.getType());
  // From 2^-24 to less than 2^16.
  if (element.isF16())
    return 11;
  if (isa<IntegerType>(element)) {
    std::optional<IntegerRange> range = getRange(part);
    if (!range)
      return std::nullopt;
    return llvm::Log2_64_Ceil(range->getMagnitude() + 1);
  }
  if (auto extend = part.getDefiningOp<arith::ExtFOp>())
    return getSignificantBits(extend.getIn());
  // Powers of two change no digit.
  constexpr int kMostExponent = 32;
  auto multiply = part.getDefiningOp<arith::MulFOp>();
  APFloat factor(0.0f);
  if (!multiply || !matchPattern(multiply.getRhs(), m_ConstantFloat(&factor)) ||
      factor.getExactLog2Abs() == INT_MIN ||
      std::abs(factor.getExactLog2Abs()) > kMostExponent)
    return std::nullopt;
  return getSignificantBits(multiply.getLhs());
}

std::optional<int64_t> lumen::getSignificantBits(OperandRange factor) {
  int64_t bits = 0;
  for (Value part : factor) {
    std::optional<int64_t> ofPart = ::getSignificantBits(part);
    if (!ofPart)
      return std::nullopt;
    bits += *ofPart;
  }
  return bits;
}

bool lumen::takesIntegerSums(FormatOp format, int64_t group, int64_t sumGroup) {
  OperandRange min = format.getDecoded().getMin();
  if (min.empty())
    return true;
  std::optional<IntegerRange> integers = getGroupIntegers(min);
  return integers &&
         integers->getMagnitude() <= std::numeric_limits<int16_t>::max() &&
         group % (2 * kSpan) == 0 && 2 * sumGroup >= kSpan;
}

SmallVector<StoredFactor> lumen::getStoredFactors(FormatOp format) {
  llvm::SetVector<Value> values;
  DecodedOp decoded = format.getDecoded();
  for (OperandRange factors : {decoded.getScale(), decoded.getMin()})
    for (Value factor : factors) {
      if (!dependsOnStored(factor))
        values.insert(factor);
      visitSources(factor, isStored, [&](Value value) {
        if (isStored(value))
          values.insert(value);
      });
    }
  // Bits of a block with factors as they are, and with factors in whole bytes.
  int64_t groups = int64_t(format.getBlock()) / int64_t(format.getGroup());
  int64_t exact = int64_t(format.getBlock()) * format.getBits(), whole = exact;
  SmallVector<StoredFactor> factors;
  for (Value value : values) {
    Type element = getElementTypeOrSelf(value.getType());
    int64_t width = element.getIntOrFloatBitWidth();
    FactorLevel level = getLevel(format, value);
    factors.push_back({value, level, {{width, 0}}});
    int64_t count = level == FactorLevel::Group   ? groups
                    : level == FactorLevel::Block ? 1
                                                  : 0;
    exact +=
        count * (level == FactorLevel::Group ? getStoredBits(value) : width);
    whole += count * width;
  }
  if (whole * 100 <= exact * (100 + kGrowth))
    return factors;
  for (StoredFactor &factor : factors) {
    int64_t bits = getStoredBits(factor.value);
    if (factor.level != FactorLevel::Group || bits >= 8)
      continue;
    SmallVector<BitPlane> planes = getBitPlanes(bits);
    // A byte never holds groups of two blocks.
    if (groups % planes.back().getValuesPerByte() == 0)
      factor.planes = planes;
  }
  return factors;
}

int64_t lumen::getCodeBias(FormatOp format) {
  auto table = format.getTable();
  if (!table)
    return format.getBias();
  int64_t least = *llvm::min_element(*table);
  // Where the entries allow it a power of two, which formats have in common.
  int64_t power = llvm::PowerOf2Ceil(std::max<int64_t>(0, -least));
  return least < 0 && *llvm::max_element(*table) + power <= 255 ? -power
                                                                : least;
}

bool lumen::hasSignedBytes(FormatOp format) {
  int64_t bias = getCodeBias(format),
          largest = (int64_t(1) << format.getBits()) - 1;
  if (auto table = format.getTable())
    largest = *llvm::max_element(*table) - bias;
  return largest > 127 && bias >= -128 && bias + largest <= 127;
}

bool lumen::hasByteCodes(FormatOp format) {
  return format.getBits() == 8 && !format.getTable();
}

FormatOp lumen::lookupFormat(RankedTensorType type, Operation *from) {
  auto quant = dyn_cast<QuantType>(type.getElementType());
  if (!quant)
    return nullptr;
  return SymbolTable::lookupNearestSymbolFrom<FormatOp>(from,
                                                        quant.getFormat());
}

// SPDX-License-Identifier: Apache-2.0
#include "dialect/LumenDialect.h"
#include "dialect/layout/FormatLayout.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/TargetParser/Host.h"

using namespace mlir;
using namespace mlir::lumen;

#include "dialect/LumenDialect.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "dialect/LumenTypes.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialect/LumenAttrs.cpp.inc"

void LumenDialect::registerTypes() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialect/LumenTypes.cpp.inc"
      >();
}

void LumenDialect::registerAttributes() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialect/LumenAttrs.cpp.inc"
      >();
}

void LumenDialect::initialize() {
  registerTypes();
  registerAttributes();
  addOperations<
#define GET_OP_LIST
#include "dialect/LumenOps.cpp.inc"
      >();
}

Operation *LumenDialect::materializeConstant(OpBuilder &builder,
                                             Attribute value, Type type,
                                             Location loc) {
  return arith::ConstantOp::materialize(builder, value, type, loc);
}

/// The value of an i64 attribute, if `attr` is one.
static std::optional<int64_t> getInt64(Attribute attr) {
  auto number = dyn_cast<IntegerAttr>(attr);
  if (!number || !number.getType().isSignlessInteger(64))
    return std::nullopt;
  return number.getInt();
}

LogicalResult LumenDialect::verifyOperationAttribute(Operation *op,
                                                     NamedAttribute attr) {
  Attribute value = attr.getValue();
  if (attr.getName() == kTargetAttr && !isa<TargetAttr>(value))
    return op->emitError() << kTargetAttr << " must be a #lumen.target, got "
                           << value;
  if (attr.getName() == kMaxTokensAttr) {
    std::optional<int64_t> tokens = getInt64(value);
    if (!tokens || *tokens < 1 || *tokens > std::numeric_limits<int32_t>::max())
      return op->emitError()
             << kMaxTokensAttr << " must be an i64 of 1 to 2147483647, got "
             << value;
  }
  if (attr.getName() == kPrefetchAttr) {
    std::optional<int64_t> bytes = getInt64(value);
    if (!bytes || *bytes < 0 || *bytes > std::numeric_limits<int32_t>::max())
      return op->emitError()
             << kPrefetchAttr << " must be an i64 of 0 to 2147483647, got "
             << value;
  }
  return success();
}

LogicalResult LumenDialect::verifyRegionArgAttribute(Operation *op,
                                                     unsigned /*region*/,
                                                     unsigned argument,
                                                     NamedAttribute attr) {
  StringRef name = attr.getName();
  Attribute value = attr.getValue();
  auto fail = [&](StringRef expected) {
    return op->emitError() << name << " of argument " << argument << " must be "
                           << expected << ", got " << value;
  };
  if (name == kNameAttr && !isa<StringAttr>(value))
    return fail("a string");
  if (llvm::is_contained(
          {kOutAttr, kTokensAttr, kArenaAttr, kWorkerAttr, kIsInBlockAttr},
          name) &&
      !isa<UnitAttr>(value))
    return fail("a unit attribute");
  if (name == kTileAttr && !isa<PackedAttr>(value))
    return fail("a #lumen.packed");
  int64_t arguments = op->getRegion(0).getNumArguments();
  if (name == kResultAttr) {
    std::optional<int64_t> number = getInt64(value);
    if (!number || *number < 0)
      return fail("an i64 of at least 0");
    // Every result of a public function has an argument of its own.
    auto symbol = dyn_cast<SymbolOpInterface>(op);
    if (symbol && symbol.isPublic() && *number >= arguments)
      return fail("less than the number of arguments (" +
                  std::to_string(arguments) + ")");
  }
  if (name == kRowsAttr) {
    std::optional<int64_t> number = getInt64(value);
    if (!number || *number < 0 || *number >= arguments)
      return fail("the number of an argument, an i64");
  }
  return success();
}

LogicalResult PackedAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t rows, int64_t k, bool /*signedCodes*/,
                                 bool wholeCodes) {
  if (rows < 1 || rows > 64 || !llvm::isPowerOf2_64(rows))
    return emitError() << "rows must be a power of two of at most 64, got "
                       << rows;
  // A step lies in one span.
  if (k < 1 || k > kSpan || !llvm::isPowerOf2_64(k))
    return emitError() << "k must be a power of two of at most " << kSpan
                       << ", got " << k;
  if (wholeCodes && k != kDotStep)
    return emitError() << "whole_codes need k = " << kDotStep << ", got " << k;
  return success();
}

LogicalResult
PackedAttr::verifyEncoding(ArrayRef<int64_t> shape, Type elementType,
                           function_ref<InFlightDiagnostic()> emitError) const {
  if (shape.size() != 2)
    return emitError() << "a packed weight has two dimensions, got "
                       << shape.size();
  // Null where the parser has refused it already.
  if (!elementType)
    return failure();
  if (!isa<QuantType, Float16Type, BFloat16Type, Float32Type>(elementType))
    return emitError()
           << "a packed weight has quantized, f16, bf16 or f32 elements, got "
           << elementType;
  if ((getSignedCodes() || getWholeCodes()) && !isa<QuantType>(elementType))
    return emitError() << (getSignedCodes() ? "signed_codes" : "whole_codes")
                       << " are for quantized elements, got " << elementType;
  return success();
}

LogicalResult DotAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                              int64_t m, int64_t n, int64_t k, IntegerType lhs,
                              IntegerType rhs, IntegerType acc,
                              bool /*accumulates*/, int64_t step,
                              bool /*weightsLeft*/) {
  for (auto [name, size] : {std::pair("m", m), {"n", n}, {"k", k}})
    if (size < 1 || size > 64 || (size & (size - 1)))
      return emitError() << name
                         << " must be a power of two of at most 64, got "
                         << size;
  for (auto [name, type] : {std::pair("lhs", lhs), {"rhs", rhs}})
    if (type.isSignless())
      return emitError() << name
                         << " must be a signed or an unsigned integer, got "
                         << type;
  if (lhs.getWidth() != rhs.getWidth())
    return emitError() << "lhs and rhs must be equally wide, got " << lhs
                       << " and " << rhs;
  if (!acc.isSignless() || acc.getWidth() <= lhs.getWidth())
    return emitError() << "acc must be a signless integer wider than " << lhs
                       << ", got " << acc;
  if (step < 0 || step > k || (step & (step - 1)))
    return emitError() << "step must be a power of two of at most k (" << k
                       << "), got " << step;
  return success();
}

DotAttr DotAttr::withK(int64_t k) const {
  return DotAttr::get(getContext(), getM(), getN(), k, getLhs(), getRhs(),
                      getAcc(), getAccumulates(), getStep(), getWeightsLeft());
}

/// Checks a dot product of sides of `bits` bits, whose sums fill a vector.
static LogicalResult verifyDot(function_ref<InFlightDiagnostic()> emitError,
                               StringRef name, DotAttr dot, unsigned bits,
                               int64_t vectorBits) {
  if (!dot)
    return success();
  if (dot.getLhs().getWidth() != bits)
    return emitError() << name << " must multiply integers of " << bits
                       << " bits, got " << dot.getLhs();
  int64_t sums = dot.getM() * dot.getN() * dot.getAcc().getWidth();
  if (sums != vectorBits)
    return emitError() << "the sums of " << name << " must fill a vector of "
                       << vectorBits << " bits, got " << dot.getM() << " x "
                       << dot.getN() << " " << dot.getAcc();
  return success();
}

/// Tokens whose sums with `rows` rows fill half of the registers, of `lanes`
/// sums each, but at least those of one instruction. Where that takes a single
/// token, a register has its codes for several: with both kinds of sums, such a
/// register for each token and the codes of the rows, all registers are in use.
/// With weights on the left it is a quarter: there, sums on the way to a scale
/// of the activations and codes take as many.
static int64_t getMmaTokens(DotAttr mma, int64_t registers, int64_t lanes,
                            int64_t rows) {
  if (mma.getM() == 1) {
    int64_t parts = llvm::divideCeil(rows, lanes);
    return std::max<int64_t>(1, (registers - parts) / (2 * parts + 1));
  }
  int64_t part = mma.getWeightsLeft() ? 4 : 2;
  return std::max(mma.getTokens(), registers / part * lanes / rows);
}

/// Checks that products of matrices fit a register tile.
static LogicalResult verifyMma(function_ref<InFlightDiagnostic()> emitError,
                               DotAttr mma, int64_t registers, int64_t lanes,
                               int64_t rows, int64_t warp) {
  if (!mma)
    return success();
  if (mma.getWeightsLeft() != (warp > 1))
    return emitError()
           << "mma must have weights_left where a worker is a warp, "
              "and only there, got "
           << mma;
  if (mma.getLhs().getWidth() != 8 || mma.getAcc().getWidth() != 32)
    return emitError() << "mma must multiply integers of 8 bits to sums of 32 "
                          "bits, got "
                       << mma;
  if (mma.getN() > lanes || mma.getM() * mma.getN() % lanes)
    return emitError() << "the sums of mma must fill vectors of " << 32 * lanes
                       << " bits with whole rows, got " << mma.getM() << " x "
                       << mma.getN() << " " << mma.getAcc();
  if (!mma.getLhs().isSigned() || !mma.getRhs().isSigned() ||
      !mma.getAccumulates())
    return emitError() << "mma must add products of signed codes to its sums, "
                          "got "
                       << mma;
  if (mma.getK() < kDotStep || mma.getK() > kSpan)
    return emitError() << "mma must have k of " << kDotStep << " to " << kSpan
                       << ", got " << mma.getK();
  if (mma.getStepSize() < kDotStep)
    return emitError() << "mma must have a step of at least " << kDotStep
                       << ", got " << mma.getStep();
  if (rows % mma.getRows())
    return emitError() << "rows must be a multiple of the "
                       << (mma.getWeightsLeft() ? "m" : "n") << " of mma ("
                       << mma.getRows() << "), got " << rows;
  int64_t tokens = getMmaTokens(mma, registers, lanes, rows);
  if (tokens < mma.getTokens() || tokens > 64 || tokens % mma.getTokens())
    return emitError() << "half of " << registers
                       << " registers must hold the sums of mma for a multiple "
                          "of "
                       << mma.getTokens() << " tokens, at most 64, got "
                       << tokens;
  return success();
}

LogicalResult TargetAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 StringRef /*name*/, StringRef /*triple*/,
                                 StringRef /*cpu*/, StringRef /*features*/,
                                 int64_t vectorRegisters, int64_t vectorBits,
                                 bool /*fma*/, bool /*f16*/, int64_t cacheLine,
                                 DotAttr dot, DotAttr pairDot, DotAttr mma,
                                 bool /*bf16Dot*/, int64_t warp,
                                 int64_t workers, int64_t rows,
                                 int64_t tokens) {
  if (vectorRegisters < 8 || vectorRegisters > 256)
    return emitError() << "vector_registers must be 8 to 256, got "
                       << vectorRegisters;
  if (vectorBits < 32 || vectorBits > 2048 || (vectorBits & (vectorBits - 1)))
    return emitError()
           << "vector_bits must be a power of two of 32 to 2048, got "
           << vectorBits;
  if (warp != 1 && (warp != 32 || vectorBits != 32 * warp))
    return emitError()
           << "warp must be 1, or 32 where vector_bits is 1024, got " << warp;
  constexpr int64_t kMostWorkers = 1 << 20;
  if (workers < 1 || workers > (warp == 1 ? 1 : kMostWorkers))
    return emitError() << "workers must be 1, or at most " << kMostWorkers
                       << " where these are warps, got " << workers;
  if (cacheLine < 16 || cacheLine > 1024 || (cacheLine & (cacheLine - 1)))
    return emitError()
           << "cache_line must be a power of two of 16 to 1024 bytes, got "
           << cacheLine;
  if (failed(verifyDot(emitError, "dot", dot, 8, vectorBits)) ||
      failed(verifyDot(emitError, "pair_dot", pairDot, 16, vectorBits)))
    return failure();
  if (pairDot && pairDot.getK() != 2)
    return emitError() << "pair_dot must have k = 2, got " << pairDot.getK();
  if (rows < 1 || rows > 64 || (rows & (rows - 1)))
    return emitError() << "rows must be a power of two of at most 64, got "
                       << rows;
  if (tokens < 1 || tokens > 32)
    return emitError() << "tokens must be 1 to 32, got " << tokens;
  return verifyMma(emitError, mma, vectorRegisters, vectorBits / 32, rows,
                   warp);
}

TargetAttr TargetAttr::lookup(Operation *op) {
  auto module = dyn_cast<ModuleOp>(op);
  if (!module)
    module = op->getParentOfType<ModuleOp>();
  return module ? module->getAttrOfType<TargetAttr>(LumenDialect::kTargetAttr)
                : TargetAttr();
}

llvm::Triple::ArchType TargetAttr::getArchitecture() const {
  StringRef triple = getTriple();
  return llvm::Triple(triple.empty() ? llvm::sys::getProcessTriple()
                                     : llvm::Triple::normalize(triple))
      .getArch();
}

bool TargetAttr::hasFeature(StringRef name) const {
  SmallVector<StringRef> features;
  getFeatures().split(features, ',');
  return llvm::any_of(features, [&](StringRef feature) {
    return feature.consume_front("+") && feature == name;
  });
}

bool TargetAttr::prefersSignedCodes() const {
  if (DotAttr dot = getDot())
    return dot.getRhs().isSigned() || dot.getAcc().getWidth() < 32;
  return getPairDot() != nullptr;
}

bool TargetAttr::storesSignedCodes() const {
  DotAttr dot = getDot();
  return dot && dot.getRhs().isSigned();
}

bool TargetAttr::storesWholeCodes() const {
  return getArchitecture() == llvm::Triple::aarch64;
}

bool TargetAttr::addsPairs() const {
  DotAttr dot = getPairDot();
  return dot && dot.getAccumulates() && getVectorRegisters() >= 32;
}

int64_t TargetAttr::getMmaTokens() const {
  return ::getMmaTokens(getMma(), getVectorRegisters(), getLanes(), getRows());
}

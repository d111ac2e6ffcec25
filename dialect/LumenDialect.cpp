// SPDX-License-Identifier: Apache-2.0
#include "dialect/LumenDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

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

LogicalResult PackedAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t rows) {
  if (rows < 1 || rows > 64 || (rows & (rows - 1)))
    return emitError() << "rows must be a power of two of at most 64, got "
                       << rows;
  return success();
}

LogicalResult
PackedAttr::verifyEncoding(ArrayRef<int64_t> shape, Type elementType,
                           function_ref<InFlightDiagnostic()> emitError) const {
  if (shape.size() != 2)
    return emitError() << "a packed weight has two dimensions, got "
                       << shape.size();
  if (!isa<QuantType, Float16Type, BFloat16Type, Float32Type>(elementType))
    return emitError()
           << "a packed weight has quantized, f16, bf16 or f32 elements, got "
           << elementType;
  return success();
}

LogicalResult TargetAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 StringRef name, StringRef triple,
                                 StringRef cpu, StringRef features,
                                 StringRef dot4, int64_t vectorBits,
                                 int64_t rows, int64_t tokens) {
  static constexpr StringLiteral kDot4[] = {
      "avx512vnni", "avx512bw", "avxvnni", "avx2", "ssse3", "generic"};
  if (!llvm::is_contained(kDot4, dot4)) {
    InFlightDiagnostic diag = emitError() << "unknown dot4 implementation '"
                                          << dot4 << "', expected one of ";
    llvm::interleaveComma(kDot4, diag);
    return diag;
  }
  if (vectorBits < 32 || (vectorBits & (vectorBits - 1)))
    return emitError()
           << "vector_bits must be a power of two of at least 32, got "
           << vectorBits;
  if (rows < 1 || rows > 64 || (rows & (rows - 1)))
    return emitError() << "rows must be a power of two of at most 64, got "
                       << rows;
  if (tokens < 1 || tokens > 32)
    return emitError() << "tokens must be 1 to 32, got " << tokens;
  return success();
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/target/common/VectorPieces.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

Value lumen::callIntrinsic(KernelBuilder &b, StringRef name, Type type,
                           ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(b, type, b.getStringAttr(name), operands)
      .getResult(0);
}

Value lumen::spread(KernelBuilder &b, Value x, VectorType type) {
  int64_t words = type.getNumElements() * type.getElementTypeBitWidth() / 32;
  Value word =
      vector::BitCastOp::create(b, VectorType::get(1, b.getI32Type()), x);
  word = b.broadcast(vector::ExtractOp::create(b, word, 0), words);
  return vector::BitCastOp::create(b, type, word);
}

Value lumen::splitVector(KernelBuilder &b, VectorType type, int64_t size,
                         function_ref<Value(int64_t first)> part) {
  int64_t elements = type.getNumElements();
  if (elements == size)
    return part(0);
  Value result = b.zero(type);
  for (int64_t first = 0; first < elements; first += size)
    result = b.insert(part(first), result, first);
  return result;
}

// SPDX-License-Identifier: Apache-2.0
//
// Bytes four at a time, as words of 32 bits, which a thread computes with.
#ifndef LUMEN_PASSES_TARGET_GPU_BYTEWORDS_H
#define LUMEN_PASSES_TARGET_GPU_BYTEWORDS_H

#include "dialect/LumenDialect.h"
#include "passes/support/KernelBuilder.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::lumen {

/// Bytes in a word.
constexpr int64_t kByteWord = 4;

/// Whether `dot` adds up four signed bytes in each lane of a warp.
bool isByteDot(DotAttr dot, int64_t warp);

/// Whether the vector consists of words.
bool isByteWords(Type type);

Value asWord(KernelBuilder &b, Value bytes);
Value asBytes(KernelBuilder &b, Value word);

/// Applies `emit` to the words of vectors of bytes, which make one of `type`.
Value mapByteWords(KernelBuilder &b, VectorType type, ArrayRef<Value> operands,
                   function_ref<Value(ArrayRef<Value>)> emit);

/// The four words of a table of at most 16 bytes.
SmallVector<Value> getTableWords(KernelBuilder &b, ArrayRef<int8_t> table);

/// Adds what turns shifts of bytes into those of words.
void addByteShifts(RewritePatternSet &patterns);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_GPU_BYTEWORDS_H

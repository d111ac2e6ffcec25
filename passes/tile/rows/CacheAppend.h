// SPDX-License-Identifier: Apache-2.0
//
// Writes the heads of a position to a page of the KV cache, whose pages hold
// floats or 8-bit codes.
#ifndef LUMEN_PASSES_TILE_ROWS_CACHEAPPEND_H
#define LUMEN_PASSES_TILE_ROWS_CACHEAPPEND_H

#include "dialect/LumenDialect.h"
#include "passes/support/KernelBuilder.h"

namespace mlir::lumen {

class CacheAppend {
public:
  /// Finds the place of position `position`, in the heads from column `column`
  /// on. `staging` is scratch of one head in the element type of the cache;
  /// caches of values need none.
  CacheAppend(KernelBuilder &b, KvAppendOp op, Value position, Value column,
              Value staging);

  /// Stores `pieces`, vectors of whole heads.
  void emit(ArrayRef<Value> pieces);

private:
  void emitFloats(Value head, Value values);
  void emitCodes(Value head, Value values);

  KernelBuilder &b;
  KvAppendOp op;
  Value staging;
  bool isKey;
  int64_t headDim;
  Value cache, lane, block, firstHead;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_ROWS_CACHEAPPEND_H

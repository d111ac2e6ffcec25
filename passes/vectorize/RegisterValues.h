// SPDX-License-Identifier: Apache-2.0
//
// What the tensors of a product kernel become: vectors in registers, or views
// of buffers that are loaded from where they are used.
#ifndef LUMEN_PASSES_VECTORIZE_REGISTERVALUES_H
#define LUMEN_PASSES_VECTORIZE_REGISTERVALUES_H

#include "dialect/LumenDialect.h"
#include "passes/support/KernelBuilder.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

namespace mlir::lumen {

/// A tensor held in registers: one vector per index of the leading dimensions.
struct RegisterTile {
  SmallVector<int64_t> shape;
  SmallVector<Value> vectors;

  int64_t getLanes() const { return shape.back(); }
  int64_t flatten(ArrayRef<int64_t> leading) const {
    int64_t flat = 0;
    for (auto [position, size] :
         llvm::zip(leading, ArrayRef(shape).drop_back()))
      flat = flat * size + position;
    return flat;
  }
};

/// A tensor that is a buffer: which of the buffer's dimensions it has, the
/// others being of size 1.
struct BufferView {
  Value buffer;
  SmallVector<unsigned> dims;

  int64_t getRank() const {
    return cast<MemRefType>(buffer.getType()).getRank();
  }
};

class GenericUnroller;

struct RegisterValues {
  explicit RegisterValues(func::FuncOp kernel);
  ~RegisterValues();

  /// The registers that hold a tensor; null where none do.
  const RegisterTile *findTile(Value tensor);
  /// The buffer with its last two dimensions joined.
  Value collapseInner(Value buffer);

  KernelBuilder b;
  DenseMap<Value, RegisterTile> tiles;
  /// Generics that are unrolled with what reads them.
  DenseMap<Value, std::unique_ptr<GenericUnroller>> deferred;
  DenseMap<Value, BufferView> views;
  DenseMap<Value, Value> collapsed;
  /// Of the target.
  int64_t vectorBits, registers;
};

/// Vectors that a tensor of this shape takes.
int64_t getVectorCount(ArrayRef<int64_t> shape);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_VECTORIZE_REGISTERVALUES_H

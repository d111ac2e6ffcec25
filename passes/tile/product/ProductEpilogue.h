// SPDX-License-Identifier: Apache-2.0
//
// What follows a product inside its kernel: biases and element-wise ops,
// applied to a register tile just before it is stored.
#ifndef LUMEN_PASSES_TILE_PRODUCT_PRODUCTEPILOGUE_H
#define LUMEN_PASSES_TILE_PRODUCT_PRODUCTEPILOGUE_H

#include "dialect/LumenDialect.h"
#include "passes/tile/product/ProductOperands.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::lumen {

/// One stored result of a product kernel.
struct ProductSink {
  /// The bufferization.materialize_in_destination that stores it.
  Operation *store;
  /// The value stored and the buffer it goes to.
  Value value, buffer;
  /// Which results of the product it is computed from.
  SmallVector<unsigned> products;
  /// The one of them, if any, that the buffer holds already, bias included.
  std::optional<unsigned> stored = std::nullopt;
};

/// Finds the stored results of `kernel`. Each must follow from `product`
/// through element-wise ops only, and products that meet must have the same
/// size.
LogicalResult collectSinks(func::FuncOp kernel, QLinearOp product,
                           SmallVectorImpl<ProductSink> &sinks);

/// Whether a sink is computed from two results of `product` and nothing else.
bool joinsTwoProducts(const ProductSink &sink, QLinearOp product);

/// Starts to fetch what `emitEpilogue` will read and write. It meets every row
/// of a buffer once for a tile, which no hardware foresees, and late: the
/// product comes between.
void fetchEpilogue(TileBuilder &b, const ProductSink &sink, QLinearOp product,
                   const TokenTile &tokens, int64_t rows, Value row);

/// Computes rows [row, row + rows) of the tokens of a sink from the
/// register tiles in `results` (indexed like the product's results; tokens x R
/// values, of which the first `rows` lanes count) and stores them.
void emitEpilogue(TileBuilder &b, const ProductSink &sink, QLinearOp product,
                  ArrayRef<Value> results, const TokenTile &tokens,
                  int64_t rows, Value row);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_PRODUCTEPILOGUE_H

// SPDX-License-Identifier: Apache-2.0
//
// The loops of a product kernel over the register tiles of its results, and
// what follows the product in each of them.
#ifndef LUMEN_PASSES_TILE_PRODUCT_PRODUCTSYNTHESIZER_H
#define LUMEN_PASSES_TILE_PRODUCT_PRODUCTSYNTHESIZER_H

#include "passes/target/common/Architecture.h"
#include "passes/tile/product/ConvertedWeight.h"
#include "passes/tile/product/MatrixTiles.h"
#include "passes/tile/product/ProductEpilogue.h"
#include "passes/tile/product/ProductTile.h"
#include "passes/tile/product/ScaledWeight.h"

namespace mlir::lumen {

/// The target's register tile: so many rows of a weight (0: any) by so many
/// tokens.
struct TileShape {
  int64_t rows, tokens;
};

class ProductSynthesizer {
public:
  ProductSynthesizer(func::FuncOp kernel, QLinearOp product, TileShape shape,
                     int64_t blockBytes, TargetAttr target)
      : b(product.getLoc(), kernel.getContext()), kernel(kernel),
        product(product), shape(shape), blockBytes(blockBytes), target(target),
        form{target && target.prefersSignedCodes(),
             target && target.addsPairs()},
        operands(b, product, target) {}

  LogicalResult run();

private:
  /// The weights of the product, or what stands for them.
  using Weights = ArrayRef<const PackedWeight *>;
  /// The weight of a sink, or one of several that are alike.
  const PackedWeight &getWeight(const ProductSink &sink) const {
    return operands.weights[sink.products.front()];
  }
  /// Tokens of a register tile: more where a weight's tiles have fewer rows. Of
  /// these a power of two, which leaves fewer tokens over from a prompt.
  int64_t getTokens(const PackedWeight &weight) const {
    int64_t ratio = shape.rows / weight.rows;
    return ratio > 1 ? llvm::bit_floor(uint64_t(shape.tokens)) * ratio
                     : shape.tokens;
  }
  /// See preparedWeights.
  std::unique_ptr<PreparedWeight> prepare(const PackedWeight &weight);
  /// Whether many tokens go through instructions for matrices.
  bool usesMatrices(const ProductSink &sink) const {
    return matrixTiles && matrixTiles->hold(sink.products);
  }
  /// Where workers are warps, so many segments of its columns as there are
  /// workers for the tiles of a sink.
  Segments getSegments(const ProductSink &sink);
  void emitSink(const ProductSink &sink, bool last);
  Value emitFewTokens(const ProductSink &sink);
  Value emitSingleToken(const ProductSink &sink);
  Value emitManyTokens(const ProductSink &sink);
  Value emitMatrixTiles(const ProductSink &sink);
  void emitMatrixTiles(const ProductSink &sink, Value first, Value end,
                       Value tile, Value rowTile);
  void emitMatrixTiles(const ProductSink &sink, Value first, Value end,
                       int64_t count, Value rowTile);
  void emitPlainTiles(const ProductSink &sink, Weights weights, Value begin,
                      Value taken, bool last,
                      function_ref<Value(Value)> emitTileOf);
  /// Tokens in blocks, and tiles of rows.
  struct Blocks {
    /// The tokens, `begin` (0 where that is null) and the one behind the last.
    Value begin, end;
    /// A register tile.
    int64_t tokens, rows;
    /// How much larger than others blocks of tokens are; 0 for those of a tile.
    int64_t enlarged;
  };
  void emitTokenBlocks(const ProductSink &sink, const Blocks &blocks,
                       Value taken, bool last,
                       function_ref<void(Value, Value, Value)> emitBody);
  void emitExpertGroups(const ProductSink &sink, Value single, bool last);
  void emitRegisterTiles(const ProductSink &sink, Weights weights, Value first,
                         Value count, Value tile, Value rowTile);
  void forEachTokenTile(const ProductSink &sink, Weights weights, Value first,
                        Value count, function_ref<void(TokenTile)> body);
  void emitTile(const ProductSink &sink, Weights weights,
                const TokenTile &tokens, Value tile, Value rowTile);
  void emitTile(const ProductSink &sink, int64_t rows, const TokenTile &tokens,
                Value rowTile, function_ref<Value(unsigned)> emitProduct);
  void emitLoop(ArrayRef<OpFoldResult> sizes, bool waits,
                function_ref<void(ValueRange)> emitBody);
  void emitGroup(Value group, Value tiles, Value rowTile,
                 function_ref<void(Value, Value, Value)> emitBody);

  TileBuilder b;
  func::FuncOp kernel;
  QLinearOp product;
  TileShape shape;
  int64_t blockBytes; // of activations
  TargetAttr target;  // may be null
  IntegerForm form;
  ProductOperands operands;
  SmallVector<const PackedWeight *> plainWeights;
  /// What many tokens meet in place of each weight; null where that is itself.
  SmallVector<std::unique_ptr<PreparedWeight>> preparedWeights;
  /// Null where the target has no instruction for matrices, or it is of no use.
  std::unique_ptr<MatrixTiles> matrixTiles;
  /// All results, and the tiles of those before in which workers meet.
  int64_t sinkCount = 0, metTiles = 0;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TILE_PRODUCT_PRODUCTSYNTHESIZER_H

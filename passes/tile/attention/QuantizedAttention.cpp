// SPDX-License-Identifier: Apache-2.0
//
// What attention does otherwise where the KV cache holds 8-bit codes: scores
// are integer products of codes, and the scales of the values join the
// probabilities. The sums have one order here too.
#include "passes/tile/attention/AttentionEmitter.h"

#include "passes/support/Prefetch.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lumen;

void AttentionEmitter::emitQuantizeQuery(Value i, Value x) {
  QuantizedPage page{headDim};
  auto sumType = VectorType::get({1}, b.getI32Type());
  Value bias = arith::ConstantOp::create(
      b, DenseElementsAttr::get(sumType, -int32_t(QuantizedPage::kKeyBias)));
  for (int64_t group = 0; group < page.getGroups(); ++group) {
    int64_t begin = group * QuantizedPage::kGroup,
            size = page.getGroupSize(group);
    Value part = x;
    if (size != headDim)
      part = vector::ExtractStridedSliceOp::create(
          b, x, ArrayRef<int64_t>{begin}, ArrayRef<int64_t>{size},
          ArrayRef<int64_t>{1});
    QuantizedGroup quantized = emitQuantizedGroup(b, part, size);
    vector::StoreOp::create(b, quantized.codes, queryCodes,
                            ValueRange{i, index(begin)});
    memref::StoreOp::create(b, quantized.scale, queryScales,
                            ValueRange{i, index(group)});
    vector::StoreOp::create(b, arith::MulIOp::create(b, quantized.sums, bias),
                            queryBiases, ValueRange{i, index(group)});
  }
}

Value AttentionEmitter::loadScales(Value cache, Value head, Value block,
                                   int64_t group) {
  Value at = index(QuantizedPage{headDim}.getScales(group));
  Value bytes = vector::LoadOp::create(
      b, VectorType::get({2 * kCacheBlock}, b.getI8Type()), cache,
      ValueRange{op.getLayer(), head, block, at});
  auto type = VectorType::get({kCacheBlock}, b.getF16Type());
  return convertElements(b, vector::BitCastOp::create(b, type, bytes),
                         b.getF32Type());
}

void AttentionEmitter::emitCodeScores(Value head, Value start, Value valid,
                                      int64_t rows) {
  QuantizedPage page{headDim};
  auto codesType = VectorType::get({4 * kCacheBlock}, b.getI8Type());
  auto wordType = VectorType::get({4}, b.getI8Type());
  auto lanesType = VectorType::get({kCacheBlock}, b.getF32Type());
  Value zero, bias;
  if (registers.signedCodes) {
    auto integers = VectorType::get({kCacheBlock}, b.getI32Type());
    zero = arith::ConstantOp::create(b, b.getZeroAttr(integers));
    bias = arith::ConstantOp::create(
        b, DenseElementsAttr::get(codesType, int8_t(QuantizedPage::kKeyBias)));
  }
  Value blocks = arith::CeilDivUIOp::create(b, valid, index(kCacheBlock));
  Value firstBlock = divideByConstant(b, start, kCacheBlock);
  emitLoop(blocks, [&](Value i) {
    Value block = arith::AddIOp::create(b, firstBlock, i);
    Value position = arith::MulIOp::create(b, i, index(kCacheBlock));
    // The values of these positions come next.
    emitFetchPage(v, head, block);
    for (int64_t begin = 0; begin < rows; begin += registers.rows) {
      int64_t count = std::min(registers.rows, rows - begin);
      SmallVector<Value> sums(count, splat(b, kCacheBlock, 0.0));
      for (int64_t group = 0; group < page.getGroups(); ++group) {
        Value groupIndex = index(group);
        // Minus what the bias of the keys adds to the sums, if they keep it.
        SmallVector<Value> init;
        if (registers.signedCodes)
          init.assign(count, zero);
        for (int64_t row = begin; row < begin + count && !zero; ++row)
          init.push_back(
              broadcast(b,
                        memref::LoadOp::create(
                            b, queryBiases, ValueRange{index(row), groupIndex}),
                        kCacheBlock));
        int64_t first = group * QuantizedPage::kGroup;
        Value steps = index(page.getGroupSize(group) / 4);
        auto integers =
            emitAccumulation(steps, init, [&](Value step, ValueRange acc) {
              Value d = addConstant(b, arith::MulIOp::create(b, step, index(4)),
                                    first);
              Value at = arith::MulIOp::create(b, d, index(kCacheBlock));
              Value keys = vector::LoadOp::create(
                  b, codesType, k, ValueRange{op.getLayer(), head, block, at});
              if (zero)
                keys = arith::XOrIOp::create(b, keys, bias);
              SmallVector<Value> next;
              for (int64_t row = 0; row < count; ++row) {
                Value x = vector::LoadOp::create(
                    b, wordType, queryCodes, ValueRange{index(begin + row), d});
                next.push_back(Dot4Op::create(b, acc[row].getType(), keys, x,
                                              acc[row], 8,
                                              registers.signedCodes));
              }
              return next;
            });
        Value scales = loadScales(k, head, block, group);
        for (int64_t row = 0; row < count; ++row) {
          Value scale = memref::LoadOp::create(
              b, queryScales, ValueRange{index(begin + row), groupIndex});
          Value factor = arith::MulFOp::create(
              b, scales, broadcast(b, scale, kCacheBlock));
          Value sum = arith::SIToFPOp::create(b, lanesType, integers[row]);
          sums[row] = multiplyAdd(b, sum, factor, sums[row]);
        }
      }
      for (int64_t row = 0; row < count; ++row)
        vector::StoreOp::create(b, sums[row], scores,
                                ValueRange{index(begin + row), position});
    }
  });
}

void AttentionEmitter::emitFetchPage(Value cache, Value head, Value block) {
  emitPrefetch(b, cache, ValueRange{op.getLayer(), head, block, index(0)},
               QuantizedPage{headDim}.getBytes());
}

void AttentionEmitter::emitWeights(Value head, Value start, Value valid,
                                   int64_t rows, int64_t group) {
  auto type = VectorType::get({kCacheBlock}, b.getF32Type());
  Value blocks = arith::CeilDivUIOp::create(b, valid, index(kCacheBlock));
  Value firstBlock = divideByConstant(b, start, kCacheBlock);
  emitLoop(blocks, [&](Value i) {
    Value block = arith::AddIOp::create(b, firstBlock, i);
    Value position = arith::MulIOp::create(b, i, index(kCacheBlock));
    // The keys of the positions behind these come next.
    if (group == 0)
      emitFetchPage(k, head,
                    addConstant(b, block, kAttentionPositions / kCacheBlock));
    Value scales = loadScales(v, head, block, group);
    for (int64_t row = 0; row < rows; ++row) {
      SmallVector<Value> at = {index(row), position};
      Value p = vector::LoadOp::create(b, type, scores, at);
      vector::StoreOp::create(b, arith::MulFOp::create(b, p, scales), weights,
                              at);
    }
  });
}

Value AttentionEmitter::loadCodeValues(Value head, Value position, int64_t d,
                                       int64_t lanes) {
  Value block = divideByConstant(b, position, kCacheBlock);
  Value lane = arith::RemUIOp::create(b, position, index(kCacheBlock));
  Value at = addConstant(b, arith::MulIOp::create(b, lane, index(headDim)), d);
  Value codes =
      vector::LoadOp::create(b, VectorType::get({lanes}, b.getI8Type()), v,
                             ValueRange{op.getLayer(), head, block, at});
  Value wide = arith::ExtSIOp::create(
      b, VectorType::get({lanes}, b.getI32Type()), codes);
  return arith::SIToFPOp::create(b, VectorType::get({lanes}, b.getF32Type()),
                                 wide);
}

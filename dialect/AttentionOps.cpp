// SPDX-License-Identifier: Apache-2.0
#include "dialect/OpVerification.h"
#include "dialect/layout/CacheLayout.h"

using namespace mlir;
using namespace mlir::lumen;

/// There is a number for every row of `x`.
static LogicalResult verifyNumbers(Operation *op, StringRef name, Value numbers,
                                   Value x) {
  return verifyDim(op, name, rankedType(x).getDimSize(0),
                   rankedType(numbers).getDimSize(0));
}

LogicalResult RopeOp::verify() {
  if (getStyle() != "neox" && getStyle() != "norm")
    return emitOpError() << "style must be \"neox\" or \"norm\", got \""
                         << getStyle() << "\"";
  int64_t headDim = getHeadDim(), rot = rankedType(getTable()).getDimSize(1);
  int64_t columns = rankedType(getX()).getDimSize(1);
  if (failed(verifyNumbers(*this, "positions", getPositions(), getX())))
    return failure();
  if (columns % headDim)
    return emitOpError() << "columns of x must be a multiple of head_dim ("
                         << headDim << "), got " << columns;
  if (rot > headDim || rot % 2 || rot == 0)
    return emitOpError()
           << "table must have an even number of columns of 2 to head_dim ("
           << headDim << "), got " << rot;
  return success();
}

/// The values of a head, of which `heads` are the columns of `x`.
static int64_t getHeadDimOf(Value x, int64_t heads) {
  return rankedType(x).getDimSize(1) / heads;
}

int64_t KvAppendOp::getHeadDim() {
  auto cache = rankedType(getCache());
  if (cache.getElementType().isInteger())
    return getHeadDimOf(getX(), cache.getDimSize(1));
  return cache.getDimSize(getKind() == "key" ? 3 : 4);
}

int64_t AttentionOp::getHeadDim() {
  auto keys = rankedType(getK());
  if (keys.getElementType().isInteger())
    return getHeadDimOf(getQ(), getHeads());
  return keys.getDimSize(3);
}

/// The blocks of a cache of i8 fit heads that together are the columns of `x`.
static LogicalResult verifyBlock(Operation *op, StringRef name, Value cache,
                                 Value x, int64_t heads) {
  int64_t columns = rankedType(x).getDimSize(1);
  if (ShapedType::isDynamic(heads) || ShapedType::isDynamic(columns) ||
      heads < 1 || columns < 1 || columns % heads ||
      !QuantizedBlock::fits(columns / heads))
    return op->emitOpError()
           << "with a cache of i8 needs heads of a multiple of 4 values, got "
           << rankedType(x) << " for " << heads << " heads";
  QuantizedBlock block{columns / heads};
  return verifyDim(op, name, block.getBytes(), rankedType(cache).getDimSize(3));
}

LogicalResult KvAppendOp::verify() {
  auto cache = rankedType(getCache());
  bool key = getKind() == "key";
  if (!key && getKind() != "value")
    return emitOpError() << "kind must be \"key\" or \"value\", got \""
                         << getKind() << "\"";
  if (failed(verifyNumbers(*this, "places", getPlaces(), getX())))
    return failure();
  if (cache.getElementType().isInteger())
    return verifyBlock(*this, "bytes per block", getCache(), getX(),
                       cache.getDimSize(1));
  if (failed(verifyDim(*this, "positions per block", kCacheBlock,
                       cache.getDimSize(key ? 4 : 3))))
    return failure();
  int64_t columns =
      countColumns(cache.getDimSize(1), cache.getDimSize(key ? 3 : 4));
  return verifyDim(*this, "columns of x", columns,
                   rankedType(getX()).getDimSize(1));
}

LogicalResult AttentionOp::verify() {
  auto q = rankedType(getQ()), k = rankedType(getK()), v = rankedType(getV());
  int64_t heads = getHeads(), kvHeads = getKvHeads();
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (heads % kvHeads || heads > kMost)
    return emitOpError() << "heads must be a multiple of kv_heads (" << kvHeads
                         << ") below 2^31, got " << heads;
  if (getWindow() && int64_t(*getWindow()) > kMost)
    return emitOpError() << "window must be below 2^31, got "
                         << int64_t(*getWindow());
  if (failed(verifyNumbers(*this, "positions", getPositions(), getQ())))
    return failure();
  if (failed(verifyDim(*this, "columns of runs", kRunColumns,
                       rankedType(getRuns()).getDimSize(1))))
    return failure();
  if (failed(verifyDim(*this, "kv heads of k", kvHeads, k.getDimSize(1))) ||
      failed(verifyDim(*this, "kv heads of v", kvHeads, v.getDimSize(1))))
    return failure();
  if (k.getRank() != v.getRank())
    return emitOpError() << "caches must both be of i8 or both of floats, got "
                         << k << " and " << v;
  if (k.getElementType().isInteger())
    return failure(failed(verifyBlock(*this, "bytes per block of k", getK(),
                                      getQ(), heads)) ||
                   failed(verifyBlock(*this, "bytes per block of v", getV(),
                                      getQ(), heads)));
  if (failed(verifyDim(*this, "positions per block of k", kCacheBlock,
                       k.getDimSize(4))) ||
      failed(verifyDim(*this, "positions per block of v", kCacheBlock,
                       v.getDimSize(3))) ||
      failed(verifyDim(*this, "head dimension of v", k.getDimSize(3),
                       v.getDimSize(4))))
    return failure();
  return verifyDim(*this, "columns of q", countColumns(heads, k.getDimSize(3)),
                   q.getDimSize(1));
}

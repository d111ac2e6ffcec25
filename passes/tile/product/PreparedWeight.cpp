// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/PreparedWeight.h"

using namespace mlir;
using namespace mlir::lumen;

static PackedWeight allocate(TileBuilder &b, const PackedWeight &source,
                             int64_t rows, Type element, int64_t k) {
  auto type = RankedTensorType::get({rows, source.getColumns()}, element,
                                    PackedAttr::get(b.getContext(), rows, k,
                                                    /*signed_codes=*/false,
                                                    /*whole_codes=*/false));
  Operation *around = b.getInsertionBlock()->getParentOp();
  FailureOr<int64_t> size = getWeightBytes(type, around);
  Value bytes = b.allocateScratch({*size}, b.getI8Type());
  PackedWeight packed(b, FromBytesOp::create(b, type, bytes, ValueRange{}));
  packed.isFar = false;
  return packed;
}

PreparedWeight::PreparedWeight(TileBuilder &b, const PackedWeight &source,
                               int64_t rows, Type element, int64_t k)
    : source(source), packed(allocate(b, source, rows, element, k)) {}

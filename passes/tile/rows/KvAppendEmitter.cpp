// SPDX-License-Identifier: Apache-2.0
#include "passes/support/KernelBuffers.h"
#include "passes/tile/rows/CacheAppend.h"
#include "passes/tile/rows/RowEmitter.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

class KvAppendEmitter final : public RowOpEmitterOf<KvAppendOp> {
  using RowOpEmitterOf::RowOpEmitterOf;

  void addWidths(ColumnWidths &widths) override {
    widths.requirePiece(op.getHeadDim());
  }

  void emitScratch(KernelBuilder &b, const ColumnLoop &) override {
    if (op.getKind() == "key")
      staging = b.allocateScratch(op.getHeadDim(),
                                  getElementTypeOrSelf(op.getCache()));
  }

  void emitPrologue(RowEmitter &rows) override {
    KernelBuilder &b = rows.b;
    place = b.toIndex(b.load(getSourceBuffer(op.getPlaces()), rows.row));
  }

  void emitStores(RowEmitter &rows, ColumnTile &tile) override {
    CacheAppend append(rows.b, op, place, tile.base, staging);
    append.emit(rows.emit(op.getX(), tile));
  }

  Value staging; // one head of keys
  Value place;
};

} // namespace

RowOpEmitterPtr lumen::createEmitter(KvAppendOp op) {
  return std::make_unique<KvAppendEmitter>(op);
}

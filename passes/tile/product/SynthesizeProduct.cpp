// SPDX-License-Identifier: Apache-2.0
//
// Synthesizes product kernels.
#include "passes/Passes.h"
#include "passes/check/KernelContract.h"
#include "passes/tile/product/ProductSynthesizer.h"

#include <algorithm>

namespace mlir::lumen {
#define GEN_PASS_DEF_SYNTHESIZEPRODUCTPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Tokens of a register tile, as `#lumen.target` limits them too.
constexpr int64_t kMostTileTokens = 32;

/// Tokens of a register tile.
int64_t getTokens(TargetAttr target, QLinearOp product) {
  // Where nothing is unpacked, or factors take few registers, half of these
  // hold the sums.
  bool isFloat = !product.isInteger();
  if (!product.isBf16() &&
      !(isFloat && Architecture::of(target).multipliesByLanes()))
    return target.getTokens();
  int64_t tokens =
      target.getVectorRegisters() / 2 * target.getLanes() / target.getRows();
  return std::clamp<int64_t>(tokens, 1, kMostTileTokens);
}

struct SynthesizeProductPass final
    : lumen::impl::SynthesizeProductPassBase<SynthesizeProductPass> {
  using SynthesizeProductPassBase::SynthesizeProductPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    TargetAttr target = TargetAttr::lookup(module);
    if (tokens > kMostTileTokens) {
      module.emitError() << "a tile has at most " << kMostTileTokens
                         << " tokens, not " << int64_t(tokens);
      return signalPassFailure();
    }
    auto isOfKind = [](Operation *op) {
      return isa<QLinearOp>(op) || isElementwise(op);
    };
    for (func::FuncOp kernel : getKernels(module, KernelKind::Product)) {
      if (failed(verifyKernel(kernel, isOfKind)))
        return signalPassFailure();
      auto products = llvm::to_vector(kernel.getOps<QLinearOp>());
      if (products.size() != 1) {
        kernel.emitError() << "a product kernel holds one lumen.qlinear, got "
                           << products.size();
        return signalPassFailure();
      }
      TileShape shape = {0, 4};
      if (target)
        shape = {target.getRows(), getTokens(target, products.front())};
      if (tokens)
        shape.tokens = tokens;
      if (failed(ProductSynthesizer(kernel, products.front(), shape, blockBytes,
                                    target)
                     .run()))
        return signalPassFailure();
    }
  }
};

} // namespace

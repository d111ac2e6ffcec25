// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_PASSES_TARGET_GPU_GPU_H
#define LUMEN_PASSES_TARGET_GPU_GPU_H

#include "passes/target/common/Architecture.h"

namespace mlir::lumen {

/// Targets whose workers are warps, with NVIDIA's instructions.
class Gpu final : public Architecture {
public:
  LogicalResult
  addInstructions(TargetAttr target, RewritePatternSet &patterns,
                  function_ref<InFlightDiagnostic()> emitError) const override;
};

namespace gpu {

/// What LLVM's names of NVIDIA's intrinsics begin with.
constexpr StringLiteral kIntrinsics = "llvm.nvvm.";

/// The runtime's function that says where a warp's scratch memory begins.
constexpr StringLiteral kScratchFunction = "lumen_scratch";

} // namespace gpu

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_GPU_GPU_H

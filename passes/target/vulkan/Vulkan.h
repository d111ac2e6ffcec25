// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_PASSES_TARGET_VULKAN_VULKAN_H
#define LUMEN_PASSES_TARGET_VULKAN_VULKAN_H

#include "passes/target/common/Architecture.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVDialect.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::lumen {

/// Targets whose workers are warps, with the instructions of SPIR-V.
class Vulkan final : public Architecture {
public:
  LogicalResult
  addInstructions(TargetAttr target, RewritePatternSet &patterns,
                  function_ref<InFlightDiagnostic()> emitError) const override;
};

namespace vulkan {

/// A vector of SPIR-V has at most so many elements.
constexpr int64_t kMostLanes = 4;

/// Whether the module around `op` is for Vulkan.
bool isTarget(Operation *op);

/// The kernels of a module for Vulkan; none of another.
SmallVector<func::FuncOp> getKernels(ModuleOp module);

/// A new variable of the module around the builder, called after `name`.
spirv::GlobalVariableOp makeVariable(ImplicitLocOpBuilder &b, StringRef name,
                                     Type type, spirv::StorageClass storage);

} // namespace vulkan

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_VULKAN_VULKAN_H

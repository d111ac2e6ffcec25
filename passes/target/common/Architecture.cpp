// SPDX-License-Identifier: Apache-2.0
#include "passes/target/common/Architecture.h"

#include "passes/target/arm/Arm.h"
#include "passes/target/gpu/Gpu.h"
#include "passes/target/vulkan/Vulkan.h"
#include "passes/target/wasm/Wasm.h"
#include "passes/target/x86/X86.h"

using namespace mlir;
using namespace mlir::lumen;

const Architecture &Architecture::of(TargetAttr target) {
  static const Architecture other;
  static const Arm arm;
  static const Gpu gpu;
  static const Vulkan vulkan;
  static const Wasm wasm;
  static const X86 x86;
  if (target && target.hasWarps()) {
    if (target.getArchitecture() == llvm::Triple::spirv64)
      return vulkan;
    return gpu;
  }
  switch (target ? target.getArchitecture() : llvm::Triple::UnknownArch) {
  case llvm::Triple::aarch64:
    return arm;
  case llvm::Triple::wasm32:
    return wasm;
  case llvm::Triple::x86_64:
    return x86;
  default:
    return other;
  }
}

LogicalResult Architecture::addInstructions(
    TargetAttr target, RewritePatternSet & /*patterns*/,
    function_ref<InFlightDiagnostic()> emitError) const {
  for (DotAttr dot : {target.getDot(), target.getPairDot()})
    if (dot)
      return emitError() << "no instruction of "
                         << llvm::Triple::getArchTypeName(
                                target.getArchitecture())
                         << " is known for " << dot;
  return success();
}

// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_PASSES_TARGET_ARM_ARM_H
#define LUMEN_PASSES_TARGET_ARM_ARM_H

#include "passes/target/common/Architecture.h"

namespace mlir::lumen {

/// AArch64 with NEON, from Armv8.0-A to the matrix instructions of Armv8.6-A.
class Arm final : public Architecture {
public:
  LogicalResult
  addInstructions(TargetAttr target, RewritePatternSet &patterns,
                  function_ref<InFlightDiagnostic()> emitError) const override;
  bool hasSlowConversions() const override { return true; }
  bool multipliesByLanes() const override { return true; }
  /// An exponential has some five values of each lane, and constants.
  int64_t getChainLanes(TargetAttr target) const override {
    return target.getVectorRegisters() / 8 * target.getLanes();
  }
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_ARM_ARM_H

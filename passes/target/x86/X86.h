// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_PASSES_TARGET_X86_X86_H
#define LUMEN_PASSES_TARGET_X86_X86_H

#include "passes/target/common/Architecture.h"

namespace mlir::lumen {

/// x86-64, from SSSE3 to AVX-512 with VNNI, and AMX.
class X86 final : public Architecture {
public:
  LogicalResult
  addInstructions(TargetAttr target, RewritePatternSet &patterns,
                  function_ref<InFlightDiagnostic()> emitError) const override;
  SmallVector<Attribute> getFunctionTraits(TargetAttr target) const override;
  SmallVector<StringRef> getClaimTraits() const override;
};

namespace x86 {
/// Adds what turns lumen.mma into products of tiles.
void addTiles(RewritePatternSet &patterns, TargetAttr target);
} // namespace x86

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_X86_X86_H

// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_PASSES_TARGET_WASM_WASM_H
#define LUMEN_PASSES_TARGET_WASM_WASM_H

#include "passes/target/common/Architecture.h"

namespace mlir::lumen {

/// WebAssembly with vectors of 128 bits, and with their relaxed instructions.
class Wasm final : public Architecture {
public:
  LogicalResult
  addInstructions(TargetAttr target, RewritePatternSet &patterns,
                  function_ref<InFlightDiagnostic()> emitError) const override;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_WASM_WASM_H

// SPDX-License-Identifier: Apache-2.0
//
// What the lowering to LLVM asks an architecture. A port overrides what its
// instruction set does better than plain vector arithmetic.
#ifndef LUMEN_PASSES_TARGET_COMMON_ARCHITECTURE_H
#define LUMEN_PASSES_TARGET_COMMON_ARCHITECTURE_H

#include "dialect/LumenDialect.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::lumen {

/// An architecture of which only LLVM's code generator is known.
class Architecture {
public:
  virtual ~Architecture() = default;

  /// The architecture of the target's triple; null stands for no target.
  static const Architecture &of(TargetAttr target);

  /// Adds what turns lumen.dot4, lumen.dot2, lumen.mma and lumen.lookup into
  /// instructions of the target. What is left of them becomes plain vector
  /// arithmetic. Fails with an error where the target has a dot product for
  /// which no instruction is known.
  virtual LogicalResult
  addInstructions(TargetAttr target, RewritePatternSet &patterns,
                  function_ref<InFlightDiagnostic()> emitError) const;

  /// Whether a vector of integers becomes floats more slowly than floats are
  /// added: sums of integers then begin as the bits of a float.
  virtual bool hasSlowConversions() const { return false; }

  /// LLVM's attributes, as `passthrough` takes them, of functions.
  virtual SmallVector<Attribute>
  getFunctionTraits(TargetAttr /*target*/) const {
    return {};
  }

  /// Those of the runtime's function that hands out iterations, as the runtime
  /// compiles it for this architecture.
  virtual SmallVector<StringRef> getClaimTraits() const { return {}; }
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_COMMON_ARCHITECTURE_H

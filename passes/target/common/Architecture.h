// SPDX-License-Identifier: Apache-2.0
//
// What the lowering to LLVM asks an architecture. A port overrides what its
// instruction set does better than plain vector arithmetic.
#ifndef LUMEN_PASSES_TARGET_COMMON_ARCHITECTURE_H
#define LUMEN_PASSES_TARGET_COMMON_ARCHITECTURE_H

#include "dialect/LumenDialect.h"

#include "mlir/IR/PatternMatch.h"

#include <limits>

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

  /// Whether a product of vectors takes a factor for all lanes from any lane of
  /// a register: a load has the factors of several products.
  virtual bool multipliesByLanes() const { return false; }

  /// Lanes of 32 bits on which a chain of element-wise operations is computed
  /// at a time. LLVM computes each operation for all lanes of a vector, and
  /// what does not fit the registers lies on the stack.
  virtual int64_t getChainLanes(TargetAttr /*target*/) const {
    return std::numeric_limits<int64_t>::max();
  }

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

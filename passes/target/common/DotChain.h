// SPDX-License-Identifier: Apache-2.0
//
// Chains of lumen.dot4 that add to one accumulator, for instructions whose own
// sums are narrower: several steps are added up there before they go on.
#ifndef LUMEN_PASSES_TARGET_COMMON_DOTCHAIN_H
#define LUMEN_PASSES_TARGET_COMMON_DOTCHAIN_H

#include "passes/support/KernelBuilder.h"

#include "dialect/LumenDialect.h"

namespace mlir::lumen {

/// Whether the result only goes on into the accumulator of another dot4, whose
/// chain takes it along.
bool isLink(Dot4Op op);

/// The ops that add to one accumulator, first to last; `op` is the last.
SmallVector<Dot4Op> collectChain(Dot4Op op);

/// What `spread` makes of the activations of each step of a chain. It stands
/// where the step does, so that the steps of several tokens, which share their
/// codes, stay interleaved.
DenseMap<Operation *, Value>
spreadActivations(KernelBuilder &b, ArrayRef<Dot4Op> chain,
                  function_ref<Value(Value)> spread);

/// The sums that an instruction makes of an op.
struct NarrowSums {
  /// How many products are in one.
  int64_t products;
  /// The largest that its lane holds.
  int64_t limit;

  /// The most that `op` makes one.
  int64_t getMost(Dot4Op op) const;
  bool hold(Dot4Op op) const { return getMost(op) <= limit; }
  /// The runs of a chain whose sums fit a lane together; a step that does not
  /// fit alone is a run of its own.
  SmallVector<ArrayRef<Dot4Op>> splitRuns(ArrayRef<Dot4Op> chain) const;
};

} // namespace mlir::lumen

#endif // LUMEN_PASSES_TARGET_COMMON_DOTCHAIN_H

// SPDX-License-Identifier: Apache-2.0
//
// How registers are filled and joined, so that the pipes that multiply have
// little else to do. Cores have others for loads and for what moves from
// general registers to vectors.
#ifndef LUMEN_PASSES_TARGET_ARM_REGISTERS_H
#define LUMEN_PASSES_TARGET_ARM_REGISTERS_H

#include "passes/support/KernelBuilder.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::lumen::arm {

/// The integer in all lanes of a constant.
std::optional<APInt> findSplat(Value value);

/// Whether `op` is in a product kernel, or in a loop of one. Attention chooses
/// its own registers.
bool isInProduct(Operation *op);

/// `value` in a register of its kind, of which LLVM knows nothing else: it
/// would load a scalar and spread it at once, which takes two pipes, or not see
/// that a half of a vector is one. Nor does it know that those of different
/// numbers are equal.
Value keep(KernelBuilder &b, Value value, int64_t number = 0);

/// `x`, the four activations of a step, in every word of a register. Where they
/// are loaded, the register is filled from there, with those of the steps
/// beside it: instructions take any of its words for all lanes, and LLVM merges
/// loads of the same place. The same where they are a part of such a register.
Value spreadStep(KernelBuilder &b, Value x);

/// The same for a pair of bf16, as a vector of `type`. It comes from half a
/// register: LLVM does not see that `bfdot` takes words of a whole one that is
/// loaded.
Value spreadPair(KernelBuilder &b, Value x, VectorType type);

/// The four lanes from `first` on of `acc`, what a sum starts from. A constant
/// is loaded for every sum, where LLVM would copy it, and what is the same in
/// all lanes comes from a general register.
Value startSum(KernelBuilder &b, Value acc, int64_t first);

/// Adds a pattern for what is the same in all lanes: constants are added to it
/// before it is spread over them.
void addSpreading(RewritePatternSet &patterns);

/// Adds a pattern for floats of products that are the same in all lanes: they
/// stay in one.
void addLaneFactors(RewritePatternSet &patterns);

/// Adds a pattern that loads what sums began as, a constant, where it is
/// subtracted from them.
void addBeginnings(RewritePatternSet &patterns);

/// Adds a pattern for floats that all lanes of a product are multiplied by:
/// where four of them lie together, one load fills a register, of which
/// instructions take any lane.
void addFactors(RewritePatternSet &patterns);

/// Adds a pattern for products of vectors that are added to the same vector in
/// memory: it is loaded for each of them, where LLVM would copy a register.
void addAddends(RewritePatternSet &patterns);

/// Adds a pattern for bits of floats that bytes make: it is done in 16 bits
/// where these are enough.
void addNarrowBits(RewritePatternSet &patterns);

/// Adds patterns for what a loop of a product reads in every turn from the same
/// place: it is read before it.
void addInvariantReads(RewritePatternSet &patterns);

/// Adds patterns that extend bytes to 32 bits together with those beside them.
void addExtensions(RewritePatternSet &patterns);

/// Adds a pattern that leaves one prefetch of a cache line, of `line` bytes.
void addPrefetches(RewritePatternSet &patterns, int64_t line);

/// Adds a pattern for codes whose bits lie in two planes: instructions that
/// shift the bytes of a vector insert them into those of another one.
void addPlanes(RewritePatternSet &patterns);

/// Adds a pattern for codes of a chain of products that are shifted alike:
/// their sum is.
void addShiftedSums(RewritePatternSet &patterns);

} // namespace mlir::lumen::arm

#endif // LUMEN_PASSES_TARGET_ARM_REGISTERS_H

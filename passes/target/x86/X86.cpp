// SPDX-License-Identifier: Apache-2.0
#include "passes/target/x86/X86.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::lumen;

SmallVector<Attribute> X86::getFunctionTraits(TargetAttr target) const {
  Builder b(target.getContext());
  SmallVector<Attribute> traits = {b.getStrArrayAttr(
      {"prefer-vector-width", std::to_string(target.getVectorBits())})};
  // Lets vectors that are kept on the stack be aligned there: the ABI promises
  // 16 bytes, with which a vector may lie in two cache lines or even pages,
  // depending on where the process has its stack. It takes a register for
  // addresses, so targets whose 32 vector registers hold a register tile go
  // without.
  if (target.getVectorRegisters() < 32)
    traits.push_back(b.getStringAttr("stackrealign"));
  return traits;
}

SmallVector<StringRef> X86::getClaimTraits() const {
  // Otherwise every loop around a claim, which is every loop, would load the
  // constants of its body anew.
  return {"no_caller_saved_registers"};
}

//===- Backends.cpp - LLVM's code generators ------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/codegen/Backends.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/TargetParser/Host.h"

#include <mutex>

/// What changes the order of instructions: options of the process, by which
/// alone it can be turned off. A library without the back end has no such
/// option.
static constexpr llvm::StringLiteral kReordering[] = {
    // The scheduler of all back ends: it moves loads up to hide their latency.
    "enable-misched",
    // X86's: it adds sums up in trees of less depth.
    "x86-machine-combiner",
};

/// Register tiles are written in the order that keeps their operands in
/// registers. What LLVM would gain by another order the processor's own
/// reordering makes needless, and for want of registers sums then go through
/// the stack.
static void keepInstructionOrder() {
  auto &options = llvm::cl::getRegisteredOptions();
  for (llvm::StringRef name : kReordering)
    if (auto option = options.find(name); option != options.end())
      option->second->addOccurrence(0, name, "false");
}

void mlir::lumen::initializeNativeBackend() {
  static std::once_flag once;
  std::call_once(once, [] {
    keepInstructionOrder();
    // The list of all targets is complete before anyone looks at it.
#define LUMEN_BACKEND(name) LLVMInitialize##name##TargetInfo();
#include "runtime/codegen/Backends.def"
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    llvm::InitializeNativeTargetAsmParser();
  });
}

/// Returns when all are complete, whoever initializes them. (Whether one of
/// them has a target machine says less: that is the first of its parts.)
static void initializeAllBackends() {
  static std::once_flag once;
  // Others may generate code for this machine meanwhile: of its own back end,
  // this writes what stands there already.
  std::call_once(once, [] {
#define LUMEN_BACKEND(name)                                                    \
  LLVMInitialize##name##Target();                                              \
  LLVMInitialize##name##TargetMC();                                            \
  LLVMInitialize##name##AsmPrinter();
#define LUMEN_ASM_PARSER(name) LLVMInitialize##name##AsmParser();
#include "runtime/codegen/Backends.def"
  });
}

static const llvm::Target *lookup(const llvm::Triple &triple) {
  std::string message;
  return llvm::TargetRegistry::lookupTarget(triple, message);
}

const llvm::Target *mlir::lumen::findBackend(const llvm::Triple &triple) {
  initializeNativeBackend();
  const llvm::Target *target = lookup(triple);
  llvm::Triple native(llvm::sys::getProcessTriple());
  if (target && target != lookup(native))
    initializeAllBackends();
  return target && target->hasTargetMachine() ? target : nullptr;
}

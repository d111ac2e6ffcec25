//===- Registration.h - Dialects and passes Lumen works with ----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// The one list of dialects and passes, shared by lumen-opt and the Python
// extension so that a pipeline that works in one works in the other.
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_PASSES_REGISTRATION_H
#define LUMEN_PASSES_REGISTRATION_H

namespace mlir {
class DialectRegistry;

namespace lumen {

/// Adds every dialect that Lumen's pipelines use, their interface
/// implementations, and the translations to LLVM IR.
void registerAll(DialectRegistry &registry);

/// Registers the passes and pass pipelines in the process-wide registry;
/// further calls do nothing.
void registerAllPasses();

} // namespace lumen
} // namespace mlir

#endif // LUMEN_PASSES_REGISTRATION_H

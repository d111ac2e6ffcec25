//===- CodeGen.h - From the llvm dialect to machine code --------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_CODEGEN_CODEGEN_H
#define LUMEN_RUNTIME_CODEGEN_CODEGEN_H

#include "llvm/Support/Error.h"

#include <string>

namespace mlir {
class Operation;

namespace lumen {

/// What to generate code for. An empty triple is this process's, an empty CPU
/// or feature list LLVM's default for it; hostTarget() names this machine.
struct CodeGenTarget {
  std::string triple;
  std::string cpu;
  /// As '+avx2,-avx512f'.
  std::string features;
};

/// This process's triple, CPU and complete feature list.
CodeGenTarget hostTarget();

/// LLVM's name of the architecture of a triple, as 'x86_64' or 'aarch64'; an
/// empty triple is this process's.
std::string getArchitecture(const std::string &triple);

enum class CodeGenOutput { LLVMIR, Assembly, Object };

/// How code is generated.
struct CodeGenOptions {
  /// 0 to 3.
  unsigned optLevel = 3;
  /// The passes on LLVM IR, as text that `opt -passes` takes; where it is
  /// empty, LLVM's own for the level.
  std::string passes;
  bool packedInterface = false;
};

/// Translates a module of the llvm dialect to LLVM IR, optimizes it, and
/// returns it as text, assembly or an object file. A module with a shader is
/// translated to SPIR-V, which is its object file. Errors of the back end, its
/// crashes included, come back as errors; those of the translation also as
/// diagnostics of the MLIR context.
///
/// With `packedInterface`, each function '_mlir_ciface_f' also gets a wrapper
/// '_mlir__mlir_ciface_f(void **arguments)' that takes the addresses of its
/// arguments and, last, of its result.
llvm::Expected<std::string> generateCode(Operation *module,
                                         CodeGenOutput output,
                                         const CodeGenTarget &target,
                                         const CodeGenOptions &options);

} // namespace lumen
} // namespace mlir

#endif // LUMEN_RUNTIME_CODEGEN_CODEGEN_H

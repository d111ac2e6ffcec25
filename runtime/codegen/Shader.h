//===- Shader.h - From the spirv dialect to SPIR-V --------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_RUNTIME_CODEGEN_SHADER_H
#define LUMEN_RUNTIME_CODEGEN_SHADER_H

#include "llvm/Support/Error.h"

#include <string>

namespace mlir {
class Operation;

namespace lumen {

/// Whether a module holds a module of the spirv dialect and nothing else.
bool isShader(Operation *module);

/// The words of the shader that a module holds. Errors come back as errors,
/// and as diagnostics of the MLIR context.
llvm::Expected<std::string> serializeShader(Operation *module);

} // namespace lumen
} // namespace mlir

#endif // LUMEN_RUNTIME_CODEGEN_SHADER_H

//===- Shader.cpp - From the spirv dialect to SPIR-V ----------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/codegen/Shader.h"

#include "runtime/codegen/Guard.h"

#include "mlir/Dialect/SPIRV/IR/SPIRVOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Target/SPIRV/Serialization.h"

using namespace mlir;

bool lumen::isShader(Operation *module) {
  auto holder = dyn_cast<ModuleOp>(module);
  return holder && llvm::hasSingleElement(*holder.getBody()) &&
         isa<spirv::ModuleOp>(holder.getBody()->front());
}

llvm::Expected<std::string> lumen::serializeShader(Operation *module) {
  auto shader =
      cast<spirv::ModuleOp>(cast<ModuleOp>(module).getBody()->front());
  SmallVector<uint32_t> words;
  LogicalResult result = failure();
  std::optional<std::string> crash =
      runGuarded([&] { result = spirv::serialize(shader, words); });
  if (crash)
    return llvm::createStringError("code generation failed: " + *crash);
  if (failed(result))
    return llvm::createStringError("the shader cannot be translated to SPIR-V");
  return std::string(reinterpret_cast<const char *>(words.data()),
                     words.size() * sizeof(uint32_t));
}

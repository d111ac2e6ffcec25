// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_PASSES_H
#define LUMEN_PASSES_H

#include "dialect/LumenDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::lumen {

/// What a product with quantized weights reads: 8-bit codes or float32 rows.
enum class ActivationMode { Int8, Exact };

#define GEN_PASS_DECL
#include "passes/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "passes/Passes.h.inc"

/// Makes every Lumen pass known to textual pipelines.
inline void registerPasses() { registerLumenPasses(); }

} // namespace mlir::lumen

#endif // LUMEN_PASSES_H

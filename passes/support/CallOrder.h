// SPDX-License-Identifier: Apache-2.0
//
// The order in which passes that need facts about callees visit functions.
#ifndef LUMEN_PASSES_SUPPORT_CALLORDER_H
#define LUMEN_PASSES_SUPPORT_CALLORDER_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

namespace mlir::lumen {

/// The functions of `module` that have a body, each after every function it
/// calls. Says which function is recursive and fails where there is one.
FailureOr<SmallVector<func::FuncOp>> sortCalleesFirst(ModuleOp module);

} // namespace mlir::lumen

#endif // LUMEN_PASSES_SUPPORT_CALLORDER_H

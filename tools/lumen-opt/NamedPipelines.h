//===- NamedPipelines.h - The stages as pipelines with names ----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_TOOLS_LUMEN_OPT_NAMEDPIPELINES_H
#define LUMEN_TOOLS_LUMEN_OPT_NAMEDPIPELINES_H

namespace mlir::lumen {

/// Registers `--lumen-<from>-to-<to>` for each stage of the compiler, and
/// `--lumen-compile` for all of them, one after the other. Call it once.
void registerNamedPipelines();

} // namespace mlir::lumen

#endif // LUMEN_TOOLS_LUMEN_OPT_NAMEDPIPELINES_H

//===- SetTarget.h - The option --target of lumen-opt -----------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_TOOLS_LUMENOPT_SETTARGET_H
#define LUMEN_TOOLS_LUMENOPT_SETTARGET_H

#include <string>
#include <vector>

namespace mlir::lumen {

/// Registers the pass `lumen-set-target`.
void registerSetTarget();

/// `arguments` with the pass in place of `--target=NAME`, in front of all other
/// passes.
std::vector<std::string>
replaceTargetOption(std::vector<std::string> arguments);

} // namespace mlir::lumen

#endif // LUMEN_TOOLS_LUMENOPT_SETTARGET_H

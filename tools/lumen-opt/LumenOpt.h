//===- LumenOpt.h - Runs Lumen's and MLIR's passes on a file ----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#ifndef LUMEN_TOOLS_LUMENOPT_LUMENOPT_H
#define LUMEN_TOOLS_LUMENOPT_LUMENOPT_H

#include <string>
#include <vector>

namespace mlir::lumen {

/// The program lumen-opt: reads a module, runs passes on it, prints the result.
/// The first argument is the name of the program. Returns its exit code; ends
/// the process where the command line is wrong, where it asks for help and
/// where the compiler crashes. To be called once in a process.
int runOpt(std::vector<std::string> arguments);

} // namespace mlir::lumen

#endif // LUMEN_TOOLS_LUMENOPT_LUMENOPT_H

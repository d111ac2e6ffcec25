//===- LumenOpt.cpp - Runs Lumen's and MLIR's passes on a file ------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "tools/lumen-opt/LumenOpt.h"

#include "passes/Registration.h"
#include "runtime/codegen/Guard.h"
#include "tools/lumen-opt/NamedPipelines.h"
#include "tools/lumen-opt/SetTarget.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/raw_ostream.h"

int mlir::lumen::runOpt(std::vector<std::string> arguments) {
  arguments = replaceTargetOption(std::move(arguments));
  // Threads of MLIR's own would end the process where they crash.
  if (llvm::none_of(arguments, [&](llvm::StringRef argument) {
        return argument.contains("mlir-disable-threading");
      }))
    arguments.insert(arguments.begin() + !arguments.empty(),
                     "--mlir-disable-threading");
  std::vector<char *> pointers;
  for (std::string &argument : arguments)
    pointers.push_back(argument.data());
  int result = EXIT_FAILURE;
  std::optional<std::string> crash = runGuarded(
      [&] {
        DialectRegistry registry;
        registerAll(registry);
        registerAllPasses();
        registerNamedPipelines();
        registerSetTarget();
        result =
            asMainReturnCode(MlirOptMain(pointers.size(), pointers.data(),
                                         "Lumen optimizer driver\n\n"
                                         "--target=NAME (or native) gives the "
                                         "module its lumen.target first.\n",
                                         registry));
      },
      /*dumpStack=*/true);
  llvm::outs().flush();
  if (!crash)
    return result;
  llvm::errs() << "error: the compiler crashed: " << *crash << "\n";
  // Destructors would touch what the crash left half-done.
  llvm::errs().flush();
  _Exit(EXIT_FAILURE);
}

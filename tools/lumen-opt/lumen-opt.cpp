//===- lumen-opt.cpp - Runs Lumen's and MLIR's passes on a file -----------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "passes/Registration.h"
#include "runtime/codegen/Guard.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/raw_ostream.h"

int main(int argc, char **argv) {
  // Threads of MLIR's own would end the process where they crash.
  constexpr char kOneThread[] = "--mlir-disable-threading";
  std::vector<char *> arguments(argv, argv + argc);
  if (llvm::none_of(arguments, [&](llvm::StringRef argument) {
        return argument.contains("mlir-disable-threading");
      }))
    arguments.insert(arguments.begin() + (argc > 0),
                     const_cast<char *>(kOneThread));
  int result = EXIT_FAILURE;
  std::optional<std::string> crash = mlir::lumen::runGuarded(
      [&] {
        mlir::DialectRegistry registry;
        mlir::lumen::registerAll(registry);
        mlir::lumen::registerAllPasses();
        result = mlir::asMainReturnCode(
            mlir::MlirOptMain(arguments.size(), arguments.data(),
                              "Lumen optimizer driver\n", registry));
      },
      /*dumpStack=*/true);
  if (!crash)
    return result;
  llvm::errs() << "error: the compiler crashed: " << *crash << "\n";
  // Destructors would touch what the crash left half-done.
  llvm::errs().flush();
  _Exit(EXIT_FAILURE);
}

//===- BindOpt.cpp - The program lumen-opt --------------------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "runtime/bindings/Common.h"
#include "tools/lumen-opt/LumenOpt.h"

using namespace mlir::lumen::python;

void mlir::lumen::python::bindOpt(nb::module_ &m) {
  m.def(
      "main",
      [](const std::vector<nb::bytes> &arguments) {
        std::vector<std::string> copies;
        for (const nb::bytes &argument : arguments)
          copies.emplace_back(argument.c_str(), argument.size());
        nb::gil_scoped_release release;
        return runOpt(std::move(copies));
      },
      nb::arg("arguments"),
      "Runs lumen-opt once, with the name of the program as the first "
      "argument, and returns its exit code. Wrong arguments end the process.");
}

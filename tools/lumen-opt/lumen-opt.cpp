//===- lumen-opt.cpp - The program of source builds -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "tools/lumen-opt/LumenOpt.h"

int main(int argc, char **argv) {
  return mlir::lumen::runOpt({argv, argv + argc});
}

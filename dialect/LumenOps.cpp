// SPDX-License-Identifier: Apache-2.0
//
// What TableGen makes of the ops. What it does not (verifiers, foldings,
// canonicalizations) stands in the file beside their definitions.
#include "dialect/LumenDialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/OpImplementation.h"

using namespace mlir;
using namespace mlir::lumen;

#include "dialect/KernelKinds.cpp.inc"

#include "dialect/KernelOpInterface.cpp.inc"

#define GET_OP_CLASSES
#include "dialect/LumenOps.cpp.inc"

// SPDX-License-Identifier: Apache-2.0
#include "passes/target/arm/Instructions.h"

using namespace mlir;
using namespace mlir::lumen;

std::optional<arm::DotForm> arm::findDot(TargetAttr target) {
  DotAttr dot = target.getDot();
  if (!dot)
    return DotForm::None;
  if (dot.getM() != 1 || !dot.getLhs().isSignedInteger(8) ||
      dot.getRhs().getWidth() != 8 || !dot.getAccumulates())
    return std::nullopt;
  bool isSigned = dot.getRhs().isSigned();
  if (dot.getN() == 4 && dot.getK() == 4 && dot.getAcc().isInteger(32) &&
      (isSigned || hasUsdot(target)))
    return DotForm::Dots;
  if (dot.getN() == 8 && dot.getK() == 1 && dot.getAcc().isInteger(16) &&
      isSigned)
    return DotForm::Products;
  return std::nullopt;
}

StringRef arm::findMma(TargetAttr target, DotAttr shape) {
  bool isLhsSigned = shape.getLhs().isSigned(),
       isRhsSigned = shape.getRhs().isSigned();
  if (shape.getM() == 1 && shape.getN() == 4 && shape.getK() == 4) {
    if (!isLhsSigned || !target.hasFeature("dotprod"))
      return {};
    if (isRhsSigned)
      return kSdot;
    return hasUsdot(target) ? StringRef(kUsdot) : StringRef();
  }
  // What usdot came with.
  if (!hasUsdot(target) || shape.getM() != 2 || shape.getN() != 2 ||
      shape.getK() != 8)
    return {};
  if (isLhsSigned && isRhsSigned)
    return "llvm.aarch64.neon.smmla.v4i32.v16i8";
  if (isRhsSigned)
    return "llvm.aarch64.neon.usmmla.v4i32.v16i8";
  return isLhsSigned ? "" : "llvm.aarch64.neon.ummla.v4i32.v16i8";
}

bool arm::hasUsdot(TargetAttr target) { return target.hasFeature("i8mm"); }

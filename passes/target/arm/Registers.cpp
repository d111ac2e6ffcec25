// SPDX-License-Identifier: Apache-2.0
#include "passes/target/arm/Registers.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace mlir::lumen;

std::optional<APInt> arm::findSplat(Value value) {
  DenseElementsAttr elements;
  if (!matchPattern(value, m_Constant(&elements)) || !elements.isSplat() ||
      !elements.getElementType().isInteger())
    return std::nullopt;
  return elements.getSplatValue<APInt>();
}

bool arm::isInProduct(Operation *op) {
  auto function = op->getParentOfType<func::FuncOp>();
  if (!function)
    return false;
  auto kind = function->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr);
  return function->hasAttr(LumenDialect::kLoopAttr) ||
         (kind && kind == "product");
}

/// Code of no instruction, which asks for a general register or a vector one.
Value arm::keep(KernelBuilder &b, Value value, int64_t number) {
  bool isVector = isa<VectorType, FloatType>(value.getType());
  std::string constraints = isVector ? "=w,0" : "=r,0";
  SmallVector<Value> operands = {value};
  if (number) {
    constraints += ",i";
    operands.push_back(b.integer(b.getI64Type(), number));
  }
  return LLVM::InlineAsmOp::create(
             b, value.getType(), operands, /*asm_string=*/"", constraints,
             /*has_side_effects=*/false, /*is_align_stack=*/false,
             LLVM::tailcallkind::TailCallKind::None,
             /*asm_dialect=*/LLVM::AsmDialectAttr(),
             /*operand_attrs=*/ArrayAttr())
      .getResult(0);
}

// SPDX-License-Identifier: Apache-2.0
//
// What passes ask of an op, so that they need not know which one it is.
#ifndef LUMEN_KERNEL_OP_INTERFACE
#define LUMEN_KERNEL_OP_INTERFACE

include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"

def Lumen_KernelKind : I32Enum<"KernelKind", "how a kernel is scheduled; the value of `lumen.kernel`", [
    I32EnumCase<"Product", 0, "product">, I32EnumCase<"Rows", 1, "rows">,
    I32EnumCase<"Attention", 2, "attention">, I32EnumCase<"Pack", 3, "pack">,
    I32EnumCase<"Routing", 4, "routing">, I32EnumCase<"Tensor", 5, "tensor">]> {
  let cppNamespace = "::mlir::lumen";
}

def KernelOpInterface : OpInterface<"KernelOpInterface"> {
  let cppNamespace = "::mlir::lumen";
  let description = [{
    An op that kernels compute. It says how it is grouped with others into a kernel
    and what of its operands must be there when the kernel begins. How its code looks
    is the matter of an emitter (`passes/tile`).

    An op that computes every value from those at the same place of its operands has
    the trait `Elementwise`.
  }];
  let methods = [
    InterfaceMethod<"The kind of kernel that computes the op.",
      "::mlir::lumen::KernelKind", "getKernelKind">,
    InterfaceMethod<"The operand whose rows the op goes through, one per token.",
      "::mlir::Value", "getRows", (ins), "", "return $_op->getOperand(0);">,
    InterfaceMethod<[{
      The positions of the rows, or their places in a cache, where the op works on heads at
      positions; null for others. Kernels of such ops share out heads, others rows.
      }], "::mlir::Value", "getPositions", (ins), "", "return {};">,
    InterfaceMethod<"Whether the op works on every head of a row on its own.",
      "bool", "isPerHead", (ins), "", "return false;">,
    InterfaceMethod<[{
      The operand whose buffer the op updates in place, which is its result then; null
      for others.
      }], "::mlir::OpOperand *", "getUpdated", (ins), "", "return nullptr;">,
    InterfaceMethod<[{
      What the op reads other places of than those it computes, with the names of the
      operands. It must lie in a buffer when the kernel begins.
      }], "::llvm::SmallVector<::mlir::lumen::NamedOperand>", "getBufferOperands", (ins), "",
      "return {};">,
  ];
}

def WeightUserOpInterface : OpInterface<"WeightUserOpInterface"> {
  let cppNamespace = "::mlir::lumen";
  let description = [{
    An op that reads matrices in the layout of a file or in a packed one: buffers of
    bytes, once there are buffers.
  }];
  let methods = [
    InterfaceMethod<"The weights.", "::mlir::MutableOperandRange", "getWeightOperands">,
  ];
}

/// Implements `getKernelKind`.
class InKernel<string kind>
    : ParamNativeOpTrait<"InKernel", "::mlir::lumen::KernelKind::" # kind> {
  let cppNamespace = "::mlir::lumen";
}

/// An element-wise op that is computed on the register tiles of a product where all
/// its operands come from there.
def ProductEpilogue : NativeOpTrait<"ProductEpilogue"> {
  let cppNamespace = "::mlir::lumen";
}

#endif // LUMEN_KERNEL_OP_INTERFACE

// SPDX-License-Identifier: Apache-2.0
#include "passes/target/common/ArgumentAlignment.h"

#include "dialect/LumenDialect.h"
#include "dialect/layout/FormatLayout.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

#include <numeric>

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// 0 stands for "any", the alignment of what no caller has given yet.
using Alignments = DenseMap<Operation *, SmallVector<int64_t>>;

int64_t getAlignment(Value buffer, ArrayRef<int64_t> ofCaller) {
  // Views from the first element on.
  while (isa_and_nonnull<memref::CastOp, memref::ExpandShapeOp,
                         memref::CollapseShapeOp>(buffer.getDefiningOp()))
    buffer = buffer.getDefiningOp<ViewLikeOpInterface>().getViewSource();
  if (auto argument = dyn_cast<BlockArgument>(buffer))
    return isa<func::FuncOp>(argument.getOwner()->getParentOp()) &&
                   argument.getOwner()->isEntryBlock()
               ? ofCaller[argument.getArgNumber()]
               : 1;
  if (auto either = buffer.getDefiningOp<arith::SelectOp>())
    return std::gcd(getAlignment(either.getTrueValue(), ofCaller),
                    getAlignment(either.getFalseValue(), ofCaller));
  if (buffer.getDefiningOp<UnrealizedConversionCastOp>())
    return kAlignment;
  auto view = buffer.getDefiningOp<memref::ViewOp>();
  IntegerAttr offset;
  if (!view || !matchPattern(view.getByteShift(), m_Constant(&offset)))
    return 1;
  return std::gcd(getAlignment(view.getSource(), ofCaller), offset.getInt());
}

/// What a function says of its arguments itself.
SmallVector<int64_t> getOwn(func::FuncOp function) {
  SmallVector<int64_t> own;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    auto known = function.getArgAttrOfType<IntegerAttr>(
        i, LLVM::LLVMDialect::getAlignAttrName());
    bool isArena = function.getArgAttr(i, LumenDialect::kArenaAttr) != nullptr;
    // (What else an attribute of this name may be, others complain about.)
    if (known && !known.getType().isSignlessInteger(64))
      known = {};
    own.push_back(known                  ? known.getInt()
                  : isArena              ? kAlignment
                  : function.isPrivate() ? 0
                                         : 1);
  }
  return own;
}

/// Callers lower the alignment of private functions to what they give.
void addCalls(func::FuncOp caller, Alignments &all) {
  SmallVector<int64_t> &own = all[caller];
  for (int64_t &alignment : own)
    alignment = alignment ? alignment : 1;
  caller.walk([&](func::CallOp call) {
    auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
        call, call.getCalleeAttr());
    auto found = all.find(callee);
    if (found == all.end() || callee.isPublic())
      return;
    for (auto [operand, alignment] :
         llvm::zip(call.getOperands(), found->second))
      if (isa<MemRefType>(operand.getType()))
        alignment = std::gcd(alignment, getAlignment(operand, own));
  });
}

} // namespace

DenseMap<Operation *, SmallVector<int64_t>>
mlir::lumen::findAlignments(ArrayRef<func::FuncOp> calleesFirst) {
  Alignments all;
  for (func::FuncOp function : calleesFirst)
    all[function] = getOwn(function);
  for (func::FuncOp function : llvm::reverse(calleesFirst))
    addCalls(function, all);
  return all;
}

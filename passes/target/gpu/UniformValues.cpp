// SPDX-License-Identifier: Apache-2.0
#include "passes/target/gpu/UniformValues.h"

#include "passes/target/gpu/LaneLayout.h"

#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace mlir::lumen;

UniformValues::UniformValues(LLVM::LLVMFuncOp function) : meetings(function) {
  do {
    hasChanged = false;
    for (Block &block : function.getBody())
      visit(block);
  } while (hasChanged);
}

bool UniformValues::hasDiffering(ValueRange values) const {
  return llvm::any_of(values,
                      [&](Value value) { return differing.contains(value); });
}

void UniformValues::mark(ValueRange values) {
  for (Value value : values)
    hasChanged |= differing.insert(value).second;
}

/// The number of a thread in its block, of which a warp has consecutive ones.
static bool isThread(Value value) {
  auto read = value.getDefiningOp<LLVM::CallIntrinsicOp>();
  return read && read.getIntrin() == "llvm.nvvm.read.ptx.sreg.tid.x";
}

/// The number of a warp.
static bool isWarp(Operation *op) {
  IntegerAttr by;
  if (op->getNumOperands() != 2 || !isThread(op->getOperand(0)) ||
      !matchPattern(op->getOperand(1), m_Constant(&by)))
    return false;
  return isa<LLVM::UDivOp>(op)
             ? by.getValue() == kWarp
             : isa<LLVM::LShrOp>(op) &&
                   by.getValue() == llvm::countr_zero(uint64_t(kWarp));
}

bool UniformValues::mayDiffer(Operation *op) const {
  if (isWarp(op))
    return false;
  if (auto call = dyn_cast<LLVM::CallIntrinsicOp>(op)) {
    StringRef name = call.getIntrin();
    if (name == "llvm.nvvm.shfl.sync.idx.i32")
      // All take it from the same lane.
      return differing.contains(call.getArgs()[2]);
    return llvm::StringSwitch<bool>(name)
        .Cases({"llvm.nvvm.read.ptx.sreg.ctaid.x",
                "llvm.nvvm.read.ptx.sreg.nctaid.x",
                "llvm.nvvm.read.ptx.sreg.ntid.x"},
               false)
        .Default(true);
  }
  if (auto load = dyn_cast<LLVM::LoadOp>(op))
    return load.getVolatile_() ||
           load.getOrdering() != LLVM::AtomicOrdering::not_atomic ||
           differing.contains(load.getAddr());
  return !isMemoryEffectFree(op) || hasDiffering(op->getOperands());
}

/// Threads that part in `from` meet again where it is left in any case.
void UniformValues::markWays(Block *from) {
  auto *node = meetings.getNode(from)->getIDom();
  Block *end = node ? node->getBlock() : nullptr;
  SmallVector<Block *> blocks(from->getSuccessors());
  llvm::DenseSet<Block *> seen;
  while (!blocks.empty()) {
    Block *block = blocks.pop_back_val();
    if (!seen.insert(block).second)
      continue;
    mark(block->getArguments());
    if (block != end)
      llvm::append_range(blocks, block->getSuccessors());
  }
}

void UniformValues::visit(Block &block) {
  for (Operation &op : block.without_terminator())
    if (mayDiffer(&op))
      mark(op.getResults());
  Operation *end = block.getTerminator();
  auto branch = dyn_cast<BranchOpInterface>(end);
  if (!branch)
    return;
  BitVector given(end->getNumOperands());
  for (unsigned i = 0; i < end->getNumSuccessors(); ++i) {
    SuccessorOperands operands = branch.getSuccessorOperands(i);
    for (unsigned j = 0; j < operands.size(); ++j) {
      Value operand = operands[j];
      if (operand && !operands.isOperandProduced(j))
        given.set(operands.getOperandIndex(j));
      if (!operand || differing.contains(operand))
        mark(end->getSuccessor(i)->getArgument(j));
    }
  }
  for (OpOperand &operand : end->getOpOperands())
    if (!given[operand.getOperandNumber()] && differing.contains(operand.get()))
      return markWays(&block);
}

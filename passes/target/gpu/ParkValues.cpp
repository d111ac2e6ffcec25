// SPDX-License-Identifier: Apache-2.0
//
// Keeps in the lanes of a register what lives across the call of a tile.
#include "passes/Passes.h"
#include "passes/support/Warps.h"
#include "passes/target/gpu/LaneLayout.h"
#include "passes/target/gpu/UniformValues.h"

#include "mlir/Analysis/DataLayoutAnalysis.h"
#include "mlir/Analysis/Liveness.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Transforms/Mem2Reg.h"
#include "llvm/ADT/MapVector.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_PARKVALUESPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Of a register.
constexpr int64_t kWordBits = 32;

/// As an integer, what a value of a type is; 0 where it is none of few words.
unsigned getBits(Type type) {
  constexpr unsigned kShared = 3;
  if (auto pointer = dyn_cast<LLVM::LLVMPointerType>(type))
    return pointer.getAddressSpace() == kShared ? kWordBits : 2 * kWordBits;
  if (!type.isIntOrFloat() || type.getIntOrFloatBitWidth() > 2 * kWordBits)
    return 0;
  return type.getIntOrFloatBitWidth();
}

/// Made anew wherever it is needed.
bool isFree(Value value) {
  return matchPattern(value, m_Constant()) ||
         value.getDefiningOp<LLVM::AddressOfOp>();
}

/// What lives is then what they are made of: it takes less, and a pointer still
/// is known to point to shared memory or to that of all threads.
void makeCastsAtUses(LLVM::LLVMFuncOp function) {
  SmallVector<Operation *> casts;
  function.walk([&](Operation *op) {
    if (isa<LLVM::AddrSpaceCastOp, LLVM::ZExtOp>(op))
      casts.push_back(op);
  });
  for (Operation *cast : llvm::reverse(casts)) {
    OpBuilder b(cast);
    for (OpOperand &use : llvm::make_early_inc_range(cast->getUses())) {
      b.setInsertionPoint(use.getOwner());
      use.set(b.clone(*cast)->getResult(0));
    }
    cast->erase();
  }
}

/// A function that calls tiles.
class Parker {
public:
  Parker(LLVM::LLVMFuncOp function, SmallVector<LLVM::CallOp> calls)
      : function(function), calls(std::move(calls)),
        b(function.getLoc(), function.getContext()) {}

  void run();

private:
  void findValues();
  void makeSlot(Value value);
  void park(LLVM::CallOp call, ArrayRef<Value> values);
  SmallVector<Value> split(Value value);
  Value join(Type type, ArrayRef<Value> words);
  Value integer(Type type, int64_t value) {
    return LLVM::ConstantOp::create(b, b.getIntegerAttr(type, value));
  }
  Value number(int64_t value) { return integer(b.getI32Type(), value); }
  Value call(StringRef intrinsic, ValueRange arguments) {
    return LLVM::CallIntrinsicOp::create(b, b.getI32Type(),
                                         b.getStringAttr(intrinsic), arguments)
        .getResult(0);
  }

  LLVM::LLVMFuncOp function;
  SmallVector<LLVM::CallOp> calls;
  ImplicitLocOpBuilder b;
  Value lane;
  /// What lives across each call, in the order of the function.
  SmallVector<SmallVector<Value>> living;
  /// Where a value is kept until all of its uses are known.
  llvm::MapVector<Value, LLVM::AllocaOp> slots;
};

void Parker::findValues() {
  UniformValues uniform(function);
  Liveness liveness(function);
  SmallVector<Value> all;
  for (Block &block : function.getBody()) {
    llvm::append_range(all, block.getArguments());
    for (Operation &op : block)
      llvm::append_range(all, op.getResults());
  }
  llvm::erase_if(all, [&](Value value) {
    return !getBits(value.getType()) || isFree(value) ||
           !uniform.contains(value);
  });
  for (LLVM::CallOp call : calls) {
    Block *block = call->getBlock();
    const Liveness::ValueSetT &before = liveness.getLiveIn(block);
    living.emplace_back();
    for (Value value : all) {
      Operation *op = value.getDefiningOp();
      bool isBefore = value.getParentBlock() != block
                          ? before.contains(value)
                          : !op || op->isBeforeInBlock(call);
      if (isBefore && !liveness.isDeadAfter(value, call))
        living.back().push_back(value);
    }
  }
}

void Parker::makeSlot(Value value) {
  LLVM::AllocaOp &slot = slots[value];
  if (slot)
    return;
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&function.getBody().front());
  slot = LLVM::AllocaOp::create(b, LLVM::LLVMPointerType::get(b.getContext()),
                                value.getType(), number(1));
  SmallVector<OpOperand *> uses;
  for (OpOperand &use : value.getUses())
    uses.push_back(&use);
  for (OpOperand *use : uses) {
    b.setInsertionPoint(use->getOwner());
    use->set(LLVM::LoadOp::create(b, value.getType(), slot));
  }
  if (Operation *op = value.getDefiningOp())
    b.setInsertionPointAfter(op);
  else if (value.getParentBlock()->isEntryBlock())
    b.setInsertionPointAfter(slot);
  else
    b.setInsertionPointToStart(value.getParentBlock());
  LLVM::StoreOp::create(b, value, slot);
}

SmallVector<Value> Parker::split(Value value) {
  unsigned bits = getBits(value.getType());
  Type type = b.getIntegerType(bits), word = b.getI32Type();
  if (isa<LLVM::LLVMPointerType>(value.getType()))
    value = LLVM::PtrToIntOp::create(b, type, value);
  else if (value.getType() != type)
    value = LLVM::BitcastOp::create(b, type, value);
  if (bits == kWordBits)
    return {value};
  if (bits < kWordBits)
    return {LLVM::ZExtOp::create(b, word, value)};
  if (bits < 2 * kWordBits)
    value = LLVM::ZExtOp::create(b, b.getI64Type(), value);
  Value high =
      LLVM::LShrOp::create(b, value, integer(b.getI64Type(), kWordBits));
  return {LLVM::TruncOp::create(b, word, value),
          LLVM::TruncOp::create(b, word, high)};
}

Value Parker::join(Type type, ArrayRef<Value> words) {
  unsigned bits = getBits(type);
  Type own = b.getIntegerType(bits), wide = b.getI64Type();
  Value value = words[0];
  if (bits > kWordBits) {
    Value high = LLVM::ZExtOp::create(b, wide, words[1]);
    high = LLVM::ShlOp::create(b, high, integer(wide, kWordBits));
    value = LLVM::OrOp::create(b, LLVM::ZExtOp::create(b, wide, value), high);
  }
  if (value.getType() != own)
    value = LLVM::TruncOp::create(b, own, value);
  if (isa<LLVM::LLVMPointerType>(type))
    return LLVM::IntToPtrOp::create(b, type, value);
  return type == own ? value : LLVM::BitcastOp::create(b, type, value);
}

void Parker::park(LLVM::CallOp op, ArrayRef<Value> values) {
  b.setInsertionPoint(op);
  SmallVector<Value> words, registers;
  for (Value value : values)
    llvm::append_range(
        words, split(LLVM::LoadOp::create(b, value.getType(), slots[value])));
  for (auto [i, word] : llvm::enumerate(words)) {
    if (i % kWarp == 0) {
      registers.push_back(word);
      continue;
    }
    Value isOwn = LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::eq, lane,
                                       number(i % kWarp));
    registers.back() = LLVM::SelectOp::create(b, isOwn, word, registers.back());
  }
  b.setInsertionPointAfter(op);
  for (auto [i, word] : llvm::enumerate(words))
    word = call("llvm.nvvm.shfl.sync.idx.i32",
                {number(-1), registers[i / kWarp], number(i % kWarp),
                 number(kWarp - 1)});
  ArrayRef<Value> rest = words;
  for (Value value : values) {
    unsigned count = getBits(value.getType()) > kWordBits ? 2 : 1;
    LLVM::StoreOp::create(b, join(value.getType(), rest.take_front(count)),
                          slots[value]);
    rest = rest.drop_front(count);
  }
}

void Parker::run() {
  makeCastsAtUses(function);
  findValues();
  b.setInsertionPointToStart(&function.getBody().front());
  lane = call("llvm.nvvm.read.ptx.sreg.laneid", {});
  for (ArrayRef<Value> values : living)
    for (Value value : values)
      makeSlot(value);
  for (auto [call, values] : llvm::zip(calls, living))
    park(call, values);
  SmallVector<PromotableAllocationOpInterface> allocations;
  for (auto &[value, slot] : slots)
    allocations.push_back(
        cast<PromotableAllocationOpInterface>(slot.getOperation()));
  DominanceInfo dominance(function);
  (void)tryToPromoteMemorySlots(allocations, b, DataLayout::closest(function),
                                dominance);
}

struct ParkValuesPass final : lumen::impl::ParkValuesPassBase<ParkValuesPass> {
  using ParkValuesPassBase::ParkValuesPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (!hasWarps(module))
      return;
    SymbolTable symbols(module);
    for (auto function : module.getOps<LLVM::LLVMFuncOp>()) {
      SmallVector<LLVM::CallOp> calls;
      function.walk([&](LLVM::CallOp call) {
        auto callee = call.getCallee();
        Operation *its = callee ? symbols.lookup(*callee) : nullptr;
        if (its && its->hasAttr(LumenDialect::kLoopAttr))
          calls.push_back(call);
      });
      if (!calls.empty())
        Parker(function, std::move(calls)).run();
    }
  }
};

} // namespace

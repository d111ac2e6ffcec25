// SPDX-License-Identifier: Apache-2.0
#include "passes/target/gpu/TeamOfWarps.h"

#include "dialect/LumenDialect.h"
#include "passes/support/KernelBuilder.h"

#include "mlir/Conversion/LLVMCommon/MemRefBuilder.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

class TeamEmitter {
public:
  TeamEmitter(Operation *op, Value team)
      : b(op->getLoc(), op->getContext()), op(op), team(team) {
    b.setInsertionPoint(op);
  }

  Value emit();

private:
  /// One of NVIDIA's registers that say where a thread is: i32.
  Value read(StringRef name) {
    return LLVM::CallIntrinsicOp::create(
               b, b.getI32Type(),
               b.getStringAttr("llvm.nvvm.read.ptx.sreg." + name), ValueRange())
        .getResult(0);
  }
  Value inWarps(Value threads) {
    Value warp = b.integer(b.getI32Type(), TargetAttr::lookup(op).getWarp());
    return arith::DivUIOp::create(b, threads, warp);
  }
  Value toIndex(Value word) { return b.toIndex(word); }
  /// A pointer to byte `offset` of what `base` points to.
  Value pointTo(Value base, LLVM::GEPArg offset) {
    return LLVM::GEPOp::create(b, base.getType(), b.getI8Type(), base,
                               ArrayRef<LLVM::GEPArg>{offset});
  }
  Value emit(WorkerIdOp id);
  Value emit(BlockScratchOp memory);
  Value emit(ArriveOp arrive);

  KernelBuilder b;
  Operation *op;
  Value team;
};

} // namespace

/// Neighbours are in different blocks, so that a few pieces of work are in as
/// many.
Value TeamEmitter::emit(WorkerIdOp) {
  Value own = inWarps(read("tid.x"));
  Value first = arith::MulIOp::create(b, own, read("nctaid.x"));
  return toIndex(arith::AddIOp::create(b, first, read("ctaid.x")));
}

Value TeamEmitter::emit(BlockScratchOp memory) {
  auto module = op->getParentOfType<ModuleOp>();
  int64_t bytes = 0;
  if (auto size =
          module.lookupSymbol<LLVM::GlobalOp>(LumenDialect::kBlockSizeGlobal))
    bytes = cast<IntegerAttr>(*size.getValue()).getInt();
  Type i64 = b.getI64Type();
  Value block = arith::ExtUIOp::create(b, i64, read("ctaid.x"));
  Value offset = arith::MulIOp::create(b, block, b.integer(i64, bytes));
  Value first = b.integer(i64, kBlocksOffset + int64_t(memory.getOffset()));
  offset = arith::AddIOp::create(b, offset, first);
  LLVMTypeConverter converter(b.getContext());
  Value descriptor = MemRefDescriptor::fromStaticShape(
      b, b.getLoc(), converter, memory.getType(), pointTo(team, offset));
  return UnrealizedConversionCastOp::create(b, memory.getType(), descriptor)
      .getResult(0);
}

/// One thread counts its warp, when all of its threads are here; all of them go
/// on with what it found.
Value TeamEmitter::emit(ArriveOp arrive) {
  Type i32 = b.getI32Type();
  auto asWord = [&](Value index) -> Value {
    return arith::IndexCastOp::create(b, i32, index);
  };
  Value zero = b.integer(i32, 0), one = b.integer(i32, 1);
  Value last = arith::SubIOp::create(b, asWord(arrive.getCount()), one);
  Value offset = b.multiply(arrive.getCounter(), sizeof(int32_t));
  offset = arith::IndexCastOp::create(b, b.getI64Type(),
                                      b.add(offset, kCountersOffset));
  WarpBarrierOp::create(b);
  Value isFirst = arith::CmpIOp::create(b, arith::CmpIPredicate::eq,
                                        LaneOp::create(b), zero);
  Value before = b.choose(
      isFirst, i32,
      [&]() -> Value {
        constexpr StringLiteral kDevice = "device";
        constexpr unsigned kAlignment = sizeof(int32_t);
        Value counter = pointTo(team, offset);
        // LLVM leaves the order out of what it makes of an atomic addition.
        auto fence = [&] {
          LLVM::FenceOp::create(b, LLVM::AtomicOrdering::acq_rel, kDevice);
        };
        fence();
        Value others = LLVM::AtomicRMWOp::create(
            b, LLVM::AtomicBinOp::add, counter, one,
            LLVM::AtomicOrdering::monotonic, kDevice, kAlignment);
        fence();
        Value isLast =
            arith::CmpIOp::create(b, arith::CmpIPredicate::eq, others, last);
        b.branch(isLast, [&] {
          LLVM::StoreOp::create(b, zero, counter, kAlignment,
                                /*isVolatile=*/false, /*isNonTemporal=*/false,
                                /*isInvariantGroup=*/false,
                                LLVM::AtomicOrdering::monotonic, kDevice);
        });
        return others;
      },
      [&] { return zero; });
  before = ShuffleOp::create(b, before, zero);
  WarpBarrierOp::create(b);
  return arith::CmpIOp::create(b, arith::CmpIPredicate::eq, before, last);
}

Value TeamEmitter::emit() {
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case<WorkerIdOp, BlockScratchOp, ArriveOp>(
          [&](auto each) { return emit(each); })
      .Case([&](WorkerCountOp) {
        Value own = inWarps(read("ntid.x"));
        return toIndex(arith::MulIOp::create(b, own, read("nctaid.x")));
      })
      .Case([&](BlockWorkerIdOp) { return toIndex(inWarps(read("tid.x"))); })
      .Case(
          [&](BlockWorkerCountOp) { return toIndex(inWarps(read("ntid.x"))); });
}

Value lumen::emitTeamOfWarps(Operation *op, Value team) {
  return TeamEmitter(op, team).emit();
}

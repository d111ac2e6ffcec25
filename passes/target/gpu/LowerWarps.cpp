// SPDX-License-Identifier: Apache-2.0
//
// Lanes, their values and their memory as NVIDIA's registers and instructions.
#include "passes/Passes.h"
#include "passes/target/common/VectorPieces.h"
#include "passes/target/gpu/Gpu.h"
#include "passes/target/gpu/LaneLayout.h"

#include "mlir/Conversion/LLVMCommon/MemRefBuilder.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/FormatVariadic.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_LOWERWARPSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// All threads of a warp.
constexpr int64_t kAll = -1;

struct LowerWarpsPass final : lumen::impl::LowerWarpsPassBase<LowerWarpsPass> {
  using LowerWarpsPassBase::LowerWarpsPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<Operation *> ops;
    module.walk([&](Operation *op) {
      if (isa<LaneOp, ShuffleOp, WarpBarrierOp, BlockBarrierOp, WarpMmaOp,
              ScratchOp>(op))
        ops.push_back(op);
    });
    for (Operation *op : ops) {
      KernelBuilder b(op->getLoc(), op->getContext());
      b.setInsertionPoint(op);
      if (auto shuffle = dyn_cast<ShuffleOp>(op))
        lower(b, shuffle);
      else if (auto mma = dyn_cast<WarpMmaOp>(op))
        lower(b, mma);
      else if (auto memory = dyn_cast<ScratchOp>(op))
        lower(b, memory);
      else if (isa<LaneOp>(op))
        op->getResult(0).replaceAllUsesWith(callIntrinsic(
            b, "llvm.nvvm.read.ptx.sreg.laneid", b.getI32Type(), ValueRange()));
      else if (isa<BlockBarrierOp>(op))
        LLVM::CallIntrinsicOp::create(
            b, b.getStringAttr("llvm.nvvm.barrier.cta.sync.aligned.all"),
            ValueRange(b.integer(b.getI32Type(), 0)));
      else
        LLVM::CallIntrinsicOp::create(
            b, b.getStringAttr("llvm.nvvm.bar.warp.sync"),
            ValueRange(b.integer(b.getI32Type(), kAll)));
      op->erase();
    }
  }

private:
  void lower(KernelBuilder &b, ShuffleOp op);
  void lower(KernelBuilder &b, WarpMmaOp op);
  void lower(KernelBuilder &b, ScratchOp op);
  // Where the scratch memory of a warp begins.
  Value callRuntime(KernelBuilder &b);
  Value findShared(KernelBuilder &b);
};

/// Registers of 32 bits are what can be moved.
void LowerWarpsPass::lower(KernelBuilder &b, ShuffleOp op) {
  Type type = op.getType(), word = b.getI32Type();
  unsigned bits = type.getIntOrFloatBitWidth();
  Type integer = b.getIntegerType(bits);
  Value value = op.getValue();
  if (type != integer)
    value = arith::BitcastOp::create(b, integer, value);
  auto move = [&](Value each) {
    return callIntrinsic(b, "llvm.nvvm.shfl.sync.idx.i32", word,
                         {b.integer(word, kAll), each, op.getFrom(),
                          b.integer(word, kWarp - 1)});
  };
  if (bits < 32) {
    value = arith::ExtUIOp::create(b, word, value);
    value = arith::TruncIOp::create(b, integer, move(value));
  } else if (bits == 32) {
    value = move(value);
  } else {
    Value high = arith::ShRUIOp::create(b, value, b.integer(integer, 32));
    auto half = [&](Value each) -> Value {
      each = move(arith::TruncIOp::create(b, word, each));
      return arith::ExtUIOp::create(b, integer, each);
    };
    high = arith::ShLIOp::create(b, half(high), b.integer(integer, 32));
    value = arith::OrIOp::create(b, high, half(value));
  }
  if (type != integer)
    value = arith::BitcastOp::create(b, type, value);
  op.getResult().replaceAllUsesWith(value);
}

/// The first words of both rows come before the second ones. Which columns of
/// both sides meet is the same.
void LowerWarpsPass::lower(KernelBuilder &b, WarpMmaOp op) {
  Type word = b.getI32Type();
  SmallVector<Value> operands;
  auto addWords = [&](Value own, int64_t rows) {
    int64_t bits =
        getLanes(own) * getElementTypeOrSelf(own).getIntOrFloatBitWidth();
    int64_t inRow = bits / 32 / rows;
    own =
        vector::BitCastOp::create(b, VectorType::get(rows * inRow, word), own);
    for (int64_t i = 0; i < inRow; ++i)
      for (int64_t row = 0; row < rows; ++row)
        operands.push_back(vector::ExtractOp::create(b, own, row * inRow + i));
  };
  addWords(op.getLhs(), 2);
  addWords(op.getRhs(), 1);
  int64_t sums = getLanes(op.getAcc());
  addWords(op.getAcc(), 1);
  std::string name = llvm::formatv("llvm.nvvm.mma.m{0}n{1}k{2}.row.col.s8",
                                   op.getShape().getM(), op.getShape().getN(),
                                   op.getShape().getK());
  auto type = LLVM::LLVMStructType::getLiteral(&getContext(),
                                               SmallVector<Type>(sums, word));
  Value all = callIntrinsic(b, name, type, operands);
  SmallVector<Value> results;
  for (int64_t i = 0; i < sums; ++i)
    results.push_back(LLVM::ExtractValueOp::create(b, all, i));
  op.getResult().replaceAllUsesWith(vector::FromElementsOp::create(
      b, cast<VectorType>(op.getType()), results));
}

/// What the runtime says.
Value LowerWarpsPass::callRuntime(KernelBuilder &b) {
  ModuleOp module = getOperation();
  Type pointer = LLVM::LLVMPointerType::get(&getContext());
  if (!module.lookupSymbol(gpu::kScratchFunction)) {
    auto end =
        ImplicitLocOpBuilder::atBlockEnd(module.getLoc(), module.getBody());
    auto function = LLVM::LLVMFuncOp::create(
        end, gpu::kScratchFunction, LLVM::LLVMFunctionType::get(pointer, {}));
    function.setNoUnwind(true);
  }
  return LLVM::CallOp::create(
             b, pointer,
             FlatSymbolRefAttr::get(&getContext(), gpu::kScratchFunction),
             ValueRange())
      .getResult();
}

/// The shared memory of a block is cut into equal parts, one for each warp.
Value LowerWarpsPass::findShared(KernelBuilder &b) {
  constexpr StringLiteral kShared = "lumen_shared";
  constexpr unsigned kSharedMemory = 3;
  ModuleOp module = getOperation();
  auto shared = module.lookupSymbol<LLVM::GlobalOp>(kShared);
  if (!shared) {
    auto begin =
        ImplicitLocOpBuilder::atBlockBegin(module.getLoc(), module.getBody());
    // How large it is, a launch says.
    shared = LLVM::GlobalOp::create(
        begin, LLVM::LLVMArrayType::get(b.getI8Type(), 0), /*isConstant=*/false,
        LLVM::Linkage::External, kShared, Attribute(), /*alignment=*/16,
        kSharedMemory);
  }
  int64_t size = 0;
  if (auto known =
          module.lookupSymbol<LLVM::GlobalOp>(LumenDialect::kScratchSizeGlobal))
    size = cast<IntegerAttr>(*known.getValue()).getInt();
  Type word = b.getI32Type();
  Value thread =
      callIntrinsic(b, "llvm.nvvm.read.ptx.sreg.tid.x", word, ValueRange());
  Value warp = arith::DivUIOp::create(b, thread, b.integer(word, kWarp));
  Value offset = arith::MulIOp::create(b, warp, b.integer(word, size));
  Value own = LLVM::GEPOp::create(
      b, LLVM::LLVMPointerType::get(&getContext(), kSharedMemory),
      b.getI8Type(), LLVM::AddressOfOp::create(b, shared),
      ArrayRef<LLVM::GEPArg>{offset});
  return LLVM::AddrSpaceCastOp::create(
      b, LLVM::LLVMPointerType::get(&getContext()), own);
}

void LowerWarpsPass::lower(KernelBuilder &b, ScratchOp op) {
  bool isGpu = TargetAttr::lookup(getOperation()).getArchitecture() ==
               llvm::Triple::nvptx64;
  Value address = isGpu ? findShared(b) : callRuntime(b);
  if (op.getOffset())
    address =
        LLVM::GEPOp::create(b, address.getType(), b.getI8Type(), address,
                            ArrayRef<LLVM::GEPArg>{int32_t(op.getOffset())});
  LLVMTypeConverter converter(&getContext());
  Value descriptor = MemRefDescriptor::fromStaticShape(b, b.getLoc(), converter,
                                                       op.getType(), address);
  op.getResult().replaceAllUsesWith(
      UnrealizedConversionCastOp::create(b, op.getType(), descriptor)
          .getResult(0));
}

} // namespace

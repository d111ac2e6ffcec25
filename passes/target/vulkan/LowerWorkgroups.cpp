// SPDX-License-Identifier: Apache-2.0
//
// Warps as workgroups of Vulkan: lanes, what they get from each other, and the
// numbers of workers.
#include "passes/Passes.h"
#include "passes/support/KernelBuilder.h"
#include "passes/target/gpu/LaneLayout.h"
#include "passes/target/vulkan/Vulkan.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SPIRV/Transforms/SPIRVConversion.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_LOWERWORKGROUPSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

class WorkgroupLowering {
public:
  explicit WorkgroupLowering(func::FuncOp kernel)
      : b(kernel.getLoc(), kernel.getContext()), kernel(kernel) {}

  void run();

private:
  void lower(ShuffleOp op);
  Value read(spirv::BuiltIn builtIn);
  Value exchange(Value word, Value from);
  void wait(spirv::MemorySemantics memory);

  KernelBuilder b;
  func::FuncOp kernel;
  /// A word of each lane.
  spirv::GlobalVariableOp exchanged;
};

/// The first number of a built-in vector, i32.
Value WorkgroupLowering::read(spirv::BuiltIn builtIn) {
  Value all =
      spirv::getBuiltinVariableValue(kernel, builtIn, b.getI32Type(), b);
  return spirv::CompositeExtractOp::create(b, all, {0});
}

/// Memory of the workgroup is what an invocation of any device can read
/// another's values from.
void WorkgroupLowering::wait(spirv::MemorySemantics memory) {
  spirv::ControlBarrierOp::create(
      b, spirv::Scope::Workgroup, spirv::Scope::Workgroup,
      memory | spirv::MemorySemantics::AcquireRelease);
}

Value WorkgroupLowering::exchange(Value word, Value from) {
  Type i32 = b.getI32Type();
  if (!exchanged)
    exchanged =
        vulkan::makeVariable(b, "exchanged", spirv::ArrayType::get(i32, kWarp),
                             spirv::StorageClass::Workgroup);
  Value memory = spirv::AddressOfOp::create(b, exchanged);
  auto place = [&](Value lane) -> Value {
    return spirv::AccessChainOp::create(b, memory, ValueRange(lane));
  };
  spirv::StoreOp::create(b, place(read(spirv::BuiltIn::LocalInvocationId)),
                         word);
  wait(spirv::MemorySemantics::WorkgroupMemory);
  Value result = spirv::LoadOp::create(b, place(from));
  // Before anybody writes the next one.
  wait(spirv::MemorySemantics::WorkgroupMemory);
  return result;
}

void WorkgroupLowering::lower(ShuffleOp op) {
  Type type = op.getType(), word = b.getI32Type();
  unsigned bits = type.getIntOrFloatBitWidth();
  Type integer = b.getIntegerType(bits);
  Value value = op.getValue();
  if (type != integer)
    value = arith::BitcastOp::create(b, integer, value);
  if (bits < 32) {
    value = arith::ExtUIOp::create(b, word, value);
    value = arith::TruncIOp::create(b, integer, exchange(value, op.getFrom()));
  } else if (bits == 32) {
    value = exchange(value, op.getFrom());
  } else {
    auto half = [&](Value each) -> Value {
      each = exchange(arith::TruncIOp::create(b, word, each), op.getFrom());
      return arith::ExtUIOp::create(b, integer, each);
    };
    Value by = b.integer(integer, 32);
    Value high = half(arith::ShRUIOp::create(b, value, by));
    high = arith::ShLIOp::create(b, high, by);
    value = arith::OrIOp::create(b, high, half(value));
  }
  if (type != integer)
    value = arith::BitcastOp::create(b, type, value);
  op.getResult().replaceAllUsesWith(value);
}

void WorkgroupLowering::run() {
  SmallVector<Operation *> ops;
  kernel.walk([&](Operation *op) {
    if (isa<LaneOp, ShuffleOp, WarpBarrierOp, WorkerIdOp, WorkerCountOp>(op))
      ops.push_back(op);
  });
  for (Operation *op : ops) {
    b.setInsertionPoint(op);
    b.setLoc(op->getLoc());
    if (auto shuffle = dyn_cast<ShuffleOp>(op)) {
      lower(shuffle);
    } else if (isa<WarpBarrierOp>(op)) {
      wait(spirv::MemorySemantics::WorkgroupMemory |
           spirv::MemorySemantics::UniformMemory);
    } else if (isa<LaneOp>(op)) {
      op->getResult(0).replaceAllUsesWith(
          read(spirv::BuiltIn::LocalInvocationId));
    } else {
      auto number = isa<WorkerIdOp>(op) ? spirv::BuiltIn::WorkgroupId
                                        : spirv::BuiltIn::NumWorkgroups;
      op->getResult(0).replaceAllUsesWith(b.toIndex(read(number)));
    }
    op->erase();
  }
}

struct LowerWorkgroupsPass final
    : lumen::impl::LowerWorkgroupsPassBase<LowerWorkgroupsPass> {
  using LowerWorkgroupsPassBase::LowerWorkgroupsPassBase;

  void runOnOperation() override {
    for (func::FuncOp kernel : vulkan::getKernels(getOperation()))
      WorkgroupLowering(kernel).run();
  }
};

} // namespace

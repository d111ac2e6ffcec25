// SPDX-License-Identifier: Apache-2.0
//
// Buffers as addresses: of the device's memory, of that of a workgroup, or of
// an invocation's own.
#include "passes/Passes.h"
#include "passes/support/KernelBuilder.h"
#include "passes/target/gpu/LaunchWords.h"
#include "passes/target/vulkan/BufferAccess.h"
#include "passes/target/vulkan/Vulkan.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_LOWERBUFFERSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;
using vulkan::Place, vulkan::makePlace, vulkan::getStored;

namespace {

class BufferLowering {
public:
  explicit BufferLowering(func::FuncOp kernel)
      : b(kernel.getLoc(), kernel.getContext()), kernel(kernel) {}

  LogicalResult run();

private:
  LogicalResult takeArguments();
  LogicalResult lower(Operation *op);

  // Ops that make buffers, and those that ask for what they are.
  LogicalResult find(memref::ViewOp op);
  LogicalResult find(memref::ReinterpretCastOp op);
  LogicalResult find(memref::CastOp op);
  LogicalResult find(memref::ExtractStridedMetadataOp op);
  LogicalResult find(memref::DimOp op);
  LogicalResult find(ScratchOp op);
  LogicalResult find(memref::AllocaOp op);
  LogicalResult find(memref::GetGlobalOp op);
  LogicalResult access(Operation *op);

  SmallVector<Value> getValues(ArrayRef<OpFoldResult> values);

  KernelBuilder b;
  func::FuncOp kernel;
  DenseMap<Value, Place> places;
  /// The address of the words, and where behind it a constant begins.
  Value words;
  llvm::StringMap<int64_t> constants;
  SmallVector<Operation *> dead;
};

SmallVector<Value> BufferLowering::getValues(ArrayRef<OpFoldResult> values) {
  return llvm::map_to_vector(values, [&](OpFoldResult value) {
    return getValueOrCreateConstantIndexOp(b, b.getLoc(), value);
  });
}

/// The arguments are words, to which the push constant points.
LogicalResult BufferLowering::takeArguments() {
  Block &body = kernel.getBody().front();
  b.setInsertionPointToStart(&body);
  Type i64 = b.getI64Type();
  auto block =
      spirv::StructType::get({i64}, {spirv::StructType::OffsetInfo(0)});
  auto pushed = vulkan::makeVariable(b, "arguments", block,
                                     spirv::StorageClass::PushConstant);
  Value first =
      spirv::ConstantOp::create(b, b.getI32Type(), b.getI32IntegerAttr(0));
  Value address = spirv::AccessChainOp::create(
      b, spirv::AddressOfOp::create(b, pushed), ValueRange(first));
  words = spirv::LoadOp::create(b, address);
  Place list = makePlace(b, MemRefType::get({ShapedType::kDynamic}, i64), words,
                         {b.index(0)});
  int64_t count = 0;
  auto next = [&] { return load(b, list, i64, b.index(count++)); };
  auto nextIndex = [&]() -> Value {
    return arith::IndexCastOp::create(b, b.getIndexType(), next());
  };
  for (BlockArgument argument : body.getArguments()) {
    Type type = argument.getType();
    if (auto buffer = dyn_cast<MemRefType>(type)) {
      if (!buffer.getLayout().isIdentity() || buffer.getMemorySpace())
        return kernel.emitError("cannot take a buffer by its address: ")
               << type;
      Value base = next();
      SmallVector<Value> sizes;
      for (int64_t i = 0; i < buffer.getNumDynamicDims(); ++i)
        sizes.push_back(nextIndex());
      places[argument] = makePlace(b, buffer, base, sizes);
      continue;
    }
    if (type.isIndex()) {
      argument.replaceAllUsesWith(nextIndex());
      continue;
    }
    if (!type.isIntOrFloat() || type.getIntOrFloatBitWidth() > 64)
      return kernel.emitError("cannot take a word for ") << type;
    Type integer = b.getIntegerType(type.getIntOrFloatBitWidth());
    Value value = next();
    if (integer != i64)
      value = arith::TruncIOp::create(b, integer, value);
    if (type != integer)
      value = arith::BitcastOp::create(b, type, value);
    argument.replaceAllUsesWith(value);
  }
  // What constants' places follow from, wherever they are used.
  auto module = kernel->getParentOfType<ModuleOp>();
  FailureOr<SmallVector<memref::GlobalOp>> found = findConstants(module);
  if (failed(found))
    return failure();
  for (memref::GlobalOp constant : *found) {
    constants[constant.getSymName()] = kWordBytes * count;
    count += getWords(constant);
  }
  return success();
}

LogicalResult BufferLowering::find(memref::ViewOp op) {
  Place source = places.lookup(op.getSource());
  if (source.isArray())
    return op.emitOpError("gives memory of a workgroup another type, which it "
                          "cannot have");
  Value bytes = arith::IndexCastOp::create(
      b, b.getI64Type(),
      b.createOrFold<arith::AddIOp>(source.offset, op.getByteShift()));
  Value base = arith::AddIOp::create(b, source.base, bytes);
  places[op.getResult()] = makePlace(b, op.getType(), base, op.getSizes());
  return success();
}

LogicalResult BufferLowering::find(memref::ReinterpretCastOp op) {
  Place source = places.lookup(op.getSource());
  places[op.getResult()] = {
      source.base, getValues(op.getMixedOffsets()).front(),
      getValues(op.getMixedSizes()), getValues(op.getMixedStrides())};
  return success();
}

LogicalResult BufferLowering::find(memref::CastOp op) {
  Place source = places.lookup(op.getSource());
  places[op.getDest()] = source;
  return success();
}

LogicalResult BufferLowering::find(memref::ExtractStridedMetadataOp op) {
  Place source = places.lookup(op.getSource());
  places[op.getBaseBuffer()] = {source.base, b.index(0), {}, {}};
  op.getOffset().replaceAllUsesWith(source.offset);
  for (auto [result, size] : llvm::zip(op.getSizes(), source.sizes))
    result.replaceAllUsesWith(size);
  for (auto [result, stride] : llvm::zip(op.getStrides(), source.strides))
    result.replaceAllUsesWith(stride);
  return success();
}

LogicalResult BufferLowering::find(memref::DimOp op) {
  std::optional<int64_t> dim = op.getConstantIndex();
  if (!dim)
    return op.emitOpError("asks for a dimension that is not known");
  Place source = places.lookup(op.getSource());
  op.getResult().replaceAllUsesWith(source.sizes[*dim]);
  return success();
}

LogicalResult BufferLowering::find(ScratchOp op) {
  auto array = spirv::ArrayType::get(getStored(op.getType().getElementType()),
                                     op.getType().getNumElements());
  auto variable =
      vulkan::makeVariable(b, "scratch", array, spirv::StorageClass::Workgroup);
  places[op.getResult()] =
      makePlace(b, op.getType(), spirv::AddressOfOp::create(b, variable), {});
  return success();
}

LogicalResult BufferLowering::find(memref::AllocaOp op) {
  if (!op.getType().hasStaticShape() || !op.getType().getLayout().isIdentity())
    return op.emitOpError("cannot be memory of an invocation: its size is not "
                          "known");
  auto array = spirv::ArrayType::get(getStored(op.getType().getElementType()),
                                     op.getType().getNumElements());
  b.setInsertionPointToStart(&kernel.getBody().front());
  auto storage = spirv::StorageClass::Function;
  Value variable = spirv::VariableOp::create(
      b, spirv::PointerType::get(array, storage), storage, Value());
  b.setInsertionPoint(op);
  places[op.getResult()] = makePlace(b, op.getType(), variable, {});
  return success();
}

LogicalResult BufferLowering::find(memref::GetGlobalOp op) {
  Value base = arith::AddIOp::create(
      b, words, b.integer(b.getI64Type(), constants.lookup(op.getName())));
  places[op.getResult()] =
      makePlace(b, cast<MemRefType>(op.getType()), base, {});
  return success();
}

LogicalResult BufferLowering::access(Operation *op) {
  auto at = [&](Value buffer, ValueRange indices) {
    const Place &place = places.find(buffer)->second;
    Value result = place.offset;
    for (auto [index, stride] : llvm::zip(indices, place.strides))
      result = b.createOrFold<arith::AddIOp>(
          result, b.createOrFold<arith::MulIOp>(index, stride));
    return result;
  };
  auto loaded = [&](auto load_, Type type, int64_t lanes, Value buffer,
                    int64_t alignment) {
    Value where = at(buffer, load_.getIndices());
    load_.getResult().replaceAllUsesWith(
        vulkan::load(b, places.lookup(buffer), type, where, lanes, alignment));
  };
  llvm::TypeSwitch<Operation *>(op)
      .Case([&](memref::LoadOp each) {
        loaded(each, each.getType(), 0, each.getMemRef(), 0);
      })
      .Case([&](vector::LoadOp each) {
        VectorType type = each.getVectorType();
        loaded(each, type.getElementType(), type.getNumElements(),
               each.getBase(), int64_t(each.getAlignment().value_or(0)));
      })
      .Case([&](memref::StoreOp each) {
        vulkan::store(b, places.lookup(each.getMemRef()), each.getValue(),
                      at(each.getMemRef(), each.getIndices()));
      })
      .Case([&](vector::StoreOp each) {
        vulkan::store(b, places.lookup(each.getBase()), each.getValueToStore(),
                      at(each.getBase(), each.getIndices()),
                      int64_t(each.getAlignment().value_or(0)));
      });
  return success();
}

LogicalResult BufferLowering::lower(Operation *op) {
  for (Value operand : op->getOperands())
    if (isa<BaseMemRefType>(operand.getType()) && !places.contains(operand))
      return op->emitOpError("works on a buffer of which nobody knows where it "
                             "lies");
  b.setInsertionPoint(op);
  b.setLoc(op->getLoc());
  dead.push_back(op);
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<memref::ViewOp, memref::ReinterpretCastOp, memref::CastOp,
            memref::ExtractStridedMetadataOp, memref::DimOp, ScratchOp,
            memref::AllocaOp, memref::GetGlobalOp>(
          [&](auto each) { return find(each); })
      .Case<memref::LoadOp, memref::StoreOp, vector::LoadOp, vector::StoreOp>(
          [&](Operation *each) { return access(each); })
      .Default([](Operation *each) {
        return each->emitOpError("works on a buffer in a way that code for "
                                 "Vulkan cannot");
      });
}

LogicalResult BufferLowering::run() {
  if (failed(takeArguments()))
    return failure();
  SmallVector<Operation *> ops;
  kernel.walk<WalkOrder::PreOrder>([&](Operation *op) {
    auto isBuffer = [](Type type) { return isa<BaseMemRefType>(type); };
    if (op != kernel && (llvm::any_of(op->getOperandTypes(), isBuffer) ||
                         llvm::any_of(op->getResultTypes(), isBuffer)))
      ops.push_back(op);
  });
  for (Operation *op : ops)
    if (failed(lower(op)))
      return failure();
  for (Operation *op : llvm::reverse(dead))
    op->erase();
  Block &body = kernel.getBody().front();
  body.eraseArguments(0, body.getNumArguments());
  kernel.removeArgAttrsAttr();
  kernel.setFunctionTypeAttr(TypeAttr::get(b.getFunctionType({}, {})));
  return success();
}

struct LowerBuffersPass final
    : lumen::impl::LowerBuffersPassBase<LowerBuffersPass> {
  using LowerBuffersPassBase::LowerBuffersPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<func::FuncOp> kernels = vulkan::getKernels(module);
    for (func::FuncOp kernel : kernels)
      if (failed(BufferLowering(kernel).run()))
        return signalPassFailure();
    if (kernels.empty())
      return;
    for (auto global :
         llvm::make_early_inc_range(module.getOps<memref::GlobalOp>()))
      if (SymbolTable::symbolKnownUseEmpty(global, module))
        global.erase();
  }
};

} // namespace

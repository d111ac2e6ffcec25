// SPDX-License-Identifier: Apache-2.0
//
// Passes buffers as bare pointers and the sizes that their types leave open,
// and tells LLVM what is known of the pointers.
#include "dialect/layout/FormatLayout.h"
#include "passes/Passes.h"
#include "passes/support/CallOrder.h"
#include "passes/support/Warps.h"
#include "passes/target/common/ArgumentAlignment.h"

#include "mlir/Conversion/LLVMCommon/MemRefBuilder.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_FLATTENARGUMENTSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// What LLVM takes as an alignment.
constexpr int64_t kMostAlignment = int64_t(1) << 32;

/// What is known of the buffers of a function's arguments.
struct Facts {
  /// Bytes; 1 where nothing is known.
  SmallVector<int64_t> alignment;
  BitVector written;
  /// Of these, sizes are not passed.
  BitVector sizeless;
  /// Inside the function, workers read what others wrote.
  bool hasPhases = false;
};

/// The argument (or allocation) that `buffer` is a view of.
Value getRoot(Value buffer) {
  while (auto view = buffer.getDefiningOp<ViewLikeOpInterface>())
    buffer = view.getViewSource();
  return buffer;
}

/// Whether workers wait for each other at the op.
bool isBarrier(Operation *op) {
  if (isa<BarrierOp>(op))
    return true;
  auto call = dyn_cast<LLVM::CallOp>(op);
  return call && (call.getCallee() == LumenDialect::kBarrierFunction ||
                  call.getCallee() == LumenDialect::kGridBarrierFunction);
}

/// Which arguments the function may write, itself or through a callee, of which
/// `all` has the facts.
void findWritten(func::FuncOp function, Facts &facts,
                 const DenseMap<Operation *, Facts> &all) {
  facts.written.resize(function.getNumArguments());
  auto mark = [&](Value buffer) {
    Value root = getRoot(buffer);
    auto argument = dyn_cast<BlockArgument>(root);
    if (argument && argument.getOwner() == &function.getBody().front())
      facts.written.set(argument.getArgNumber());
    else if (!root.getDefiningOp<memref::AllocaOp>() &&
             !root.getDefiningOp<memref::GetGlobalOp>())
      facts.written.set(); // it may be any of them
  };
  unsigned barriers = 0;
  bool hasArrivals = false;
  function.walk([&](Operation *op) {
    barriers += isBarrier(op);
    // Behind it the last worker sees what others wrote before.
    hasArrivals |= isa<LLVM::AtomicRMWOp>(op);
    // A prefetch, be it for a store, changes nothing.
    if (isa<ViewLikeOpInterface, memref::DimOp, memref::PrefetchOp,
            func::FuncOp>(op))
      return;
    if (auto call = dyn_cast<func::CallOp>(op)) {
      auto callee = all.find(
          SymbolTable::lookupNearestSymbolFrom(call, call.getCalleeAttr()));
      for (auto [i, operand] : llvm::enumerate(call.getOperands()))
        if (isa<MemRefType>(operand.getType()) &&
            (callee == all.end() || callee->second.written[i]))
          mark(operand);
      return;
    }
    auto interface = dyn_cast<MemoryEffectOpInterface>(op);
    bool isTraced = interface && !isa<memref::ExtractAlignedPointerAsIndexOp,
                                      memref::ExtractStridedMetadataOp>(op);
    if (!isTraced) {
      for (Value operand : op->getOperands())
        if (isa<MemRefType>(operand.getType()))
          mark(operand);
      return;
    }
    SmallVector<MemoryEffects::EffectInstance> effects;
    interface.getEffects(effects);
    for (const MemoryEffects::EffectInstance &effect : effects)
      if (isa<MemoryEffects::Write>(effect.getEffect()) && effect.getValue() &&
          isa<MemRefType>(effect.getValue().getType()))
        mark(effect.getValue());
  });
  facts.hasPhases = barriers > 1 || hasArrivals;
}

/// Whether a function of warps needs to know how many rows a buffer has. Its
/// callers would keep that in registers.
bool needsSize(BlockArgument argument) {
  auto type = cast<MemRefType>(argument.getType());
  return type.getNumDynamicDims() != 1 || !type.isDynamicDim(0) ||
         !llvm::all_of(
             argument.getUsers(),
             llvm::IsaPred<memref::LoadOp, memref::StoreOp, vector::LoadOp>);
}

class Flattener {
public:
  explicit Flattener(ModuleOp module)
      : module(module), b(module.getLoc(), module.getContext()),
        typeConverter(module.getContext()) {}

  LogicalResult run();

private:
  LogicalResult verify(func::FuncOp function);
  void flatten(func::FuncOp function);
  void flatten(func::CallOp call);
  /// How a function takes buffers.
  Type getPointerType(func::FuncOp function);
  Value castPointer(Value pointer, Type type);
  Value makeMemRef(MemRefType type, Value pointer, ValueRange sizes);
  DictionaryAttr getPointerAttrs(func::FuncOp function, unsigned number);

  ModuleOp module;
  ImplicitLocOpBuilder b;
  LLVMTypeConverter typeConverter;
  DenseMap<Operation *, Facts> facts;
};

LogicalResult Flattener::run() {
  FailureOr<SmallVector<func::FuncOp>> order = sortCalleesFirst(module);
  if (failed(order))
    return failure();
  for (func::FuncOp function : *order) {
    if (failed(verify(function)))
      return failure();
    Facts own;
    findWritten(function, own, facts);
    own.sizeless.resize(function.getNumArguments());
    if (hasWarps(module) && function->hasAttr(LumenDialect::kLoopAttr))
      for (BlockArgument argument : function.getArguments())
        if (isa<MemRefType>(argument.getType()) && !needsSize(argument))
          own.sizeless.set(argument.getArgNumber());
    facts[function] = std::move(own);
  }
  for (auto &[function, alignment] : findAlignments(*order))
    facts[function].alignment = alignment;
  for (func::FuncOp function : *order)
    flatten(function);
  return success();
}

LogicalResult Flattener::verify(func::FuncOp function) {
  for (BlockArgument argument : function.getArguments()) {
    auto type = dyn_cast<MemRefType>(argument.getType());
    if (type ? !type.getLayout().isIdentity() || type.getMemorySpace() ||
                   !typeConverter.convertType(type)
             : isa<UnrankedMemRefType>(argument.getType()))
      return function.emitError("cannot pass argument ")
             << argument.getArgNumber()
             << " by its pointer: " << argument.getType();
  }
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    Attribute attr =
        function.getArgAttr(i, LLVM::LLVMDialect::getAlignAttrName());
    auto known = dyn_cast_or_null<IntegerAttr>(attr);
    if (attr && (!known || !known.getType().isSignlessInteger(64) ||
                 !llvm::isPowerOf2_64(known.getInt()) ||
                 known.getInt() > kMostAlignment))
      return function.emitError("aligns argument ")
             << i << " to " << attr << ", which is no power of two of at most "
             << kMostAlignment;
  }
  if (llvm::any_of(function.getResultTypes(), llvm::IsaPred<BaseMemRefType>))
    return function.emitError("returns a buffer; results are out arguments");
  return success();
}

/// What LLVM may assume of a buffer. The buffers of a kernel's arguments are
/// distinct; between phases others write them, which no pointer of this worker
/// shows, so what is written then has no such promise.
DictionaryAttr Flattener::getPointerAttrs(func::FuncOp function,
                                          unsigned number) {
  const Facts &known = facts[function];
  NamedAttrList attrs;
  attrs.append(LLVM::LLVMDialect::getNoUndefAttrName(), b.getUnitAttr());
  if (known.alignment[number] > 1)
    attrs.append(
        LLVM::LLVMDialect::getAlignAttrName(),
        b.getI64IntegerAttr(std::min(known.alignment[number], kAlignment)));
  if (function->hasAttr(LumenDialect::kKernelAttr) ||
      function->hasAttr(LumenDialect::kLoopAttr)) {
    bool isWritten = known.written[number];
    if (!isWritten || !known.hasPhases)
      attrs.append(LLVM::LLVMDialect::getNoAliasAttrName(), b.getUnitAttr());
    if (!isWritten)
      attrs.append(LLVM::LLVMDialect::getReadonlyAttrName(), b.getUnitAttr());
  }
  return attrs.getDictionary(b.getContext());
}

/// A GPU has more than one kind of memory. Buffers are in that of all of its
/// threads, but for those of a loop, which may be a warp's own.
Type Flattener::getPointerType(func::FuncOp function) {
  constexpr unsigned kGlobalMemory = 1;
  TargetAttr target = TargetAttr::lookup(module);
  bool isGlobal = target && target.hasWarps() &&
                  target.getArchitecture() == llvm::Triple::nvptx64 &&
                  !function->hasAttr(LumenDialect::kLoopAttr);
  return LLVM::LLVMPointerType::get(b.getContext(),
                                    isGlobal ? kGlobalMemory : 0);
}

Value Flattener::castPointer(Value pointer, Type type) {
  if (pointer.getType() == type)
    return pointer;
  return LLVM::AddrSpaceCastOp::create(b, type, pointer);
}

Value Flattener::makeMemRef(MemRefType type, Value pointer, ValueRange sizes) {
  Location loc = b.getLoc();
  auto descriptor =
      MemRefDescriptor::poison(b, loc, typeConverter.convertType(type));
  descriptor.setAllocatedPtr(b, loc, pointer);
  descriptor.setAlignedPtr(b, loc, pointer);
  descriptor.setConstantOffset(b, loc, 0);
  Value stride;
  int64_t staticStride = 1;
  unsigned next = sizes.size();
  for (int64_t dim = type.getRank(); dim-- > 0;) {
    if (!stride)
      descriptor.setConstantStride(b, loc, dim, staticStride);
    else
      descriptor.setStride(b, loc, dim, stride);
    Value size;
    if (type.isDynamicDim(dim)) {
      size = arith::IndexCastOp::create(b, b.getI64Type(), sizes[--next]);
      descriptor.setSize(b, loc, dim, size);
    } else {
      descriptor.setConstantSize(b, loc, dim, type.getDimSize(dim));
    }
    if (!dim)
      break;
    if (!stride && !size) {
      staticStride *= type.getDimSize(dim);
      continue;
    }
    auto constant = [&](int64_t value) -> Value {
      return arith::ConstantIntOp::create(b, b.getI64Type(), value);
    };
    stride =
        arith::MulIOp::create(b, stride ? stride : constant(staticStride),
                              size ? size : constant(type.getDimSize(dim)));
  }
  return UnrealizedConversionCastOp::create(b, type, Value(descriptor))
      .getResult(0);
}

void Flattener::flatten(func::FuncOp function) {
  Block &body = function.getBody().front();
  function.walk([&](func::CallOp call) { flatten(call); });
  b.setInsertionPointToStart(&body);
  unsigned count = body.getNumArguments();
  SmallVector<DictionaryAttr> attrs;
  for (unsigned i = 0; i < count; ++i) {
    BlockArgument argument = body.getArgument(i);
    b.setLoc(argument.getLoc());
    auto type = dyn_cast<MemRefType>(argument.getType());
    if (!type) {
      attrs.push_back(function.getArgAttrDict(i));
      argument.replaceAllUsesWith(
          body.addArgument(argument.getType(), argument.getLoc()));
      continue;
    }
    attrs.push_back(getPointerAttrs(function, i));
    Value pointer =
        body.addArgument(getPointerType(function), argument.getLoc());
    SmallVector<Value> sizes;
    if (facts[function].sizeless[i])
      sizes.push_back(arith::ConstantIndexOp::create(b, 0));
    for (int64_t dim = sizes.size(); dim < type.getNumDynamicDims(); ++dim) {
      sizes.push_back(body.addArgument(b.getIndexType(), argument.getLoc()));
      attrs.push_back(nullptr);
    }
    if (argument.use_empty())
      continue;
    pointer = castPointer(pointer, LLVM::LLVMPointerType::get(b.getContext()));
    argument.replaceAllUsesWith(makeMemRef(type, pointer, sizes));
  }
  body.eraseArguments(0, count);
  for (DictionaryAttr &attr : attrs)
    attr = attr ? attr : b.getDictionaryAttr({});
  function.removeArgAttrsAttr();
  function.setFunctionTypeAttr(TypeAttr::get(
      b.getFunctionType(body.getArgumentTypes(), function.getResultTypes())));
  function.setAllArgAttrs(attrs);
}

void Flattener::flatten(func::CallOp call) {
  b.setInsertionPoint(call);
  b.setLoc(call.getLoc());
  auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
      call, call.getCalleeAttr());
  Type pointerType = getPointerType(callee);
  auto known = facts.find(callee);
  SmallVector<Value> operands;
  for (auto [i, operand] : llvm::enumerate(call.getOperands())) {
    auto type = dyn_cast<MemRefType>(operand.getType());
    if (!type) {
      operands.push_back(operand);
      continue;
    }
    Value packed = UnrealizedConversionCastOp::create(
                       b, typeConverter.convertType(type), operand)
                       .getResult(0);
    operands.push_back(castPointer(
        MemRefDescriptor(packed).alignedPtr(b, b.getLoc()), pointerType));
    if (known != facts.end() && known->second.sizeless[i])
      continue;
    for (int64_t dim = 0; dim < type.getRank(); ++dim)
      if (type.isDynamicDim(dim))
        operands.push_back(memref::DimOp::create(b, operand, dim));
  }
  call->setOperands(operands);
}

struct FlattenArgumentsPass final
    : lumen::impl::FlattenArgumentsPassBase<FlattenArgumentsPass> {
  using FlattenArgumentsPassBase::FlattenArgumentsPassBase;

  void runOnOperation() override {
    if (failed(Flattener(getOperation()).run()))
      signalPassFailure();
  }
};

} // namespace

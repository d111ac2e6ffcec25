// SPDX-License-Identifier: Apache-2.0
//
// Makes functions of the inner loops of products, or of the tiles that warps
// compute. Where format and columns are the same, products of any rows and with
// any epilogue have them in common.
#include "passes/Passes.h"
#include "passes/support/Warps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/xxhash.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_SHARELOOPSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Below this, a call costs more than the code that it saves is worth.
constexpr unsigned kFewestOps = 32;

bool isConstant(Value value) { return matchPattern(value, m_Constant()); }

/// Only reads memory.
bool readsOnly(Operation *op) {
  if (isa<memref::PrefetchOp>(op) ||
      op->hasTrait<OpTrait::HasRecursiveMemoryEffects>())
    return true;
  auto interface = dyn_cast<MemoryEffectOpInterface>(op);
  if (!interface)
    return false;
  SmallVector<MemoryEffects::EffectInstance> effects;
  interface.getEffects(effects);
  return llvm::all_of(effects, [](const MemoryEffects::EffectInstance &effect) {
    return isa<MemoryEffects::Read>(effect.getEffect());
  });
}

/// A view of several planes: of a buffer, with offset and strides that it says.
memref::ReinterpretCastOp getPlane(Value value) {
  auto view = value.getDefiningOp<memref::ReinterpretCastOp>();
  return view && view.getType().getRank() > 0 && view.getOffsets().empty() &&
                 view.getSizes().empty() && view.getStrides().empty()
             ? view
             : memref::ReinterpretCastOp();
}

/// A number that follows from another one and a constant.
bool isOffset(Value value) {
  Operation *op = value.getDefiningOp();
  return isa_and_nonnull<arith::AddIOp, arith::MulIOp>(op) &&
         value.getType().isIndex() && isConstant(op->getOperand(1)) &&
         !isConstant(op->getOperand(0));
}

/// The values from outside that the loop needs, by what becomes of them.
struct Needs {
  /// The function is given them.
  SetVector<Value> arguments;
  /// It makes them itself: constants, and views of its arguments.
  SetVector<Value> constants, planes;
  /// For warps numbers too, what they follow from last: more arguments would
  /// take registers, and an offset from a common one takes none.
  SetVector<Value> offsets;

  explicit Needs(Operation *op) {
    SetVector<Value> all(op->operand_begin(), op->operand_end());
    getUsedValuesDefinedAbove(op->getRegions(), all);
    SmallVector<Value> values(all.begin(), all.end());
    bool takesOffsets = hasWarps(op);
    for (size_t i = 0; i < values.size(); ++i) {
      Value value = values[i];
      if (takesOffsets && isOffset(value)) {
        // Behind all that follow from it.
        offsets.remove(value);
        offsets.insert(value);
        llvm::append_range(values, value.getDefiningOp()->getOperands());
      } else if (isConstant(value)) {
        constants.insert(value);
      } else if (auto plane = getPlane(value)) {
        planes.insert(value);
        arguments.insert(plane.getSource());
      } else {
        arguments.insert(value);
      }
    }
  }
};

/// Whether functions can be given what `op` needs. Those of warps take no
/// vectors.
bool canCall(Operation *op) {
  return llvm::all_of(Needs(op).arguments, [&](Value value) {
    auto buffer = dyn_cast<MemRefType>(value.getType());
    if (buffer)
      return buffer.getLayout().isIdentity() && !buffer.getMemorySpace();
    return !isa<BaseMemRefType>(value.getType()) &&
           !(isa<VectorType>(value.getType()) && hasWarps(op));
  });
}

/// Its results are the sums of a register tile, a vector per token. (For one
/// token alone there is so little to do that the call would show.)
bool isShared(scf::ForOp loop) {
  if (loop.getNumResults() < 2 ||
      !llvm::all_of(loop.getResultTypes(), llvm::IsaPred<VectorType>))
    return false;
  unsigned ops = 0;
  WalkResult walk = loop.walk([&](Operation *op) {
    ++ops;
    return WalkResult(success(readsOnly(op)));
  });
  if (walk.wasInterrupted() || ops < kFewestOps)
    return false;
  return canCall(loop);
}

/// The type that `buffer` has for what becomes a function. Addresses do not
/// depend on how many rows there are, so products with other numbers of rows
/// share the loop.
Type getTypeInside(Value buffer, Operation *shared) {
  auto type = dyn_cast<MemRefType>(buffer.getType());
  if (!type || type.getRank() == 0 || type.isDynamicDim(0))
    return buffer.getType();
  for (Operation *user : buffer.getUsers())
    if (shared->isProperAncestor(user) &&
        !isa<memref::SubViewOp, memref::LoadOp, memref::PrefetchOp,
             vector::LoadOp, vector::GatherOp>(user))
      return type;
  SmallVector<int64_t> shape(type.getShape());
  shape[0] = ShapedType::kDynamic;
  return MemRefType::get(shape, type.getElementType(), type.getLayout());
}

struct ShareLoopsPass final : lumen::impl::ShareLoopsPassBase<ShareLoopsPass> {
  using ShareLoopsPassBase::ShareLoopsPassBase;

  void runOnOperation() override;

private:
  void share(Operation *op, SymbolTable &symbols);
  void shareTiles(SymbolTable &symbols);
  func::FuncOp find(func::FuncOp function, SymbolTable &symbols);

  /// What there is, by type and number of ops.
  DenseMap<std::pair<Type, unsigned>, SmallVector<func::FuncOp>> functions;
};

/// The function of the module that does what this one does: it, if it is new.
func::FuncOp ShareLoopsPass::find(func::FuncOp function, SymbolTable &symbols) {
  unsigned ops = 0;
  function.walk([&](Operation *) { ++ops; });
  auto &candidates = functions[{function.getFunctionType(), ops}];
  for (func::FuncOp candidate : candidates)
    if (OperationEquivalence::isRegionEquivalentTo(
            &candidate.getBody(), &function.getBody(),
            OperationEquivalence::IgnoreLocations)) {
      function.erase();
      return candidate;
    }
  // Named after what it does: models that share it call it the same.
  std::string text;
  llvm::raw_string_ostream stream(text);
  function->print(stream, OpPrintingFlags().useLocalScope());
  function.setSymName(
      llvm::formatv("loop_{0:x-16}", llvm::xxh3_64bits(text)).str());
  symbols.insert(function);
  candidates.push_back(function);
  return function;
}

void ShareLoopsPass::share(Operation *op, SymbolTable &symbols) {
  Needs needs(op);
  Location loc = op->getLoc();
  OpBuilder b(op);
  SmallVector<Value> operands;
  for (Value value : needs.arguments) {
    Type type = getTypeInside(value, op);
    operands.push_back(value.getType() == type ? value
                                               : Value(memref::CastOp::create(
                                                     b, loc, type, value)));
  }
  // The number of rows of a plane.
  for (Value plane : needs.planes)
    operands.push_back(arith::ConstantIndexOp::create(
        b, loc, cast<MemRefType>(plane.getType()).getDimSize(0)));

  auto function = func::FuncOp::create(
      loc, "loop",
      b.getFunctionType(ValueRange(operands).getTypes(), op->getResultTypes()));
  function.setPrivate();
  function->setAttr(LumenDialect::kLoopAttr, b.getUnitAttr());
  b.setInsertionPointToStart(function.addEntryBlock());
  IRMapping mapping;
  unsigned count = needs.arguments.size();
  for (auto [i, value] : llvm::enumerate(needs.arguments))
    mapping.map(value, function.getArgument(i));
  for (Value value : needs.constants)
    b.clone(*value.getDefiningOp(), mapping);
  for (Value value : llvm::reverse(needs.offsets))
    b.clone(*value.getDefiningOp(), mapping);
  for (auto [i, value] : llvm::enumerate(needs.planes)) {
    memref::ReinterpretCastOp plane = getPlane(value);
    auto type = cast<MemRefType>(getTypeInside(value, op));
    SmallVector<OpFoldResult> sizes = plane.getMixedSizes();
    if (type.isDynamicDim(0))
      sizes[0] = function.getArgument(count + i);
    mapping.map(value, memref::ReinterpretCastOp::create(
                           b, loc, type, mapping.lookup(plane.getSource()),
                           plane.getMixedOffsets().front(), sizes,
                           plane.getMixedStrides()));
  }
  Operation *body = b.clone(*op, mapping);
  func::ReturnOp::create(b, loc, body->getResults());
  function = find(function, symbols);

  b.setInsertionPoint(op);
  auto call = func::CallOp::create(b, loc, function, operands);
  op->replaceAllUsesWith(call);
  op->erase();
}

/// What stands around a tile takes no registers in its function. Its results
/// are in memory: all lanes are through with those of the tile before, and see
/// these.
void ShareLoopsPass::shareTiles(SymbolTable &symbols) {
  SmallVector<scf::ExecuteRegionOp> tiles;
  getOperation().walk([&](scf::ExecuteRegionOp op) {
    if (op.getNoInline() && op.getNumResults() == 0 && canCall(op))
      tiles.push_back(op);
  });
  for (scf::ExecuteRegionOp tile : tiles) {
    OpBuilder b(tile);
    WarpBarrierOp::create(b, tile.getLoc());
    b.setInsertionPointAfter(tile);
    WarpBarrierOp::create(b, tile.getLoc());
    share(tile, symbols);
  }
}

void ShareLoopsPass::runOnOperation() {
  functions.clear();
  SymbolTable symbols(getOperation());
  // Functions of warps have no vectors as results.
  if (hasWarps(getOperation()))
    return shareTiles(symbols);
  SmallVector<scf::ForOp> loops;
  for (auto kernel : getOperation().getOps<func::FuncOp>()) {
    auto kind = kernel->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr);
    if (!kind || kind != "product")
      continue;
    kernel.walk<WalkOrder::PreOrder>([&](scf::ForOp loop) {
      if (!isShared(loop))
        return WalkResult::advance();
      loops.push_back(loop);
      return WalkResult::skip();
    });
  }
  for (scf::ForOp loop : loops)
    share(loop, symbols);
}

} // namespace

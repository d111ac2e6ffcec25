// SPDX-License-Identifier: Apache-2.0
//
// Gives every intermediate buffer a fixed place in one arena. Functions are
// straight lines of calls, so a buffer lives from its first to its last use.
#include "dialect/layout/FormatLayout.h"
#include "passes/Passes.h"
#include "passes/support/CallOrder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "llvm/Support/MathExtras.h"

#include <cmath>

namespace mlir::lumen {
#define GEN_PASS_DEF_PLANMEMORYPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Part of an arena: a buffer, or the arena of a callee while it runs.
struct Piece {
  Operation *op;
  int64_t bytes;
  /// First and last op (numbered along the block) that need it.
  unsigned first, last;
  int64_t offset = 0;

  bool overlaps(const Piece &other) const {
    return first <= other.last && other.first <= last;
  }
};

/// Places the pieces, the largest first, each at the lowest offset where no
/// piece that lives at the same time is in the way. Returns the size of all.
int64_t assignOffsets(MutableArrayRef<Piece> pieces) {
  SmallVector<Piece *> order;
  for (Piece &piece : pieces)
    order.push_back(&piece);
  llvm::stable_sort(order,
                    [](Piece *a, Piece *b) { return a->bytes > b->bytes; });
  int64_t total = 0;
  SmallVector<Piece *> placed; // by offset
  for (Piece *piece : order) {
    int64_t offset = 0;
    for (Piece *other : placed) {
      if (!piece->overlaps(*other))
        continue;
      if (offset + piece->bytes <= other->offset)
        break;
      offset = std::max(offset, other->offset + other->bytes);
    }
    piece->offset = offset;
    total = std::max(total, offset + piece->bytes);
    auto after = llvm::upper_bound(placed, piece, [](Piece *a, Piece *b) {
      return a->offset < b->offset;
    });
    placed.insert(after, piece);
  }
  return total;
}

/// Where an op begins, and where all workers have ended it, in its block.
using Positions = DenseMap<Operation *, std::pair<unsigned, unsigned>>;

/// Behind a call that blocks repeat, workers do not wait for those of others
/// before the next one that is not.
Positions findPositions(Block &block) {
  Positions positions;
  unsigned number = block.getOperations().size(), end = number;
  for (Operation &op : llvm::reverse(block)) {
    --number;
    bool isRepeated = op.hasAttr(LumenDialect::kInBlocksAttr);
    if (isa<func::CallOp>(op) && !isRepeated)
      end = number;
    positions[&op] = {number, isRepeated ? end : number};
  }
  return positions;
}

/// To the last op of the block that uses `buffer` or a view of it.
LogicalResult extendLife(Value buffer, const Positions &positions,
                         Piece &piece) {
  for (Operation *user : buffer.getUsers()) {
    // Either of two buffers is a view of both.
    bool isView = isa<ViewLikeOpInterface, arith::SelectOp>(user);
    bool isBuffer =
        llvm::any_of(user->getResultTypes(), llvm::IsaPred<BaseMemRefType>) ||
        user->hasTrait<OpTrait::IsTerminator>();
    if (!isView && isBuffer)
      return user->emitOpError("passes a buffer on, so that nobody can see how "
                               "long it is in use");
    Block *block = piece.op->getBlock();
    auto [first, last] = positions.lookup(block->findAncestorOpInBlock(*user));
    piece.first = std::min(piece.first, first);
    piece.last = std::max(piece.last, last);
    if (isView && failed(extendLife(user->getResult(0), positions, piece)))
      return failure();
  }
  return success();
}

struct PlanMemoryPass final : lumen::impl::PlanMemoryPassBase<PlanMemoryPass> {
  using PlanMemoryPassBase::PlanMemoryPassBase;

  void runOnOperation() override;

private:
  LogicalResult plan(func::FuncOp function);
  FailureOr<int64_t> getBytes(memref::AllocOp alloc);
  int64_t getMost(Value size);
  int64_t getMostOfCalls(func::FuncOp callee,
                         function_ref<int64_t(func::CallOp)> ofCall);
  int64_t getMost(Value buffer, int64_t dim);

  int64_t maxTokens = 0;
  /// By the name of what they call. (Kernels call nothing.)
  DenseMap<StringAttr, SmallVector<func::CallOp>> calls;
  /// The arena that a function takes as its last argument.
  DenseMap<Operation *, MemRefType> arenas;
};

/// More than any memory has, and less than a sum of two overflows.
constexpr int64_t kMost = int64_t(1) << 47;

int64_t bounded(double value) {
  return value > double(kMost) ? kMost : std::max<int64_t>(int64_t(value), 0);
}

int64_t
PlanMemoryPass::getMostOfCalls(func::FuncOp callee,
                               function_ref<int64_t(func::CallOp)> ofCall) {
  std::optional<int64_t> most;
  for (func::CallOp call : calls.lookup(callee.getSymNameAttr()))
    most = std::max(most.value_or(0), ofCall(call));
  return most.value_or(maxTokens);
}

/// What `size` is at most, where no size of an argument of a public function
/// (nor a number that it is given as one) is more than `maxTokens`.
int64_t PlanMemoryPass::getMost(Value size) {
  APInt known;
  if (matchPattern(size, m_ConstantInt(&known)))
    return known.isNegative() ? 0 : bounded(known.getZExtValue());
  Operation *op = size.getDefiningOp();
  if (!op) {
    auto argument = cast<BlockArgument>(size);
    auto function = dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp());
    if (!function || function.isPublic())
      return maxTokens;
    return getMostOfCalls(function, [&](func::CallOp call) {
      return getMost(call.getOperand(argument.getArgNumber()));
    });
  }
  if (auto dim = dyn_cast<memref::DimOp>(op)) {
    std::optional<int64_t> number = dim.getConstantIndex();
    return number ? getMost(dim.getSource(), *number) : kMost;
  }
  auto of = [&](unsigned i) -> double { return getMost(op->getOperand(i)); };
  if (isa<arith::AddIOp>(op))
    return bounded(of(0) + of(1));
  if (isa<arith::MulIOp>(op))
    return bounded(of(0) * of(1));
  if (isa<arith::MaxSIOp, arith::MaxUIOp>(op))
    return bounded(std::max(of(0), of(1)));
  if (isa<arith::MinSIOp, arith::MinUIOp>(op))
    return bounded(std::min(of(0), of(1)));
  if (isa<arith::SubIOp, arith::IndexCastOp>(op))
    return bounded(of(0));
  if (isa<arith::DivSIOp, arith::DivUIOp, arith::CeilDivSIOp,
          arith::CeilDivUIOp, arith::FloorDivSIOp>(op)) {
    bool isKnown = matchPattern(op->getOperand(1), m_ConstantInt(&known));
    int64_t divisor = isKnown && known.sgt(0) ? known.getSExtValue() : 1;
    return bounded(std::ceil(of(0) / double(divisor)));
  }
  if (isa<arith::SelectOp>(op))
    return bounded(std::max(of(1), of(2)));
  return kMost;
}

int64_t PlanMemoryPass::getMost(Value buffer, int64_t dim) {
  auto type = cast<MemRefType>(buffer.getType());
  if (dim < 0 || dim >= type.getRank())
    return kMost;
  if (!type.isDynamicDim(dim))
    return type.getDimSize(dim);
  if (auto argument = dyn_cast<BlockArgument>(buffer)) {
    auto function = dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp());
    if (!function || function.isPublic())
      return maxTokens;
    return getMostOfCalls(function, [&](func::CallOp call) {
      return getMost(call.getOperand(argument.getArgNumber()), dim);
    });
  }
  unsigned number = type.getDynamicDimIndex(dim);
  if (auto alloc = buffer.getDefiningOp<memref::AllocOp>())
    return getMost(alloc.getDynamicSizes()[number]);
  // Either of two buffers.
  if (auto select = buffer.getDefiningOp<arith::SelectOp>())
    return std::max(getMost(select.getTrueValue(), dim),
                    getMost(select.getFalseValue(), dim));
  if (auto view = buffer.getDefiningOp<memref::ViewOp>())
    return getMost(view.getSizes()[number]);
  return kMost;
}

FailureOr<int64_t> PlanMemoryPass::getBytes(memref::AllocOp alloc) {
  MemRefType type = alloc.getType();
  // In a kernel too, a buffer is one of the whole team; a worker's own is an
  // alloca.
  if (!isa<func::FuncOp>(alloc->getParentOp()))
    return alloc.emitOpError("must stand at the top level of a function");
  Type element = type.getElementType();
  if (!element.isIntOrIndexOrFloat() || !type.getLayout().isIdentity())
    return alloc.emitOpError("must be a plain buffer of numbers, got ") << type;
  int64_t bytes = mlir::lumen::getBytes(element);
  for (auto [dim, size] : llvm::enumerate(type.getShape())) {
    int64_t count = size;
    if (ShapedType::isDynamic(size))
      count = getMost(alloc.getDynamicSizes()[type.getDynamicDimIndex(dim)]);
    if (count && bytes > kMost / count)
      return alloc.emitOpError("takes more than 2^47 bytes for ")
             << maxTokens << " tokens: " << type;
    bytes *= count;
  }
  return llvm::alignTo(bytes, kAlignment);
}

LogicalResult PlanMemoryPass::plan(func::FuncOp function) {
  Block &body = function.getBody().front();
  Positions positions = findPositions(body);

  SmallVector<Piece> pieces;
  WalkResult walk = function.walk([&](Operation *op) {
    if (auto alloc = dyn_cast<memref::AllocOp>(op)) {
      FailureOr<int64_t> bytes = getBytes(alloc);
      if (failed(bytes))
        return WalkResult::interrupt();
      // Allocating is no use: the life begins with the first real one.
      Piece piece{alloc, *bytes, unsigned(positions.size()), 0};
      if (failed(extendLife(alloc, positions, piece)))
        return WalkResult::interrupt();
      pieces.push_back(piece);
    } else if (auto call = dyn_cast<func::CallOp>(op)) {
      auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
          call, call.getCalleeAttr());
      auto [first, last] = positions[body.findAncestorOpInBlock(*call)];
      if (MemRefType arena = arenas.lookup(callee))
        pieces.push_back({call, arena.getDimSize(0), first, last});
    }
    return WalkResult::advance();
  });
  if (walk.wasInterrupted())
    return failure();
  if (pieces.empty() && !function.isPublic())
    return success();
  if (!pieces.empty() && !function.getBody().hasOneBlock())
    return function.emitError("must be a straight line of one block, got ")
           << function.getBody().getBlocks().size() << " blocks";
  std::string sizeName =
      (LumenDialect::kArenaSizePrefix + function.getSymName()).str();
  if (function.isPublic() && getOperation().lookupSymbol(sizeName))
    return function.emitError("needs the name '")
           << sizeName << "', which the module has already";

  int64_t total = assignOffsets(pieces);
  ImplicitLocOpBuilder b(function.getLoc(), function.getContext());
  auto type = MemRefType::get({total}, b.getI8Type());
  arenas[function] = type;
  unsigned number = function.getNumArguments();
  if (failed(function.insertArgument(
          number, type,
          b.getDictionaryAttr(
              b.getNamedAttr(LumenDialect::kArenaAttr, b.getUnitAttr())),
          function.getLoc())))
    return failure();
  Value arena = function.getArgument(number);

  for (Piece &piece : pieces) {
    b.setInsertionPoint(piece.op);
    b.setLoc(piece.op->getLoc());
    Value offset = arith::ConstantIndexOp::create(b, piece.offset);
    if (auto alloc = dyn_cast<memref::AllocOp>(piece.op)) {
      alloc.replaceAllUsesWith(Value(memref::ViewOp::create(
          b, alloc.getType(), arena, offset, alloc.getDynamicSizes())));
      alloc.erase();
      continue;
    }
    auto type = MemRefType::get({piece.bytes}, b.getI8Type());
    Value part = memref::ViewOp::create(b, type, arena, offset, ValueRange{});
    piece.op->insertOperands(piece.op->getNumOperands(), part);
  }

  if (!function.isPublic())
    return success();
  b.setInsertionPointAfter(function);
  b.setLoc(function.getLoc());
  LLVM::GlobalOp::create(b, b.getI64Type(), /*isConstant=*/true,
                         LLVM::Linkage::External, sizeName,
                         b.getI64IntegerAttr(total));
  if (remark)
    function.emitRemark() << "the arena of '" << function.getSymName()
                          << "' has " << total << " bytes for at most "
                          << maxTokens << " tokens";
  return success();
}

void PlanMemoryPass::runOnOperation() {
  ModuleOp module = getOperation();
  maxTokens = 512;
  // The dialect verifies it.
  if (Attribute attr = module->getAttr(LumenDialect::kMaxTokensAttr))
    maxTokens = cast<IntegerAttr>(attr).getInt();
  FailureOr<SmallVector<func::FuncOp>> order = sortCalleesFirst(module);
  if (failed(order))
    return signalPassFailure();
  arenas.clear();
  calls.clear();
  for (func::FuncOp function : *order)
    if (!function->hasAttr(LumenDialect::kKernelAttr))
      function.walk([&](func::CallOp call) {
        calls[call.getCalleeAttr().getAttr()].push_back(call);
      });
  for (func::FuncOp function : *order)
    if (failed(plan(function)))
      return signalPassFailure();
}

} // namespace

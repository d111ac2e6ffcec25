// SPDX-License-Identifier: Apache-2.0
#include "dialect/layout/FormatLayout.h"
#include "passes/tile/tensor/Matmul.h"
#include "passes/tile/tensor/TensorKernel.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Transforms/TileUsingInterface.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Dominance.h"
#include "mlir/Transforms/CSE.h"

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// Elements of the loops of an op that a tile has about: enough that claiming
/// one takes little beside.
constexpr int64_t kTileElements = 4 * 1024;
/// What a size that is not known counts as.
constexpr int64_t kOpenSize = 256;

int64_t asCount(int64_t size) {
  return ShapedType::isDynamic(size) ? kOpenSize : std::max<int64_t>(size, 1);
}

/// An op and those whose results only ops of the group read.
class Group {
public:
  explicit Group(linalg::LinalgOp root) : root(root) { collect(); }

  bool contains(Operation *op) const { return ops.contains(op); }
  SmallVector<OpFoldResult> getTileSizes(OpBuilder &b);

private:
  void collect();
  bool reduces() const {
    return llvm::any_of(ops, [](Operation *op) {
      return cast<linalg::LinalgOp>(op).getNumReductionLoops() > 0;
    });
  }

  linalg::LinalgOp root;
  llvm::SetVector<Operation *> ops;
};

void Group::collect() {
  ops.insert(root);
  for (Operation *op = root->getPrevNode(); op; op = op->getPrevNode())
    if (isa<linalg::LinalgOp>(op) && !op->use_empty() &&
        llvm::all_of(op->getUsers(), [&](Operation *user) {
          return ops.contains(user) || isa<tensor::DimOp>(user);
        }))
      ops.insert(op);
}

/// Whole rows, as many as make a tile; pieces of a row where nothing needs all
/// of it.
SmallVector<OpFoldResult> Group::getTileSizes(OpBuilder &b) {
  SmallVector<int64_t> ranges = root.getStaticLoopRanges();
  SmallVector<utils::IteratorType> kinds = root.getIteratorTypesArray();
  SmallVector<int64_t> sizes(ranges.size(), 0);
  int64_t elements = 1, parallel = 0;
  for (auto [range, kind] : llvm::zip(ranges, kinds)) {
    parallel += kind == utils::IteratorType::parallel;
    if (kind != utils::IteratorType::parallel)
      elements *= asCount(range);
  }
  // Rows of what a producer adds up along are needed as a whole.
  bool keepsRow = parallel > 1 && ops.size() > 1 && reduces() &&
                  root.getNumReductionLoops() == 0;
  int64_t seen = 0;
  for (int64_t i = ranges.size(); i-- > 0;) {
    if (kinds[i] != utils::IteratorType::parallel)
      continue;
    int64_t range = asCount(ranges[i]);
    // At least a few vectors of the last dimension.
    int64_t least = seen == 0 ? std::min<int64_t>(range, 64) : 1;
    int64_t size = std::max(least, kTileElements / elements);
    if (seen++ == 0 && keepsRow)
      size = range;
    if (size >= range &&
        (!ShapedType::isDynamic(ranges[i]) || (keepsRow && seen == 1))) {
      elements *= range;
      continue;
    }
    sizes[i] = size;
    elements *= size;
  }
  SmallVector<OpFoldResult> result;
  for (int64_t size : sizes)
    result.push_back(b.getIndexAttr(size));
  return result;
}

int64_t getTileBytes(RankedTensorType type) {
  if (!type.hasStaticShape())
    return kMostTileBytes + 1;
  return type.getNumElements() * getBytes(type.getElementType());
}

/// Whether every loop over tiles has a slice of its own.
bool isDisjoint(tensor::ExtractSliceOp slice) {
  auto loop = slice->getParentOfType<scf::ForallOp>();
  if (!loop)
    return false;
  llvm::DenseSet<Value> used;
  for (OpFoldResult offset : slice.getMixedOffsets())
    if (auto value = dyn_cast<Value>(offset))
      used.insert(value);
  return llvm::all_of(loop.getInductionVars(), [&](Value variable) {
    return used.contains(variable) ||
           llvm::any_of(variable.getUsers(), [&](Operation *user) {
             return llvm::any_of(user->getResults(), [&](Value result) {
               return used.contains(result);
             });
           });
  });
}

LogicalResult tile(linalg::LinalgOp op, IRRewriter &rewriter) {
  Group group(op);
  scf::SCFTilingOptions tiling;
  SmallVector<OpFoldResult> sizes = group.getTileSizes(rewriter);
  bool isTiled = llvm::any_of(
      sizes, [](OpFoldResult size) { return !isZeroInteger(size); });
  if (!isTiled) {
    // A single tile, of all there is.
    SmallVector<utils::IteratorType> kinds = op.getIteratorTypesArray();
    for (auto [i, range] : llvm::enumerate(op.getStaticLoopRanges()))
      if (kinds[i] == utils::IteratorType::parallel) {
        sizes[i] = rewriter.getIndexAttr(std::max<int64_t>(range, 1));
        isTiled = true;
        break;
      }
  }
  if (!isTiled)
    return success(); // of one element: left to one worker
  tiling.setTileSizes(sizes);
  tiling.setLoopType(scf::SCFTilingOptions::LoopType::ForallOp);
  scf::SCFTileAndFuseOptions options;
  options.setTilingOptions(tiling);
  options.setFusionControlFn(
      [&](tensor::ExtractSliceOp slice, OpResult producer, bool isDestination)
          -> std::optional<scf::SCFTileAndFuseOptions::ControlFnResult> {
        Operation *owner = producer.getOwner();
        bool isCheap = isa<linalg::FillOp>(owner) ||
                       (isa<linalg::GenericOp>(owner) &&
                        cast<linalg::LinalgOp>(owner).getNumDpsInputs() == 0);
        // (What is written in place takes no memory.)
        bool fits = isDestination ||
                    getTileBytes(slice.getResultType()) <= kMostTileBytes;
        if (isa<linalg::LinalgOp>(owner) && group.contains(owner) && fits &&
            (isCheap || isDisjoint(slice)))
          return scf::SCFTileAndFuseOptions::ControlFnResult{};
        return std::nullopt;
      });
  rewriter.setInsertionPoint(op);
  auto tileable = cast<TilingInterface>(op.getOperation());
  FailureOr<scf::SCFTileAndFuseResult> result =
      scf::tileConsumerAndFuseProducersUsingSCF(rewriter, tileable, options);
  if (failed(result))
    return op->emitOpError("cannot be cut into tiles");
  for (OpResult value : op->getResults())
    if (Value replacement = result->replacements.lookup(value))
      rewriter.replaceAllUsesWith(value, replacement);
  // Slices of what was fused would keep it alive.
  for (LoopLikeOpInterface loop : result->loops)
    for (Operation &inner :
         llvm::make_early_inc_range(llvm::reverse(loop->getRegion(0).front())))
      if (isOpTriviallyDead(&inner))
        inner.erase();
  return success();
}

/// What is left of an op that was fused is asked for its sizes alone, which are
/// those of what it would write.
void forwardSizes(Operation *op) {
  auto destination = dyn_cast<DestinationStyleOpInterface>(op);
  if (!destination ||
      !llvm::all_of(op->getUsers(), llvm::IsaPred<tensor::DimOp>))
    return;
  for (OpResult result : op->getResults())
    result.replaceAllUsesWith(destination.getTiedOpOperand(result)->get());
}

} // namespace

LogicalResult lumen::tileTensors(func::FuncOp kernel) {
  IRRewriter rewriter(kernel.getContext());
  Block &body = kernel.getBody().front();
  // Consumers first: they take what they alone read along.
  SmallVector<Operation *> ops;
  for (Operation &op : llvm::reverse(body))
    ops.push_back(&op);
  for (Operation *op : ops) {
    forwardSizes(op);
    if (isOpTriviallyDead(op)) {
      op->erase();
      continue;
    }
    auto linalgOp = dyn_cast<linalg::LinalgOp>(op);
    // Products of matrices have loops of their own.
    if (!linalgOp || findMatmul(linalgOp))
      continue;
    if (failed(tile(linalgOp, rewriter)))
      return failure();
    forwardSizes(op);
    if (isOpTriviallyDead(op))
      op->erase();
  }
  // The same slice of a producer is computed once.
  DominanceInfo dominance(kernel);
  eliminateCommonSubExpressions(rewriter, dominance, kernel);
  return success();
}

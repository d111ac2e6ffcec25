// SPDX-License-Identifier: Apache-2.0
#include "passes/fuse/KernelClusters.h"

#include "passes/fuse/TensorOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"

using namespace mlir;
using namespace mlir::lumen;

/// Where the rows of an op stand that works on heads at positions; null for
/// others.
static Value getPositions(Operation *op) {
  return getKernelKind(op) == KernelKind::Rows
             ? cast<KernelOpInterface>(op).getPositions()
             : Value();
}

/// What must be computed before the kernel of `op` begins. What the op updates
/// in place may be updated in its kernel before.
static SmallVector<Value> getBufferOperands(Operation *op) {
  SmallVector<Value> operands;
  auto kernelOp = dyn_cast<KernelOpInterface>(op);
  if (!kernelOp)
    return operands;
  OpOperand *updated = kernelOp.getUpdated();
  for (auto [name, operand] : kernelOp.getBufferOperands())
    if (!updated || operand != updated->get())
      operands.push_back(operand);
  return operands;
}

namespace {

/// Starts with every op on its own and merges neighbours of the dependence
/// graph. Invariant: the graph of the clusters has no cycle.
class ClusterGraph {
public:
  explicit ClusterGraph(Block &block);

  void formProducts();
  void formAttention();
  void formRows();
  void formTensors();
  SmallVector<KernelCluster> takeSorted();

private:
  unsigned find(Operation *op) const { return clusterOf.lookup(op); }
  /// The cluster that computes `value` and is of `kind`, if there is one.
  std::optional<unsigned> findProducer(Value value, KernelKind kind) const;
  /// True where a path leads from `from` to `to` through a third cluster.
  bool hasIndirectPath(unsigned from, unsigned to) const;
  bool canMerge(unsigned a, unsigned b) const {
    return a != b && !needsBefore(a, b) && !needsBefore(b, a) &&
           !hasIndirectPath(a, b) && !hasIndirectPath(b, a);
  }
  /// True where what `writer` computes must be there when `reader` begins.
  bool needsBefore(unsigned reader, unsigned writer) const;
  /// Joins the clusters under the kind of `into`.
  void merge(unsigned into, unsigned from);
  void fuseEpilogue(Operation *op);
  void fuseResidual(AddOp op);
  void mergeWithProducers(Operation *op);
  void mergeWithSiblings(Operation *op);
  void mergeWithHeadNorms(Operation *op);

  SmallVector<Operation *> program;
  llvm::DenseMap<Operation *, SmallVector<Operation *>> producers;
  llvm::DenseMap<Operation *, unsigned> clusterOf;
  /// Emptied when merged into another one.
  SmallVector<KernelCluster> clusters;
};

} // namespace

ClusterGraph::ClusterGraph(Block &block) {
  Operation *lastImpure = nullptr;
  for (Operation &op : block.without_terminator()) {
    clusterOf[&op] = clusters.size();
    clusters.push_back({getKindOfKernel(&op), {&op}});
    program.push_back(&op);
    SmallVector<Operation *> &before = producers[&op];
    op.walk([&](Operation *nested) {
      for (Value operand : nested->getOperands())
        if (Operation *producer = operand.getDefiningOp())
          if (producer != &op && producer->getBlock() == &block)
            before.push_back(producer);
    });
    // Numbers that tensors give are computed further where they are.
    std::optional<KernelKind> &kind = clusters.back().kind;
    if (!kind && isa_and_nonnull<arith::ArithDialect>(op.getDialect()) &&
        llvm::any_of(before, [&](Operation *producer) {
          return clusters[find(producer)].kind == KernelKind::Tensor;
        }))
      kind = KernelKind::Tensor;
    if (isPure(&op))
      continue;
    // Ops with effects keep their order among themselves.
    if (lastImpure)
      before.push_back(lastImpure);
    lastImpure = &op;
  }
}

std::optional<unsigned> ClusterGraph::findProducer(Value value,
                                                   KernelKind kind) const {
  Operation *producer = value.getDefiningOp();
  if (!producer || !clusterOf.count(producer) ||
      clusters[find(producer)].kind != kind)
    return std::nullopt;
  return find(producer);
}

bool ClusterGraph::hasIndirectPath(unsigned from, unsigned to) const {
  llvm::DenseSet<unsigned> seen{to};
  SmallVector<unsigned> worklist{to};
  while (!worklist.empty()) {
    unsigned current = worklist.pop_back_val();
    for (Operation *op : clusters[current].ops)
      for (Operation *producer : producers.lookup(op)) {
        unsigned next = find(producer);
        if (next == from && current != to)
          return true;
        if (next != from && seen.insert(next).second)
          worklist.push_back(next);
      }
  }
  return false;
}

bool ClusterGraph::needsBefore(unsigned reader, unsigned writer) const {
  return llvm::any_of(clusters[reader].ops, [&](Operation *op) {
    return llvm::any_of(getBufferOperands(op), [&](Value operand) {
      Operation *producer = operand.getDefiningOp();
      return producer && clusterOf.count(producer) && find(producer) == writer;
    });
  });
}

void ClusterGraph::merge(unsigned into, unsigned from) {
  SmallVector<Operation *> &ops = clusters[into].ops;
  for (Operation *op : clusters[from].ops) {
    clusterOf[op] = into;
    ops.push_back(op);
  }
  llvm::sort(ops,
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  clusters[from].ops.clear();
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

void ClusterGraph::fuseEpilogue(Operation *op) {
  auto product = findProducer(op->getOperand(0), KernelKind::Product);
  auto isInside = [&](Value operand) {
    return operand.hasOneUse() &&
           findProducer(operand, KernelKind::Product) == product;
  };
  if (product && llvm::all_of(op->getOperands(), isInside) &&
      canMerge(*product, find(op)))
    merge(*product, find(op));
}

void ClusterGraph::fuseResidual(AddOp op) {
  // Of two products the later one takes the sum: the other is then there in
  // time.
  Value operands[] = {op.getLhs(), op.getRhs()};
  std::optional<unsigned> chosen;
  for (Value operand : operands) {
    auto product = findProducer(operand, KernelKind::Product);
    if (!product || !operand.hasOneUse() || !canMerge(*product, find(op)))
      continue;
    if (!chosen || clusters[*chosen].ops.front()->isBeforeInBlock(
                       clusters[*product].ops.front()))
      chosen = product;
  }
  auto isInside = [&](Value operand) {
    return findProducer(operand, KernelKind::Product) == chosen;
  };
  if (chosen && !llvm::all_of(operands, isInside))
    merge(*chosen, find(op));
}

void ClusterGraph::formProducts() {
  for (Operation *op : program) {
    if (op->hasTrait<ProductEpilogue>())
      fuseEpilogue(op);
    else if (auto add = dyn_cast<AddOp>(op))
      fuseResidual(add);
  }
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

/// An attention kernel computes head by head, so no group may cross two heads.
static bool quantizesWholeHeads(QuantizeOp quantize) {
  auto attention = quantize.getX().getDefiningOp<AttentionOp>();
  return attention &&
         attention.getHeadDim() % int64_t(quantize.getGroup()) == 0;
}

void ClusterGraph::formAttention() {
  for (Operation *op : program)
    if (auto quantize = dyn_cast<QuantizeOp>(op))
      if (auto attention = findProducer(quantize.getX(), KernelKind::Attention))
        if (quantize.getX().hasOneUse() && quantizesWholeHeads(quantize))
          merge(*attention, find(op));
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

void ClusterGraph::mergeWithProducers(Operation *op) {
  for (Value operand : op->getOperands()) {
    auto producer = findProducer(operand, KernelKind::Rows);
    bool isAlike =
        producer && !getPositions(operand.getDefiningOp()) == !getPositions(op);
    if (isAlike && canMerge(*producer, find(op)))
      merge(*producer, find(op));
  }
}

/// Ops at the same positions have equally many rows.
void ClusterGraph::mergeWithSiblings(Operation *op) {
  for (Operation *other : program) {
    if (other == op)
      return;
    if (getPositions(other) == getPositions(op) &&
        canMerge(find(other), find(op)))
      merge(find(other), find(op));
  }
}

void ClusterGraph::mergeWithHeadNorms(Operation *op) {
  for (Value operand : op->getOperands())
    if (auto norm = operand.getDefiningOp<KernelOpInterface>())
      if (norm.isPerHead() && canMerge(find(op), find(norm)))
        merge(find(op), find(norm));
}

void ClusterGraph::formRows() {
  for (Operation *op : program) {
    if (clusters[find(op)].kind != KernelKind::Rows)
      continue;
    mergeWithProducers(op);
    // Heads at positions are split over the workers by head, the others by row.
    if (getPositions(op)) {
      mergeWithSiblings(op);
      mergeWithHeadNorms(op);
    }
  }
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

/// How these are computed together is decided in the kernel.
void ClusterGraph::formTensors() {
  for (Operation *op : program) {
    if (clusters[find(op)].kind != KernelKind::Tensor)
      continue;
    for (Operation *producer : producers.lookup(op))
      if (clusters[find(producer)].kind == KernelKind::Tensor &&
          canMerge(find(producer), find(op)))
        merge(find(producer), find(op));
  }
}

SmallVector<KernelCluster> ClusterGraph::takeSorted() {
  SmallVector<KernelCluster> sorted;
  llvm::DenseSet<unsigned> visited;
  auto visit = [&](auto &&self, unsigned cluster) -> void {
    if (!visited.insert(cluster).second)
      return;
    for (Operation *op : clusters[cluster].ops)
      for (Operation *producer : producers.lookup(op))
        self(self, find(producer));
    sorted.push_back(std::move(clusters[cluster]));
  };
  for (Operation *op : program)
    visit(visit, find(op));
  return sorted;
}

SmallVector<KernelCluster> mlir::lumen::formKernelClusters(Block &block) {
  ClusterGraph graph(block);
  // Epilogues first: what they leave of the element-wise ops joins the rows.
  graph.formProducts();
  graph.formAttention();
  graph.formRows();
  graph.formTensors();
  return graph.takeSorted();
}

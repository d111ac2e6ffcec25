// SPDX-License-Identifier: Apache-2.0
#include "passes/fuse/KernelClusters.h"

#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::lumen;

static constexpr std::pair<KernelKind, StringLiteral> kKindNames[] = {
    {KernelKind::Product, "product"},
    {KernelKind::Rows, "rows"},
    {KernelKind::Attention, "attention"},
    {KernelKind::Pack, "pack"},
    {KernelKind::Routing, "routing"}};

StringRef mlir::lumen::stringifyKernelKind(KernelKind kind) {
  return llvm::find_if(kKindNames,
                       [&](auto &entry) { return entry.first == kind; })
      ->second;
}

std::optional<KernelKind> mlir::lumen::symbolizeKernelKind(StringRef name) {
  auto *entry = llvm::find_if(
      kKindNames, [&](auto &entry) { return entry.second == name; });
  return entry == std::end(kKindNames) ? std::nullopt
                                       : std::optional(entry->first);
}

std::optional<KernelKind> mlir::lumen::getKernelKind(Operation *op) {
  using Result = std::optional<KernelKind>;
  return llvm::TypeSwitch<Operation *, Result>(op)
      .Case<QLinearOp>([](auto) -> Result { return KernelKind::Product; })
      .Case<AttentionOp>([](auto) -> Result { return KernelKind::Attention; })
      .Case<PackOp>([](auto) -> Result { return KernelKind::Pack; })
      .Case<EmbeddingOp, LastRowsOp, RmsNormOp, QuantizeOp, RopeOp, KvAppendOp,
            AddOp, ScaleOp, SwigluOp, GateOp, GatherRowsOp, CombineOp>(
          [](auto) -> Result { return KernelKind::Rows; })
      .Case<RouteOp, GroupTokensOp>(
          [](auto) -> Result { return KernelKind::Routing; })
      .Default([](auto) -> Result { return std::nullopt; });
}

/// The token position of an op that works on heads at positions; null for
/// others.
static Value getPosition(Operation *op) {
  if (auto rope = dyn_cast<RopeOp>(op))
    return rope.getPosition();
  if (auto append = dyn_cast<KvAppendOp>(op))
    return append.getPosition();
  return {};
}

/// What an op reads other rows of than its own: it must be computed before the
/// kernel begins. Null for ops that work row by row.
static Value getWholeOperand(Operation *op) {
  if (auto gather = dyn_cast<GatherRowsOp>(op))
    return gather.getX();
  if (auto combine = dyn_cast<CombineOp>(op))
    return combine.getX();
  return {};
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
  SmallVector<KernelCluster> takeSorted();

private:
  unsigned find(Operation *op) const { return clusterOf.lookup(op); }
  /// The cluster that computes `value` and is of `kind`, if there is one.
  std::optional<unsigned> findProducer(Value value, KernelKind kind) const;
  /// True where a path leads from `from` to `to` through a third cluster.
  bool hasIndirectPath(unsigned from, unsigned to) const;
  bool canMerge(unsigned a, unsigned b) const {
    return a != b && !readsWhole(a, b) && !readsWhole(b, a) &&
           !hasIndirectPath(a, b) && !hasIndirectPath(b, a);
  }
  /// True where cluster `reader` reads other rows of what `writer` computes.
  bool readsWhole(unsigned reader, unsigned writer) const;
  /// Joins the clusters under the kind of `into`.
  void merge(unsigned into, unsigned from);
  void fuseSwiglu(SwigluOp op);
  void fuseResidual(AddOp op);
  void mergeWithProducers(Operation *op);
  void mergeWithSiblings(Operation *op);
  void mergeWithHeadNorms(Operation *op);
  /// lumen.last_rows changes the number of rows: it must be what all else
  /// reads.
  bool keepsRowCount(unsigned a, unsigned b) const;

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
    clusters.push_back({getKernelKind(&op), {&op}});
    program.push_back(&op);
    SmallVector<Operation *> &before = producers[&op];
    op.walk([&](Operation *nested) {
      for (Value operand : nested->getOperands())
        if (Operation *producer = operand.getDefiningOp())
          if (producer != &op && producer->getBlock() == &block)
            before.push_back(producer);
    });
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

bool ClusterGraph::readsWhole(unsigned reader, unsigned writer) const {
  return llvm::any_of(clusters[reader].ops, [&](Operation *op) {
    Value whole = getWholeOperand(op);
    Operation *producer = whole ? whole.getDefiningOp() : nullptr;
    return producer && clusterOf.count(producer) && find(producer) == writer;
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

void ClusterGraph::fuseSwiglu(SwigluOp op) {
  auto gate = findProducer(op.getGate(), KernelKind::Product);
  auto up = findProducer(op.getUp(), KernelKind::Product);
  if (gate && gate == up && op.getGate().hasOneUse() &&
      op.getUp().hasOneUse() && canMerge(*gate, find(op)))
    merge(*gate, find(op));
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
    if (auto swiglu = dyn_cast<SwigluOp>(op))
      fuseSwiglu(swiglu);
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

bool ClusterGraph::keepsRowCount(unsigned a, unsigned b) const {
  SmallVector<Operation *> ops(clusters[a].ops);
  llvm::append_range(ops, clusters[b].ops);
  if (llvm::none_of(ops, llvm::IsaPred<LastRowsOp>))
    return true;
  // All but one op, the first, read something from inside.
  llvm::DenseSet<Operation *> inside(ops.begin(), ops.end());
  unsigned sources = llvm::count_if(ops, [&](Operation *op) {
    return isa<LastRowsOp>(op) ||
           llvm::none_of(producers.lookup(op), [&](Operation *producer) {
             return inside.contains(producer);
           });
  });
  return sources == 1;
}

void ClusterGraph::mergeWithProducers(Operation *op) {
  for (Value operand : op->getOperands()) {
    auto producer = findProducer(operand, KernelKind::Rows);
    if (producer && !getPosition(operand.getDefiningOp()) &&
        canMerge(*producer, find(op)) && keepsRowCount(*producer, find(op)))
      merge(*producer, find(op));
  }
}

void ClusterGraph::mergeWithSiblings(Operation *op) {
  for (Operation *other : program) {
    if (other == op)
      return;
    if (getPosition(other) == getPosition(op) &&
        canMerge(find(other), find(op)))
      merge(find(other), find(op));
  }
}

void ClusterGraph::mergeWithHeadNorms(Operation *op) {
  for (Value operand : op->getOperands())
    if (auto norm = operand.getDefiningOp<RmsNormOp>())
      if (norm.isPerHead() && canMerge(find(op), find(norm)))
        merge(find(op), find(norm));
}

void ClusterGraph::formRows() {
  for (Operation *op : program) {
    if (clusters[find(op)].kind != KernelKind::Rows)
      continue;
    // Heads at positions are split over the workers by head, the others by row.
    if (getPosition(op)) {
      mergeWithSiblings(op);
      mergeWithHeadNorms(op);
    } else if (!isa<LastRowsOp>(op)) {
      mergeWithProducers(op);
    }
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
  return graph.takeSorted();
}

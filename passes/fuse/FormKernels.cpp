// SPDX-License-Identifier: Apache-2.0
#include "passes/Passes.h"
#include "passes/fuse/KernelClusters.h"
#include "passes/fuse/TensorOps.h"
#include "passes/fuse/TensorSizes.h"

#include "mlir/Dialect/Affine/Utils.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_FORMKERNELSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

namespace {

/// Writes the name of a kernel, part by part.
class NameBuilder {
public:
  void add(const llvm::Twine &part) {
    if (!name.empty())
      name += '_';
    name += part.str();
  }
  /// "q8_0_896x896"; the element type only where it differs from the last one.
  void addWeight(Value weight) {
    auto type = cast<RankedTensorType>(weight.getType());
    if (std::exchange(element, type.getElementType()) != type.getElementType())
      add(describeElement());
    if (type.hasStaticShape())
      add(llvm::Twine(type.getDimSize(0)) + "x" +
          llvm::Twine(type.getDimSize(1)));
  }
  /// The width of a row, once.
  void addColumns(Value rows, bool silent = false) {
    int64_t columns = cast<RankedTensorType>(rows.getType()).getDimSize(1);
    if (seenColumns.insert(columns).second && !silent &&
        !ShapedType::isDynamic(columns))
      add(llvm::Twine(columns));
  }
  std::string take() { return std::move(name); }

private:
  std::string describeElement() const {
    if (auto quant = dyn_cast<QuantType>(element))
      return quant.getFormat().getValue().str();
    std::string text;
    llvm::raw_string_ostream(text) << element;
    return text;
  }

  std::string name;
  Type element;
  llvm::DenseSet<int64_t> seenColumns;
};

} // namespace

/// "mulf_addf_exp": what the first loops compute.
static void addTensorOps(const KernelCluster &cluster, NameBuilder &name) {
  constexpr unsigned kMostNames = 6;
  llvm::SetVector<StringRef> names;
  for (Operation *op : cluster.ops)
    op->walk<WalkOrder::PreOrder>([&](Operation *inner) {
      if (!isa<linalg::GenericOp, linalg::IndexOp, tensor::EmptyOp>(inner) &&
          !inner->hasTrait<OpTrait::ConstantLike>() &&
          !inner->hasTrait<OpTrait::IsTerminator>() &&
          names.size() < kMostNames)
        names.insert(inner->getName().stripDialect());
    });
  if (names.empty())
    names.insert("copy");
  for (StringRef part : names)
    name.add(part);
}

/// "qlinear_q8_0_896x896_128x896_bias", "rms_norm_quantize_896": the ops and
/// what they work on. Kernels that differ in something else get a number.
static std::string getKernelName(const KernelCluster &cluster) {
  NameBuilder name;
  llvm::SetVector<StringRef> mnemonics;
  for (Operation *op : cluster.ops)
    mnemonics.insert(op->getName().stripDialect());
  if (cluster.kind == KernelKind::Product) {
    auto product = llvm::find_if(cluster.ops, llvm::IsaPred<QLinearOp>);
    auto op = cast<QLinearOp>(*product);
    name.add("qlinear");
    bool quantized = llvm::any_of(op.getWeights().getTypes(), [](Type type) {
      return isa<QuantType>(cast<RankedTensorType>(type).getElementType());
    });
    if (quantized && !op.isInteger())
      name.add("exact");
    for (Value weight : op.getWeights())
      name.addWeight(weight);
    if (op.getGroups())
      name.add("experts");
    if (!op.getBiases().empty())
      name.add("bias");
    for (Operation *epilogue : cluster.ops)
      if (epilogue != op)
        name.add(epilogue->getName().stripDialect());
    return name.take();
  }
  if (cluster.kind == KernelKind::Pack) {
    name.add("pack_tiles");
    name.addWeight(cluster.ops.front()->getOperand(0));
    return name.take();
  }
  if (cluster.kind == KernelKind::Tensor) {
    addTensorOps(cluster, name);
    return name.take();
  }
  for (StringRef mnemonic : mnemonics)
    name.add(mnemonic);
  for (Operation *op : cluster.ops) {
    if (auto user = dyn_cast<WeightUserOpInterface>(op)) {
      for (Value weight : OperandRange(user.getWeightOperands()))
        name.addWeight(weight);
      name.addColumns(op->getResult(0), /*silent=*/true);
    } else {
      // Numbers of rows have no columns.
      Value rows = cast<KernelOpInterface>(op).getRows();
      bool isWide = cast<RankedTensorType>(rows.getType()).getRank() == 2;
      name.addColumns(isWide ? rows : op->getResult(0));
    }
  }
  return name.take();
}

//===----------------------------------------------------------------------===//
// Outlining
//===----------------------------------------------------------------------===//

namespace {

class KernelOutliner {
public:
  explicit KernelOutliner(ModuleOp module) : symbols(module) {}

  LogicalResult outline(func::FuncOp function);

private:
  LogicalResult outline(const KernelCluster &cluster, Operation *place);
  func::FuncOp build(const KernelCluster &cluster, ValueRange inputs,
                     ValueRange outputs, ValueRange sizes);
  /// An earlier kernel of the same content instead of `kernel`, or `kernel`
  /// itself, then added to the module.
  func::FuncOp share(func::FuncOp kernel);

  SymbolTable symbols;
  /// By the name that describes them, without the number.
  llvm::StringMap<SmallVector<func::FuncOp>> kernels;
};

} // namespace

/// Whether `value`, which an op inside of `op` reads, comes from outside of the
/// cluster.
static bool isDefinedOutside(Value value, Operation *op,
                             const llvm::DenseSet<Operation *> &inside) {
  if (op->isAncestor(value.getParentBlock()->getParentOp()))
    return false;
  return !inside.contains(value.getDefiningOp());
}

/// Whether a kernel has its own copy of what it reads.
static bool isConstantOf(const KernelCluster &cluster, Value input) {
  Operation *op = input.getDefiningOp();
  return cluster.kind == KernelKind::Tensor && op &&
         op->hasTrait<OpTrait::ConstantLike>();
}

func::FuncOp KernelOutliner::build(const KernelCluster &cluster,
                                   ValueRange inputs, ValueRange outputs,
                                   ValueRange sizes) {
  OpBuilder builder(cluster.ops.front()->getContext());
  Location loc = cluster.ops.front()->getLoc();
  SmallVector<Value> taken, constants;
  for (Value input : inputs)
    (isConstantOf(cluster, input) ? constants : taken).push_back(input);
  unsigned first = taken.size();
  SmallVector<Type> types = llvm::to_vector(ValueRange(taken).getTypes());
  llvm::append_range(types, sizes.getTypes());
  auto type = builder.getFunctionType(types, outputs.getTypes());
  auto kernel = func::FuncOp::create(loc, getKernelName(cluster), type);
  kernel.setPrivate();
  kernel->setAttr(LumenDialect::kKernelAttr,
                  builder.getStringAttr(stringifyKernelKind(*cluster.kind)));
  Block *body = kernel.addEntryBlock();
  builder.setInsertionPointToStart(body);
  IRMapping mapping;
  mapping.map(taken, body->getArguments().take_front(first));
  for (Value constant : constants)
    builder.clone(*constant.getDefiningOp(), mapping);
  if (!sizes.empty())
    kernel->setAttr(LumenDialect::kResultSizesAttr,
                    builder.getDenseI64ArrayAttr(llvm::to_vector(
                        llvm::seq<int64_t>(first, types.size()))));
  for (Operation *op : cluster.ops)
    builder.clone(*op, mapping);
  auto results = llvm::map_to_vector(
      outputs, [&](Value value) { return mapping.lookup(value); });
  func::ReturnOp::create(builder, loc, results);
  return kernel;
}

func::FuncOp KernelOutliner::share(func::FuncOp kernel) {
  SmallVector<func::FuncOp> &similar = kernels[kernel.getName()];
  for (func::FuncOp other : similar)
    if (other.getFunctionType() == kernel.getFunctionType() &&
        OperationEquivalence::isRegionEquivalentTo(
            &other.getBody(), &kernel.getBody(),
            OperationEquivalence::IgnoreLocations)) {
      kernel->erase();
      return other;
    }
  similar.push_back(kernel);
  symbols.insert(kernel);
  return kernel;
}

LogicalResult KernelOutliner::outline(const KernelCluster &cluster,
                                      Operation *place) {
  llvm::DenseSet<Operation *> inside(cluster.ops.begin(), cluster.ops.end());
  llvm::SetVector<Value> inputs;
  SmallVector<Value> outputs;
  SmallVector<Location> locations;
  for (Operation *op : cluster.ops) {
    locations.push_back(op->getLoc());
    op->walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        if (isDefinedOutside(operand, op, inside))
          inputs.insert(operand);
    });
    for (Value result : op->getResults())
      if (!llvm::all_of(result.getUsers(),
                        [&](Operation *user) { return inside.contains(user); }))
        outputs.push_back(result);
  }
  // Kernels have no effects: what nobody reads is not computed.
  if (!outputs.empty()) {
    OpBuilder builder(place);
    Operation *before = place->getPrevNode();
    SmallVector<Value> sizes;
    if (cluster.kind == KernelKind::Tensor &&
        failed(getOpenSizes(outputs, inside, builder, sizes)))
      return failure();
    func::FuncOp kernel =
        share(build(cluster, inputs.getArrayRef(), outputs, sizes));
    SmallVector<Value> operands(llvm::make_filter_range(
        inputs, [&](Value input) { return !isConstantOf(cluster, input); }));
    llvm::append_range(operands, sizes);
    auto call = func::CallOp::create(builder, builder.getFusedLoc(locations),
                                     kernel, operands);
    // Steps on the way to sizes, which ask for those of what is inside.
    for (Operation *op = call->getPrevNode(); op && op != before;) {
      Operation *previous = op->getPrevNode();
      if (isOpTriviallyDead(op))
        op->erase();
      op = previous;
    }
    for (auto [value, result] : llvm::zip(outputs, call.getResults()))
      value.replaceUsesWithIf(result, [&](OpOperand &use) {
        return !inside.contains(use.getOwner());
      });
  }
  for (Operation *op : llvm::reverse(cluster.ops))
    op->erase();
  return success();
}

LogicalResult KernelOutliner::outline(func::FuncOp function) {
  Block &block = function.getBody().front();
  Operation *end = block.getTerminator();
  // Every cluster goes to the end of what is done, so the order is that of the
  // list.
  for (const KernelCluster &cluster : formKernelClusters(block)) {
    if (!cluster.kind)
      cluster.ops.front()->moveBefore(end);
    else if (failed(outline(cluster, end)))
      return failure();
  }
  // Sizes and constants that only kernels have read.
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isa<tensor::DimOp>(op) || op.hasTrait<OpTrait::ConstantLike>())
      if (isOpTriviallyDead(&op))
        op.erase();
  return success();
}

namespace {

struct FormKernelsPass : lumen::impl::FormKernelsPassBase<FormKernelsPass> {
  using FormKernelsPassBase::FormKernelsPassBase;

  void runOnOperation() override {
    KernelOutliner outliner(getOperation());
    // Collected first: outlining adds functions.
    SmallVector<func::FuncOp> functions;
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.isDeclaration() &&
          !function->hasAttr(LumenDialect::kKernelAttr) &&
          function.getBody().hasOneBlock())
        functions.push_back(function);
    for (func::FuncOp function : functions)
      if (failed(outliner.outline(function)))
        return signalPassFailure();
  }
};

} // namespace

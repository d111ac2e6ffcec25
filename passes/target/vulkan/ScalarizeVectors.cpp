// SPDX-License-Identifier: Apache-2.0
//
// Computes vectors of more elements than those of SPIR-V one by one.
#include "passes/Passes.h"
#include "passes/support/KernelBuilder.h"
#include "passes/target/vulkan/Vulkan.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_SCALARIZEVECTORSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

using Elements = SmallVector<Value>;

bool isLong(Type type) {
  auto vector = dyn_cast<VectorType>(type);
  return vector && vector.getNumElements() > vulkan::kMostLanes;
}

class Scalarizer {
public:
  explicit Scalarizer(func::FuncOp kernel)
      : b(kernel.getLoc(), kernel.getContext()), kernel(kernel) {}

  LogicalResult run();

private:
  LogicalResult split(Operation *op);
  Elements split(arith::ConstantOp op);
  Elements split(vector::BitCastOp op);
  Elements splitElementwise(Operation *op);
  Elements reduce(vector::ReductionOp op);
  void split(scf::ForOp op);
  void split(scf::IfOp op);

  /// Values as they are outside of ops with regions: long vectors one by one.
  SmallVector<Value> flatten(ValueRange values);
  SmallVector<Type> flatten(TypeRange types);
  /// `old` are what `flat` is flattened.
  void replaceFlat(ValueRange old, ValueRange flat);

  /// The elements of a vector; a scalar is its only one.
  Elements get(Value value);
  void set(Value value, Elements elements);

  KernelBuilder b;
  func::FuncOp kernel;
  /// Of long vectors.
  DenseMap<Value, Elements> known;
  SmallVector<Operation *> dead;
};

Elements Scalarizer::get(Value value) {
  auto found = known.find(value);
  if (found != known.end())
    return found->second;
  auto type = dyn_cast<VectorType>(value.getType());
  if (!type)
    return {value};
  Elements elements;
  for (int64_t i = 0; i < type.getNumElements(); ++i)
    elements.push_back(vector::ExtractOp::create(b, value, i));
  return elements;
}

void Scalarizer::set(Value value, Elements elements) {
  if (isLong(value.getType())) {
    known[value] = std::move(elements);
    return;
  }
  auto type = dyn_cast<VectorType>(value.getType());
  value.replaceAllUsesWith(
      type ? vector::FromElementsOp::create(b, type, elements).getResult()
           : elements.front());
}

Elements Scalarizer::split(arith::ConstantOp op) {
  auto values = cast<DenseElementsAttr>(op.getValue());
  DenseMap<Attribute, Value> made;
  Elements elements;
  for (Attribute value : values.getValues<Attribute>()) {
    Value &constant = made[value];
    if (!constant)
      constant = arith::ConstantOp::create(b, cast<TypedAttr>(value));
    elements.push_back(constant);
  }
  return elements;
}

/// Wide integers consist of narrow ones.
Elements Scalarizer::split(vector::BitCastOp op) {
  Type from = op.getSourceVectorType().getElementType(),
       to = op.getResultVectorType().getElementType();
  auto asInteger = [&](Type type) {
    return b.getIntegerType(type.getIntOrFloatBitWidth());
  };
  Type source = asInteger(from), result = asInteger(to);
  Elements given = get(op.getSource());
  if (from != source)
    for (Value &each : given)
      each = arith::BitcastOp::create(b, source, each);
  int64_t sourceBits = source.getIntOrFloatBitWidth(),
          resultBits = result.getIntOrFloatBitWidth();
  Elements elements;
  if (sourceBits < resultBits) {
    int64_t parts = resultBits / sourceBits;
    for (int64_t i = 0; i < int64_t(given.size()); i += parts) {
      Value whole = arith::ExtUIOp::create(b, result, given[i]);
      for (int64_t j = 1; j < parts; ++j) {
        Value part = arith::ExtUIOp::create(b, result, given[i + j]);
        part =
            arith::ShLIOp::create(b, part, b.integer(result, sourceBits * j));
        whole = arith::OrIOp::create(b, whole, part);
      }
      elements.push_back(whole);
    }
  } else {
    for (Value whole : given)
      for (int64_t bit = 0; bit < sourceBits; bit += resultBits) {
        Value part = whole;
        if (bit)
          part = arith::ShRUIOp::create(b, part, b.integer(source, bit));
        if (source != result)
          part = arith::TruncIOp::create(b, result, part);
        elements.push_back(part);
      }
  }
  if (to != result)
    for (Value &each : elements)
      each = arith::BitcastOp::create(b, to, each);
  return elements;
}

Elements Scalarizer::splitElementwise(Operation *op) {
  auto type = cast<VectorType>(op->getResult(0).getType());
  SmallVector<Elements> operands;
  for (Value operand : op->getOperands())
    operands.push_back(get(operand));
  Elements elements;
  for (int64_t i = 0; i < type.getNumElements(); ++i) {
    OperationState state(b.getLoc(), op->getName());
    for (const Elements &operand : operands)
      state.operands.push_back(operand.size() > 1 ? operand[i]
                                                  : operand.front());
    state.addTypes(type.getElementType());
    state.addAttributes(op->getAttrs());
    elements.push_back(b.create(state)->getResult(0));
  }
  return elements;
}

Elements Scalarizer::reduce(vector::ReductionOp op) {
  Elements elements = get(op.getVector());
  Value result = op.getAcc();
  for (Value element : elements)
    result =
        result ? vector::makeArithReduction(b, b.getLoc(), op.getKind(), result,
                                            element, op.getFastmathAttr())
               : element;
  return {result};
}

SmallVector<Value> Scalarizer::flatten(ValueRange values) {
  SmallVector<Value> flat;
  for (Value value : values) {
    if (isLong(value.getType()))
      llvm::append_range(flat, get(value));
    else
      flat.push_back(value);
  }
  return flat;
}

SmallVector<Type> Scalarizer::flatten(TypeRange types) {
  SmallVector<Type> flat;
  for (Type type : types) {
    auto vector = dyn_cast<VectorType>(type);
    if (isLong(type))
      flat.append(vector.getNumElements(), vector.getElementType());
    else
      flat.push_back(type);
  }
  return flat;
}

void Scalarizer::replaceFlat(ValueRange old, ValueRange flat) {
  for (Value value : old) {
    if (isLong(value.getType())) {
      int64_t count = cast<VectorType>(value.getType()).getNumElements();
      known[value] = Elements(flat.take_front(count));
      flat = flat.drop_front(count);
    } else {
      value.replaceAllUsesWith(flat.front());
      flat = flat.drop_front();
    }
  }
}

void Scalarizer::split(scf::ForOp op) {
  auto loop = scf::ForOp::create(b, op.getLowerBound(), op.getUpperBound(),
                                 op.getStep(), flatten(op.getInitArgs()));
  loop.getBody()->getOperations().splice(loop.getBody()->end(),
                                         op.getBody()->getOperations());
  op.getInductionVar().replaceAllUsesWith(loop.getInductionVar());
  replaceFlat(op.getRegionIterArgs(), loop.getRegionIterArgs());
  replaceFlat(op.getResults(), loop.getResults());
}

void Scalarizer::split(scf::IfOp op) {
  auto branch = scf::IfOp::create(b, flatten(op.getResultTypes()),
                                  op.getCondition(), /*addThenBlock=*/false,
                                  /*addElseBlock=*/false);
  for (auto [region, old] : llvm::zip(branch->getRegions(), op->getRegions()))
    region.takeBody(old);
  replaceFlat(op.getResults(), branch.getResults());
}

LogicalResult Scalarizer::split(Operation *op) {
  b.setInsertionPoint(op);
  b.setLoc(op->getLoc());
  if (isa<scf::YieldOp>(op) && isa<scf::ForOp, scf::IfOp>(op->getParentOp())) {
    op->setOperands(flatten(op->getOperands()));
    return success();
  }
  dead.push_back(op);
  auto done = [&](Elements elements) {
    set(op->getResult(0), std::move(elements));
    return success();
  };
  auto refuse = [&] {
    return op->emitOpError("works on a vector of more elements than those of "
                           "SPIR-V, and cannot be done one by one");
  };
  auto isSimple = [](Type type) {
    auto vector = dyn_cast<VectorType>(type);
    return !vector || (vector.getRank() == 1 && !vector.isScalable());
  };
  if (!llvm::all_of(op->getOperandTypes(), isSimple) ||
      !llvm::all_of(op->getResultTypes(), isSimple) ||
      (isa<arith::ConstantOp>(op) &&
       !isa<DenseElementsAttr>(cast<arith::ConstantOp>(op).getValue())))
    return refuse();
  auto slice = [](auto each) {
    return cast<IntegerAttr>(each.getOffsets()[0]).getInt();
  };
  if (op->hasTrait<OpTrait::Elementwise>() && !isa<vector::BitCastOp>(op) &&
      op->getNumResults() == 1 && op->getNumRegions() == 0)
    return done(splitElementwise(op));
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<arith::ConstantOp, vector::BitCastOp>(
          [&](auto each) { return done(split(each)); })
      .Case<scf::ForOp, scf::IfOp>([&](auto each) {
        split(each);
        return success();
      })
      .Case([&](vector::ReductionOp each) { return done(reduce(each)); })
      .Case([&](vector::FromElementsOp each) {
        return done(Elements(each.getElements()));
      })
      .Case([&](vector::BroadcastOp each) {
        int64_t lanes = each.getResultVectorType().getNumElements();
        return done(Elements(lanes, get(each.getSource()).front()));
      })
      .Case([&](vector::ExtractOp each) {
        if (!each.getDynamicPosition().empty())
          return LogicalResult(refuse());
        return done({get(each.getSource())[each.getStaticPosition().front()]});
      })
      .Case([&](vector::InsertOp each) {
        if (!each.getDynamicPosition().empty())
          return LogicalResult(refuse());
        Elements elements = get(each.getDest());
        elements[each.getStaticPosition().front()] = each.getValueToStore();
        return done(std::move(elements));
      })
      .Case([&](vector::ExtractStridedSliceOp each) {
        Elements all = get(each.getSource());
        ArrayRef<Value> part = ArrayRef(all).slice(
            slice(each), cast<VectorType>(each.getType()).getNumElements());
        return done(Elements(part));
      })
      .Case([&](vector::InsertStridedSliceOp each) {
        Elements all = get(each.getDest());
        llvm::copy(get(each.getValueToStore()), all.begin() + slice(each));
        return done(std::move(all));
      })
      .Case([&](vector::ShuffleOp each) {
        Elements both = get(each.getV1()), elements;
        llvm::append_range(both, get(each.getV2()));
        // (A negative number stands for any element.)
        for (int64_t from : each.getMask())
          elements.push_back(both[std::max<int64_t>(from, 0)]);
        return done(std::move(elements));
      })
      .Case([&](vector::InterleaveOp each) {
        Elements elements;
        for (auto [even, odd] :
             llvm::zip(get(each.getLhs()), get(each.getRhs())))
          elements.append({even, odd});
        return done(std::move(elements));
      })
      .Case([&](vector::DeinterleaveOp each) {
        Elements halves[2];
        for (auto [i, element] : llvm::enumerate(get(each.getSource())))
          halves[i % 2].push_back(element);
        for (unsigned i : {0, 1})
          set(each.getResult(i), halves[i]);
        return success();
      })
      .Default([&](Operation *) { return LogicalResult(refuse()); });
}

LogicalResult Scalarizer::run() {
  SmallVector<Operation *> ops;
  kernel.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (llvm::any_of(op->getOperandTypes(), isLong) ||
        llvm::any_of(op->getResultTypes(), isLong))
      ops.push_back(op);
  });
  for (Operation *op : ops)
    if (failed(split(op)))
      return failure();
  for (Operation *op : llvm::reverse(dead))
    op->erase();
  return success();
}

struct ScalarizeVectorsPass final
    : lumen::impl::ScalarizeVectorsPassBase<ScalarizeVectorsPass> {
  using ScalarizeVectorsPassBase::ScalarizeVectorsPassBase;

  void runOnOperation() override {
    for (func::FuncOp kernel : vulkan::getKernels(getOperation()))
      if (failed(Scalarizer(kernel).run()))
        return signalPassFailure();
  }
};

} // namespace

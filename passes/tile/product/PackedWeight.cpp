// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/PackedWeight.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

using Kind = PackedComponent::Kind;

/// How many bytes ahead weights are fetched, which come from memory in the
/// first tile of tokens: a page, which is where the hardware's own prefetching
/// ends, and further where codes of few bits leave less work to a byte and so
/// less time. The one fast stream of codes that are whole bytes the hardware
/// follows better by itself where a single token leaves it no time.
static constexpr int64_t kAhead = 4096, kFewBitsAhead = 7168, kFewBits = 3;

//===----------------------------------------------------------------------===//
// Components
//===----------------------------------------------------------------------===//

unsigned PackedWeight::getSharedBits(BitPlane plane) {
  return llvm::Log2_64(plane.getValuesPerByte());
}

bool PackedWeight::hasEntryPerSpan(const StoredFactor &factor,
                                   BitPlane plane) const {
  return factor.level == FactorLevel::Group &&
         int64_t(format.getGroup()) <= kSpan &&
         getGroupBits() >= getSharedBits(plane);
}

/// A component as a tensor: [tile][unit], then what a unit holds.
Value PackedWeight::viewComponent(TileBuilder &b, Value bytes,
                                  int64_t streamBegin,
                                  const PackedComponent &component) const {
  SmallVector<int64_t> inUnit;
  int64_t size = getBytes(component.elementType);
  if (component.kind == Kind::Codes) {
    if (!component.isWhole)
      inUnit.assign(llvm::Log2_64(component.entries), 2);
    else if (component.entries == getUnitLoads())
      inUnit = {component.entries};
    else
      inUnit = {component.entries / getUnitLoads(), getUnitLoads()};
    inUnit.append({rows, layout.getK()});
  } else {
    const StoredFactor *stored = component.kind == Kind::Factor
                                     ? &factors[component.factor].stored
                                     : nullptr;
    if (stored && hasEntryPerSpan(*stored, component.plane)) {
      int64_t spans = component.columns / kSpan;
      if (spans > 1)
        inUnit.push_back(spans);
      inUnit.append(llvm::Log2_64(component.entries / spans), 2);
    } else if (stored && stored->level == FactorLevel::Group) {
      inUnit.push_back(component.entries);
    }
    inUnit.push_back(rows);
  }
  int64_t units = component.getUnits(getColumns()),
          unit = component.unitBytes / size;
  SmallVector<int64_t> shape = {getTiles()}, strides = {units * unit};
  if (component.columns) {
    shape.push_back(units);
    strides.push_back(unit);
  }
  shape.append(inUnit);
  for (int64_t stride : component.getStrides(inUnit))
    strides.push_back(stride / size);
  // Which load it is of each unit comes first.
  if (component.isWhole && component.entries > getUnitLoads()) {
    std::swap(shape[2], shape[3]);
    std::swap(strides[2], strides[3]);
  }
  return b.toTensor(b.view(bytes, streamBegin, getTiles() * units * unit,
                           component.offset / size, shape, strides,
                           component.elementType));
}

/// Pairs of bf16, the only component of a weight.
void PackedWeight::viewPairs(TileBuilder &b, Value bytes,
                             const PackedComponent &component) {
  int64_t pairs = component.getUnits(getColumns());
  int64_t words = getTiles() * pairs * rows;
  auto view = [&](int64_t count, ArrayRef<int64_t> shape, Type element) {
    return b.toTensor(
        b.view(bytes, 0, count, 0, shape, computeStrides(shape), element));
  };
  this->words = view(words, {getTiles(), pairs, rows}, b.getI32Type());
  if (getColumns() % 2)
    return;
  int64_t perUnit = getPairsPerUnit(getColumns());
  values = view(2 * words, {getTiles(), pairs / perUnit, perUnit, rows, 2},
                component.elementType);
}

PackedWeight::PackedWeight(TileBuilder &b, Value weight)
    : type(cast<RankedTensorType>(weight.getType())),
      layout(cast<PackedAttr>(type.getEncoding())), rows(layout.getRows()) {
  auto fromBytes = weight.getDefiningOp<FromBytesOp>();
  bytes = fromBytes.getBytes();
  format = lookupFormat(type, fromBytes);
  if (format)
    for (StoredFactor &stored : getStoredFactors(format))
      factors.push_back({stored, {}});
  int64_t begin = 0, end = 0;
  for (const PackedComponent &component :
       getPackedComponents(format, type.getElementType(), layout)) {
    if (component.beginsStream) {
      begin = end;
      end +=
          getStreamBytes(component, type.getDimSize(0), getColumns(), layout);
    }
    if (hasPairs()) {
      viewPairs(b, bytes, component);
      continue;
    }
    Value tensor = viewComponent(b, bytes, begin, component);
    if (component.kind == Kind::Codes)
      codes.push_back({component.plane, tensor});
    else if (component.kind == Kind::Factor) {
      bool isInSpan = component.columns == kSpan;
      factors[component.factor].planes.push_back({tensor, isInSpan});
    } else
      values = tensor;
  }
}

int64_t PackedWeight::getTiles() const {
  return llvm::divideCeil(type.getDimSize(0), rows);
}

unsigned PackedWeight::getGroupBits() const {
  return llvm::Log2_64(kSpan / format.getSumGroup());
}

int64_t PackedWeight::getBias() const { return getStoredBias(format, layout); }

bool PackedWeight::hasSignedCodes() const {
  return layout.getSignedCodes() && lumen::hasByteCodes(format);
}

int64_t PackedWeight::getCodeBits() const {
  int64_t bits = 0;
  for (const auto &code : codes)
    bits += code.first.width;
  return bits;
}

bool PackedWeight::hasSignedBytes() const {
  return lumen::hasSignedBytes(format);
}

bool PackedWeight::hasMin() const { return !getMin().empty(); }

//===----------------------------------------------------------------------===//
// Codes
//===----------------------------------------------------------------------===//

void PackedWeight::collectCodes(TileBuilder &b, const SpanPosition &at,
                                SmallVectorImpl<Value> &inputs,
                                SmallVectorImpl<AffineMap> &maps) const {
  if (hasWholeCodes()) {
    Value tensor = codes.front().second;
    // Units are halves of a span, numbered by x.
    bool hasUnits = cast<RankedTensorType>(tensor.getType()).getRank() == 6;
    for (int64_t i = 0; i < getUnitLoads(); ++i) {
      inputs.push_back(b.slice(tensor, {at.tile, at.span, b.getIndexAttr(i)}));
      maps.push_back(hasUnits ? b.map(kSpanDims, {kX, kRow, kK4})
                              : b.map(kSpanDims, {kRow, kK4}));
    }
    return;
  }
  for (auto [plane, tensor] : codes) {
    inputs.push_back(b.slice(tensor, {at.tile, at.span}));
    SmallVector<unsigned> results;
    for (unsigned i = 0; i < llvm::Log2_64(plane.getLoads(kDotStep)); ++i)
      results.push_back(kX + i);
    results.append({kRow, kK4});
    maps.push_back(b.map(kSpanDims, results));
  }
}

unsigned PackedWeight::getCodeOperands() const {
  return hasWholeCodes() ? getUnitLoads() : codes.size();
}

/// A table is looked up in place.
Value PackedWeight::emitCode(KernelBuilder &nested, ValueRange bytes) const {
  Value code = hasWholeCodes() ? emitWholeCode(nested, bytes)
                               : emitPlanes(nested, bytes);
  if (auto table = format.getTable()) {
    SmallVector<int8_t> shifted;
    for (int8_t entry : *table)
      shifted.push_back(int8_t(entry - getBias()));
    code = LookupOp::create(nested, nested.getI8Type(), code,
                            nested.getDenseI8ArrayAttr(shifted));
  }
  return code;
}

/// The pieces of a code joined, in i8 or a vector of it. Of several, each is
/// taken from the upper end of its byte: instructions that insert need no masks
/// there.
static Value joinPieces(KernelBuilder &b, Type type, ArrayRef<CodePiece> pieces,
                        function_ref<Value(int64_t)> getLoad) {
  auto shiftRight = [&](Value bits, int64_t amount) -> Value {
    return amount ? arith::ShRUIOp::create(b, bits, b.integer(type, amount))
                  : bits;
  };
  auto shiftLeft = [&](Value bits, int64_t amount) -> Value {
    return amount ? arith::ShLIOp::create(b, bits, b.integer(type, amount))
                  : bits;
  };
  Value joined;
  int64_t width = 0;
  for (CodePiece piece : llvm::reverse(pieces)) {
    Value bits = getLoad(piece.load);
    if (pieces.size() == 1)
      bits = shiftRight(bits, piece.bit);
    else
      bits = shiftRight(shiftLeft(bits, 8 - piece.bit - piece.width),
                        8 - piece.width);
    bits =
        arith::AndIOp::create(b, bits, b.integer(type, (1 << piece.width) - 1));
    bits = shiftLeft(bits, width);
    joined = joined ? arith::OrIOp::create(b, joined, bits).getResult() : bits;
    width += piece.width;
  }
  return joined;
}

/// What a step asks for, by its number in the unit.
Value PackedWeight::emitWholeCode(KernelBuilder &nested,
                                  ValueRange loads) const {
  int64_t bits = format.getBits(), steps = getStepsOfUnit(bits);
  Value number;
  for (unsigned dim = kRow - llvm::Log2_64(steps); dim <= kZ; ++dim) {
    Value part =
        arith::MulIOp::create(nested, linalg::IndexOp::create(nested, dim),
                              nested.index(int64_t(1) << (kZ - dim)));
    number =
        number ? arith::AddIOp::create(nested, number, part).getResult() : part;
  }
  Value code;
  for (int64_t step = 0; step < steps; ++step) {
    Value joined =
        joinPieces(nested, nested.getI8Type(), getCodePieces(bits, step),
                   [&](int64_t load) { return loads[load]; });
    if (code) {
      Value isHere = arith::CmpIOp::create(nested, arith::CmpIPredicate::eq,
                                           number, nested.index(step));
      joined = arith::SelectOp::create(nested, isHere, joined, code);
    }
    code = joined;
  }
  return code;
}

/// Each plane byte shifted by what the step asks for, masked, and joined with
/// the others.
Value PackedWeight::emitPlanes(KernelBuilder &nested,
                               ValueRange planeBytes) const {
  Type i8 = nested.getI8Type();
  auto constant = [&](int64_t value) { return nested.integer(i8, value); };
  Value code;
  for (auto [plane, byte] : llvm::zip(codes, planeBytes)) {
    BitPlane layout = plane.first;
    Value bits = byte;
    if (layout.width < 8) {
      // The bits of the step that do not number a load number the shift.
      Value shift;
      for (unsigned dim = kX + llvm::Log2_64(layout.getLoads(kDotStep));
           dim <= kZ; ++dim) {
        Value bit = arith::IndexCastOp::create(
            nested, i8, linalg::IndexOp::create(nested, dim));
        Value part = arith::MulIOp::create(
            nested, bit, constant(layout.width << (kZ - dim)));
        shift = shift ? arith::AddIOp::create(nested, shift, part).getResult()
                      : part;
      }
      bits = arith::ShRUIOp::create(nested, bits, shift);
      bits = arith::AndIOp::create(nested, bits,
                                   constant((1 << layout.width) - 1));
    }
    if (layout.offset)
      bits = arith::ShLIOp::create(nested, bits, constant(layout.offset));
    code = code ? arith::OrIOp::create(nested, code, bits).getResult() : bits;
  }
  return code;
}

static Value getBuffer(Value tensor) {
  return tensor.getDefiningOp<bufferization::ToTensorOp>().getBuffer();
}

Value PackedWeight::getCodeBuffer(TileBuilder &b, unsigned plane) const {
  return b.collapseInner(getBuffer(codes[plane].second));
}

Value PackedWeight::getFactorBuffer(unsigned factor) const {
  return getBuffer(factors[factor].planes.front().tensor);
}

Value PackedWeight::getValueBuffer() const { return getBuffer(values); }

Value PackedWeight::getWordBuffer() const { return getBuffer(words); }

Value PackedWeight::loadCodes(TileBuilder &b, const SpanPosition &at,
                              int64_t step) const {
  auto words = VectorType::get(rows, b.getI32Type());
  if (hasWholeCodes())
    return vector::BitCastOp::create(b, words, loadWholeCodes(b, at, step));
  auto splat = [&](int64_t value) { return b.integer(words, value); };
  Value joined;
  for (auto [i, code] : llvm::enumerate(codes)) {
    BitPlane plane = code.first;
    unsigned inByte = llvm::Log2_64(plane.getStepsPerLoad(kDotStep));
    SmallVector<Value> place = {at.tile, at.span};
    for (unsigned bit = kStepBits; bit-- > inByte;)
      place.push_back(b.index(step >> bit & 1));
    place.push_back(b.index(0));
    Value bits = b.load(kDotStep * rows, getCodeBuffer(b, i), place);
    bits = vector::BitCastOp::create(b, words, bits);
    int64_t shift = plane.width * (step & ((1 << inByte) - 1));
    if (shift)
      bits = arith::ShRUIOp::create(b, bits, splat(shift));
    if (plane.width < 8)
      bits = arith::AndIOp::create(
          b, bits, splat(0x01010101 * ((1 << plane.width) - 1)));
    if (plane.offset)
      bits = arith::ShLIOp::create(b, bits, splat(plane.offset));
    joined = joined ? arith::OrIOp::create(b, joined, bits).getResult() : bits;
  }
  return joined;
}

Value PackedWeight::loadWholeCodes(TileBuilder &b, const SpanPosition &at,
                                   int64_t step) const {
  auto bytes = VectorType::get(kDotStep * rows, b.getI8Type());
  int64_t inUnit = getUnitLoads(), units = format.getBits() / inUnit;
  return joinPieces(
      b, bytes, getCodePieces(format.getBits(), step), [&](int64_t load) {
        SmallVector<Value> place = {at.tile, at.span};
        place.push_back(b.index(load % inUnit));
        if (units > 1)
          place.push_back(b.index(load / inUnit));
        place.push_back(b.index(0));
        return b.load(kDotStep * rows, getCodeBuffer(b, 0), place);
      });
}

void PackedWeight::fetchAhead(Value value, int64_t tokens) const {
  if (!isFar || (hasByteCodes() && tokens == 1))
    return;
  int64_t ahead = getCodeBits() <= kFewBits ? kFewBitsAhead : kAhead;
  Builder builder(value.getContext());
  value.getDefiningOp()->setAttr(LumenDialect::kPrefetchAttr,
                                 builder.getI64IntegerAttr(ahead));
}

//===----------------------------------------------------------------------===//
// Factors
//===----------------------------------------------------------------------===//

FactorOperands PackedWeight::collectFactors(TileBuilder &b,
                                            const SpanPosition &at,
                                            FactorDims dims,
                                            SmallVectorImpl<Value> &inputs,
                                            SmallVectorImpl<AffineMap> &maps,
                                            bool hasGroups) const {
  FactorOperands operands;
  operands.first = inputs.size();
  operands.hasGroups = hasGroups;
  int64_t spansPerGroup = std::max<int64_t>(1, format.getGroup() / kSpan);
  auto spanInBlock = [&]() -> Value {
    Value first = b.multiply(at.block, int64_t(format.getBlock()) / kSpan);
    return arith::SubIOp::create(b, at.span, first);
  };
  for (const Factor &factor : factors) {
    if (!operands.holds(factor.stored))
      continue;
    for (auto [plane, view] : llvm::zip(factor.stored.planes, factor.planes)) {
      SmallVector<OpFoldResult> position = {at.tile};
      SmallVector<unsigned> results;
      Value shift;
      if (factor.stored.level == FactorLevel::Block) {
        position.push_back(at.block);
      } else if (hasEntryPerSpan(factor.stored, plane)) {
        if (view.isInSpan)
          position.push_back(at.span);
        else
          position.append({at.block, spanInBlock()});
        for (unsigned i = getSharedBits(plane); i < getGroupBits(); ++i)
          results.push_back(dims.firstGroup + i - getSharedBits(plane));
      } else if (factor.stored.level == FactorLevel::Group) {
        Value group = b.divide(spanInBlock(), spansPerGroup);
        // A byte serves 2^more units of a span or group.
        unsigned more = getSharedBits(plane) - getGroupBits();
        if (more) {
          Value unit = b.multiply(b.remainder(group, 1 << more),
                                  plane.width << getGroupBits());
          shift = arith::IndexCastOp::create(b, b.getI32Type(), unit);
          group = b.divide(group, 1 << more);
        }
        position.append({at.block, group});
      }
      results.push_back(dims.row);
      inputs.push_back(b.slice(view.tensor, position));
      maps.push_back(b.map(dims.dims, results));
      operands.shifts.push_back(shift);
    }
  }
  return operands;
}

/// A stored factor as an element of its type, its planes joined.
Value PackedWeight::emitStored(KernelBuilder &nested, unsigned number,
                               const FactorOperands &operands, FactorDims dims,
                               ValueRange arguments) const {
  unsigned next = 0;
  for (unsigned i = 0; i < number; ++i)
    if (operands.holds(factors[i].stored))
      next += factors[i].planes.size();
  const Factor &factor = factors[number];
  if (factor.stored.planes.front().width >= 8)
    return arguments[operands.first + next];
  Type i32 = nested.getI32Type();
  auto constant = [&](int64_t value) { return nested.integer(i32, value); };
  Value joined;
  for (BitPlane plane : factor.stored.planes) {
    // 32-bit lanes: there are no shifts of bytes, and a float comes next.
    Value bits =
        arith::ExtUIOp::create(nested, i32, arguments[operands.first + next]);
    Value shift = operands.shifts[next++];
    unsigned groupBits = getGroupBits();
    for (unsigned i = groupBits - std::min(groupBits, getSharedBits(plane));
         i < groupBits; ++i) {
      Value bit = arith::IndexCastOp::create(
          nested, i32, linalg::IndexOp::create(nested, dims.firstGroup + i));
      Value part = arith::MulIOp::create(
          nested, bit, constant(plane.width << (groupBits - 1 - i)));
      shift =
          shift ? arith::AddIOp::create(nested, shift, part).getResult() : part;
    }
    bits = arith::ShRUIOp::create(nested, bits, shift);
    bits =
        arith::AndIOp::create(nested, bits, constant((1 << plane.width) - 1));
    if (plane.offset)
      bits = arith::ShLIOp::create(nested, bits, constant(plane.offset));
    joined =
        joined ? arith::OrIOp::create(nested, joined, bits).getResult() : bits;
  }
  return arith::TruncIOp::create(nested, nested.getI8Type(), joined);
}

/// A value of the format's region for one element, from those in `known`: what
/// follows a lumen.stored works element by element.
static Value cloneElement(KernelBuilder &nested, Value value,
                          DenseMap<Value, Value> &known) {
  if (Value found = known.lookup(value))
    return found;
  Operation *op = value.getDefiningOp();
  Value made;
  if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
    TypedAttr attr = constant.getValue();
    if (auto splat = dyn_cast<SplatElementsAttr>(attr))
      attr = splat.getSplatValue<TypedAttr>();
    made = arith::ConstantOp::create(nested, attr);
  } else {
    SmallVector<Value> operands;
    for (Value operand : op->getOperands())
      operands.push_back(cloneElement(nested, operand, known));
    OperationState state(nested.getLoc(), op->getName(), operands,
                         getElementTypeOrSelf(value.getType()), op->getAttrs());
    made = nested.create(state)->getResult(0);
  }
  known[value] = made;
  return made;
}

Value PackedWeight::emitPart(KernelBuilder &nested, Value value,
                             const FactorOperands &operands, FactorDims dims,
                             ValueRange arguments) const {
  DenseMap<Value, Value> known;
  for (auto [i, factor] : llvm::enumerate(factors))
    if (operands.holds(factor.stored))
      known[factor.stored.value] =
          emitStored(nested, i, operands, dims, arguments);
  return cloneElement(nested, value, known);
}

Value PackedWeight::emitProduct(KernelBuilder &nested, ValueRange parts,
                                const FactorOperands &operands, FactorDims dims,
                                ValueRange arguments) const {
  Value product;
  for (Value part : parts) {
    Value factor = nested.convert(
        emitPart(nested, part, operands, dims, arguments), nested.getF32Type());
    product = product
                  ? arith::MulFOp::create(nested, product, factor).getResult()
                  : factor;
  }
  return product;
}

Value PackedWeight::emitScale(KernelBuilder &nested,
                              const FactorOperands &operands, FactorDims dims,
                              ValueRange arguments) const {
  return emitProduct(nested, getScale(), operands, dims, arguments);
}

Value PackedWeight::emitMin(KernelBuilder &nested,
                            const FactorOperands &operands, FactorDims dims,
                            ValueRange arguments) const {
  return emitProduct(nested, getMin(), operands, dims, arguments);
}

Value PackedWeight::emitOfBlock(KernelBuilder &nested, OperandRange factor,
                                const FactorOperands &operands, FactorDims dims,
                                ValueRange arguments) const {
  auto shared = llvm::make_filter_range(
      factor, [](Value part) { return !isa<VectorType>(part.getType()); });
  return emitProduct(nested, llvm::to_vector<2>(shared), operands, dims,
                     arguments);
}

Value PackedWeight::emitOfGroup(KernelBuilder &nested, OperandRange factor,
                                const FactorOperands &operands, FactorDims dims,
                                ValueRange arguments) const {
  Value part = emitPart(nested, factor.back(), operands, dims, arguments);
  Type i32 = nested.getI32Type();
  return part.getType() == i32 ? part
                               : arith::ExtSIOp::create(nested, i32, part);
}

bool PackedWeight::hasBlockScale() const {
  return llvm::none_of(
      getScale(), [](Value part) { return isa<VectorType>(part.getType()); });
}

IntegerRange PackedWeight::getValues() const {
  if (auto table = format.getTable()) {
    auto [least, most] = std::minmax_element(table->begin(), table->end());
    return {*least, *most};
  }
  int64_t least = getCodeBias(format);
  return {least, (int64_t(1) << format.getBits()) - 1 + least};
}

// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/FragmentWeight.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

/// The fewest codes that an instruction takes of a row.
static constexpr int64_t kFewestCodes =
    FragmentTile::kQuarters * int64_t(kDotStep);

/// A number in all four bytes of a word.
static constexpr int64_t kInBytes = 0x01010101;

bool FragmentWeight::isPossible(const ProductOperands &operands,
                                const PackedWeight &weight, DotAttr mma) {
  // Each lane has the factors of a row.
  if (!weight.format || weight.layout.getK() != kDotStep ||
      weight.rows != FragmentTile::kGroups * FragmentTile::kQuarters ||
      weight.rows % mma.getRows())
    return false;
  IntegerRange values = weight.getValues();
  if (!llvm::isInt<8>(values.least) || !llvm::isInt<8>(values.most))
    return false;
  if (weight.hasByteCodes() && weight.getBias() && !weight.format.getTable())
    return false;
  if (!operands.hasIntegerSums(weight) &&
      kSpan >> weight.getGroupBits() < kFewestCodes)
    return false;
  return !weight.hasMin() || !operands.hasIntegerMinima() ||
         operands.hasExactMinima(weight);
}

FragmentWeight::FragmentWeight(TileBuilder &b, const ProductOperands &operands,
                               const PackedWeight &source, DotAttr mma,
                               int64_t tokens)
    : source(source), hasIntegerSums(operands.hasIntegerSums(source)),
      hasIntegerScales(!hasIntegerSums && operands.hasIntegerScales(source)),
      hasIntegerMinima(source.hasMin() && operands.hasIntegerMinima()), b(b),
      operands(operands) {
  int64_t codes = hasIntegerSums ? kSpan : kSpan >> source.getGroupBits();
  tile = {mma.withK(std::min(mma.getK(), codes)), source.rows, tokens};
  for (const PackedComponent &component : getPackedComponents(
           source.format, source.type.getElementType(), source.layout))
    if (component.kind == PackedComponent::Kind::Codes)
      planes.push_back(component);
  int64_t bytes =
      source.getTiles() * getTileBytes(planes.front(), source.getColumns());
  int64_t unitBytes = kDotStep * tile.getTogether();
  units = b.view(source.bytes, 0, bytes / unitBytes, 0, {bytes / unitBytes},
                 {1}, b.getIntegerType(8 * unitBytes));
}

//===----------------------------------------------------------------------===//
// Codes
//===----------------------------------------------------------------------===//

Value FragmentWeight::emitStep(Value unit, int64_t chunk, int64_t step,
                               Loads &loads) const {
  constexpr int64_t quarters = FragmentTile::kQuarters;
  int64_t groups = FragmentTile::kGroups, together = tile.getTogether();
  int64_t lanes = groups * quarters;
  auto words = VectorType::get(lanes * together, b.getI32Type());
  auto stepOf = [&](int64_t quarter) {
    return chunk * (tile.shape.getK() / kDotStep) + quarter * tile.getSteps() +
           step;
  };
  Value joined;
  for (auto [number, plane] : llvm::enumerate(planes)) {
    int64_t width = plane.plane.width,
            perLoad = plane.plane.getStepsPerLoad(kDotStep);
    // In units of what a lane loads.
    SmallVector<int64_t> places;
    for (int64_t quarter = 0; quarter < quarters; ++quarter)
      places.push_back(plane.getEntryOffset(stepOf(quarter) / perLoad) /
                       (kDotStep * together));
    Value &loaded = loads[{number, places}];
    if (!loaded) {
      Value own = b.numbers(lanes, [&](int64_t lane) {
        return places[lane % quarters] - places.front() + lane / quarters;
      });
      loaded = vector::BitCastOp::create(
          b, words, b.gather(units, b.add(unit, places.front()), own));
    }
    Value bits = loaded;
    if (width < 8) {
      Value shift = b.numbers(lanes * together, [&](int64_t i) {
        return stepOf(i / together % quarters) % perLoad * width;
      });
      bits = arith::ShRUIOp::create(b, bits, shift);
      bits = arith::AndIOp::create(
          b, bits, b.integer(words, kInBytes * ((1 << width) - 1)));
    }
    if (plane.plane.offset)
      bits =
          arith::ShLIOp::create(b, bits, b.integer(words, plane.plane.offset));
    joined = joined ? arith::OrIOp::create(b, joined, bits).getResult() : bits;
  }
  return emitValues(joined);
}

Value FragmentWeight::emitValues(Value words) const {
  Type type = words.getType();
  if (auto table = source.format.getTable()) {
    auto bytes = VectorType::get(kDotStep * getLanes(words), b.getI8Type());
    Value values = vector::BitCastOp::create(b, bytes, words);
    values = LookupOp::create(b, bytes, values, b.getDenseI8ArrayAttr(*table));
    return vector::BitCastOp::create(b, type, values);
  }
  int64_t bias = source.getBias();
  if (bias > 0)
    return arith::AddIOp::create(b, words, b.integer(type, kInBytes * bias));
  if (!bias)
    return words;
  // With the upper bit of each byte, which codes lack, none borrows from
  // another.
  Value upper = b.integer(type, kInBytes * 0x80);
  words = arith::OrIOp::create(b, words, upper);
  words = arith::SubIOp::create(b, words, b.integer(type, kInBytes * -bias));
  return arith::XOrIOp::create(b, words, upper);
}

SmallVector<Value> FragmentWeight::emitCodes(const SpanPosition &at,
                                             int64_t chunk) const {
  int64_t quarters = FragmentTile::kQuarters, together = tile.getTogether(),
          steps = tile.getSteps();
  const PackedComponent &first = planes.front();
  Value unit = b.multiply(at.tile, first.getUnits(source.getColumns()));
  unit = b.multiply(arith::AddIOp::create(b, unit, at.span),
                    first.unitBytes / (kDotStep * together));
  Loads loads;
  SmallVector<Value> words;
  for (int64_t step = 0; step < steps; ++step)
    words.push_back(emitStep(unit, chunk, step, loads));
  int64_t all = getLanes(words.front()), rows = tile.shape.getRows();
  auto codes = VectorType::get(rows * tile.shape.getK(), b.getI8Type());
  SmallVector<Value> parts;
  for (int64_t part = 0; part < tile.getRowParts(); ++part) {
    // No code leaves its lane.
    SmallVector<int64_t> mask;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t quarter = 0; quarter < quarters; ++quarter)
        for (int64_t step = 0; step < steps; ++step) {
          int64_t its = tile.getRow(part, row);
          int64_t lane = its / together * quarters + quarter;
          mask.push_back(step * all + lane * together + its % together);
        }
    Value matrix =
        vector::ShuffleOp::create(b, words.front(), words.back(), mask);
    parts.push_back(vector::BitCastOp::create(b, codes, matrix));
  }
  return parts;
}

//===----------------------------------------------------------------------===//
// Factors
//===----------------------------------------------------------------------===//

SmallVector<Value> FragmentWeight::emitRows(const SpanPosition &at,
                                            unsigned bits, bool ofBlock,
                                            Type element, Body body) const {
  FactorDims dims = {bits + 1, 0, bits};
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  FactorOperands factors =
      source.collectFactors(b, at, dims, inputs, maps, /*hasGroups=*/!ofBlock);
  maps.push_back(
      b.map(dims.dims, llvm::to_vector(llvm::seq<unsigned>(0, dims.dims))));
  SmallVector<int64_t> shape(bits, 2);
  shape.push_back(tile.rows);
  Value all = b.generic(b.zeros(shape, element), inputs, maps, dims.dims,
                        [&](KernelBuilder &nested, ValueRange arguments) {
                          return body(nested, factors, dims, arguments);
                        });
  SmallVector<Value> groups;
  for (int64_t group = 0; group < int64_t(1) << bits; ++group) {
    SmallVector<Value> place;
    for (unsigned bit = bits; bit-- > 0;)
      place.push_back(b.index(group >> bit & 1));
    place.push_back(b.index(0));
    groups.push_back(vector::TransferReadOp::create(
        b, VectorType::get(tile.rows, element), all, place,
        std::optional<Value>(b.zero(element))));
  }
  return groups;
}

SmallVector<Value> FragmentWeight::emitScales(const SpanPosition &at) const {
  Type element = hasIntegerScales ? Type(b.getI32Type()) : b.getF32Type();
  return emitRows(at, source.getGroupBits(), /*ofBlock=*/false, element,
                  [&](KernelBuilder &nested, const FactorOperands &factors,
                      FactorDims dims, ValueRange arguments) {
                    return hasIntegerScales
                               ? source.emitOfGroup(nested, source.getScale(),
                                                    factors, dims, arguments)
                               : source.emitScale(nested, factors, dims,
                                                  arguments);
                  });
}

SmallVector<Value> FragmentWeight::emitMinima(const SpanPosition &at) const {
  return emitRows(at, operands.sumBits, /*ofBlock=*/false, b.getF32Type(),
                  [&](KernelBuilder &nested, const FactorOperands &factors,
                      FactorDims dims, ValueRange arguments) {
                    if (!hasIntegerMinima)
                      return source.emitMin(nested, factors, dims, arguments);
                    Value min = source.emitOfGroup(nested, source.getMin(),
                                                   factors, dims, arguments);
                    return nested.convert(min, nested.getF32Type());
                  });
}

Value FragmentWeight::emitOfBlock(const SpanPosition &at,
                                  OperandRange factor) const {
  return emitRows(at, 0, /*ofBlock=*/true, b.getF32Type(),
                  [&](KernelBuilder &nested, const FactorOperands &factors,
                      FactorDims dims, ValueRange arguments) {
                    return source.emitOfBlock(nested, factor, factors, dims,
                                              arguments);
                  })
      .front();
}

SmallVector<Value> FragmentWeight::spread(Value factors) const {
  SmallVector<Value> parts;
  for (int64_t part = 0; part < tile.getRowParts(); ++part) {
    SmallVector<int64_t> mask;
    for (int64_t i = 0; i < tile.getSize(); ++i)
      mask.push_back(tile.getRow(part, i / tile.shape.getTokens()));
    parts.push_back(vector::ShuffleOp::create(b, factors, factors, mask));
  }
  return parts;
}

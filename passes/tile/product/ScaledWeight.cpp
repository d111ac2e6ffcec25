// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/product/ScaledWeight.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lumen;

/// What is multiplied into the codes, as far as they are in a format.
static IntegerRange getProducts(const PackedWeight &weight) {
  return weight.getValues() * *getGroupIntegers(weight.getScale());
}

bool ScaledWeight::isPossible(const PackedWeight &weight) {
  if (!weight.format || weight.format.getTable() || weight.hasMin() ||
      !getGroupIntegers(weight.getScale()))
    return false;
  IntegerRange products = getProducts(weight);
  return products.most - products.least < 1 << 8;
}

/// The format of the products: a byte each, and a float for every block.
static FlatSymbolRefAttr getScaledFormat(const PackedWeight &source) {
  FormatOp format = source.format;
  MLIRContext *context = format.getContext();
  std::string name = (format.getSymName() + "_scaled").str();
  auto module = format->getParentOfType<ModuleOp>();
  if (!module.lookupSymbol(name)) {
    std::string text = llvm::formatv(
        "lumen.format @{0} block({1}) group({1}) bits(8) bias({2}) "
        "storage([\"d\", \"qs\"]) {{\n"
        "^bb0(%d: f32, %qs: vector<{1}xi8>):\n"
        "  lumen.decoded codes(%qs : vector<{1}xi8>) scale(%d : f32)\n"
        "}\n",
        name, int64_t(format.getBlock()), getProducts(source).least);
    LogicalResult parsed =
        parseSourceString(text, module.getBody(), ParserConfig(context));
    assert(succeeded(parsed) && "the text of a format is sound");
    (void)parsed;
  }
  return FlatSymbolRefAttr::get(context, name);
}

ScaledWeight::ScaledWeight(TileBuilder &b, const PackedWeight &source,
                           int64_t rows)
    : PreparedWeight(b, source, rows,
                     QuantType::get(b.getContext(), getScaledFormat(source)),
                     kDotStep) {
  SmallVector<int64_t> shape(source.getGroupBits(), 2);
  shape.push_back(source.rows);
  integers = b.allocateScratch(shape, b.getI32Type());
}

void ScaledWeight::emitBlockScale(TileBuilder &b, const SpanPosition &at,
                                  int64_t firstRow) const {
  FactorDims dims = {1, 1, 0};
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  FactorOperands factors = source.collectFactors(b, at, dims, inputs, maps,
                                                 /*hasGroups=*/false);
  maps.push_back(b.map(1, {0}));
  Value scale = b.generic(b.zeros({source.rows}, b.getF32Type()), inputs, maps,
                          1, [&](KernelBuilder &nested, ValueRange arguments) {
                            return source.emitOfBlock(nested, source.getScale(),
                                                      factors, dims, arguments);
                          });
  Value buffer = packed.getFactorBuffer(0);
  auto type = MemRefType::get(
      {source.rows}, b.getF32Type(),
      StridedLayoutAttr::get(b.getContext(), ShapedType::kDynamic, {1}));
  SmallVector<OpFoldResult> offsets = {b.getIndexAttr(0), at.block,
                                       b.getIndexAttr(firstRow)},
                            sizes = {b.getIndexAttr(1), b.getIndexAttr(1),
                                     b.getIndexAttr(source.rows)},
                            strides(3, b.getIndexAttr(1));
  b.storeTile(scale, memref::SubViewOp::create(b, type, buffer, offsets, sizes,
                                               strides));
}

/// A span: four codes of a row fill a lane of 32 bits, of which the even and
/// the odd ones are multiplied as 16 bits.
void ScaledWeight::emitCodes(TileBuilder &b, const SpanPosition &at,
                             int64_t firstRow) const {
  unsigned groupBits = source.getGroupBits();
  FactorDims dims = {groupBits + 1, 0, groupBits};
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  FactorOperands factors = source.collectFactors(b, at, dims, inputs, maps);
  auto all = llvm::to_vector(llvm::seq<unsigned>(0, dims.dims));
  maps.push_back(b.map(dims.dims, all));
  auto shape = cast<MemRefType>(integers.getType()).getShape();
  Value scales =
      b.generic(b.zeros(shape, b.getI32Type()), inputs, maps, dims.dims,
                [&](KernelBuilder &nested, ValueRange arguments) {
                  return source.emitOfGroup(nested, source.getScale(), factors,
                                            dims, arguments);
                });
  b.storeTile(scales, integers);

  auto words = VectorType::get(source.rows, b.getI32Type()),
       halves = VectorType::get(2 * source.rows, b.getI16Type()),
       bytes = VectorType::get(kDotStep * source.rows, b.getI8Type());
  // Of every group, for the two halves of a lane: the integer, and what makes
  // products with unsigned codes unsigned products.
  SmallVector<std::pair<Value, Value>> ofGroups;
  for (int64_t group = 0; group < 1 << groupBits; ++group) {
    SmallVector<Value> place;
    for (unsigned bit = groupBits; bit-- > 0;)
      place.push_back(b.index(group >> bit & 1));
    place.push_back(b.index(0));
    Value low = b.load(source.rows, integers, place);
    Value high = arith::ShLIOp::create(b, low, b.integer(words, 16));
    low = arith::AndIOp::create(b, low, b.integer(words, 0xffff));
    Value scale = vector::BitCastOp::create(b, halves,
                                            arith::OrIOp::create(b, low, high));
    Value bias =
        arith::MulIOp::create(b, scale, b.integer(halves, source.getBias()));
    bias = arith::SubIOp::create(b, bias, b.integer(halves, packed.getBias()));
    ofGroups.push_back({scale, bias});
  }
  constexpr int64_t kSteps = kSpan / kDotStep;
  Value into = packed.getCodeBuffer(b, 0);
  for (int64_t step = 0; step < kSteps; ++step) {
    Value codes = source.loadCodes(b, at, step);
    const auto &ofGroup = ofGroups[step >> (llvm::Log2_64(kSteps) - groupBits)];
    auto scaled = [&](Value codes) -> Value {
      Value product = arith::MulIOp::create(b, codes, ofGroup.first);
      return arith::AddIOp::create(b, product, ofGroup.second);
    };
    codes = vector::BitCastOp::create(b, halves, codes);
    Value even = arith::AndIOp::create(b, codes, b.integer(halves, 0xff));
    Value odd = arith::ShRUIOp::create(b, codes, b.integer(halves, 8));
    odd = arith::ShLIOp::create(b, scaled(odd), b.integer(halves, 8));
    Value both = arith::OrIOp::create(b, scaled(even), odd);
    SmallVector<Value> place = {b.index(0), at.span};
    for (int64_t bit : {4, 2, 1})
      place.push_back(b.index(step & bit ? 1 : 0));
    place.push_back(b.index(kDotStep * firstRow));
    b.store(vector::BitCastOp::create(b, bytes, both), into, place);
  }
}

void ScaledWeight::emit(TileBuilder &b, Value number) const {
  int64_t block = source.format.getBlock(), tiles = packed.rows / source.rows;
  Value firstTile = b.multiply(number, tiles);
  b.forEach(source.getColumns() / block, [&](Value position) {
    Value firstSpan = b.multiply(position, block / kSpan);
    for (int64_t i = 0; i < tiles; ++i) {
      // Behind the last tile comes that one again, which nobody stores.
      Value tile = b.add(firstTile, i);
      tile = arith::MinUIOp::create(b, tile, b.index(source.getTiles() - 1));
      int64_t firstRow = i * source.rows;
      emitBlockScale(b, {tile, position, firstSpan}, firstRow);
      b.forEach(firstSpan, b.add(firstSpan, block / kSpan), 1, [&](Value span) {
        emitCodes(b, {tile, position, span}, firstRow);
      });
    }
  });
}

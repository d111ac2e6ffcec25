// SPDX-License-Identifier: Apache-2.0
//
// Synthesizes product kernels as linalg on packed tensors. Everything here
// follows from the components of the packed layout and the attributes of the
// format; no format is known by name.
#include "passes/Dot4.h"
#include "passes/PackedWeight.h"
#include "passes/Passes.h"
#include "passes/ProductEpilogue.h"
#include "passes/TileBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_SYNTHESIZEPRODUCTPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

/// How many bytes ahead weights are fetched. What is used once comes from
/// memory: a page, which is where the hardware's own prefetching ends. What is
/// used by the tiles of a block of tokens comes from the second-level cache.
constexpr int64_t kMemoryAhead = 4096, kCacheAhead = 1024;

constexpr arith::FastMathFlags kContract = arith::FastMathFlags::contract;

/// The target's register tile: so many rows of a weight (0: any) by so many
/// tokens.
struct TileShape {
  int64_t rows, tokens;
};

class ProductSynthesizer {
public:
  ProductSynthesizer(func::FuncOp kernel, QLinearOp product, TileShape shape,
                     int64_t blockBytes, bool signedCodes)
      : b(product.getLoc(), kernel.getContext()), kernel(kernel),
        product(product), shape(shape), blockBytes(blockBytes),
        signedCodes(signedCodes) {}

  LogicalResult run();

private:
  void viewActivations();
  /// Tokens of a register tile: more where a weight's tiles have fewer rows.
  int64_t getTokens(const ProductSink &sink) const {
    int64_t rows = weights[sink.products.front()].rows;
    return shape.tokens * std::max<int64_t>(1, shape.rows / rows);
  }
  void emitSink(ProductSink &sink, bool last);
  void emitExpertSink(ProductSink &sink, bool last);
  void emitRegisterTiles(ProductSink &sink, Value first, Value count,
                         Value tile, Value rowTile);
  void emitTile(ProductSink &sink, int64_t tokens, Value token, Value tile,
                Value rowTile);
  /// memref<TxC> seen as memref<(T*S)x(C/S)>, for S slots.
  Value splitSlots(Value memref);
  Value emitProduct(const PackedWeight &weight, int64_t tokens, Value token,
                    Value tile);
  Value emitGroup(const PackedWeight &weight, int64_t tokens, Value token,
                  SpanPosition at, Value acc);
  Value emitSpan(const PackedWeight &weight, int64_t tokens, Value token,
                 const SpanPosition &at, Value partial);
  Value emitExactSpan(const PackedWeight &weight, int64_t tokens, Value token,
                      const SpanPosition &at, Value acc);
  Value emitFloatProduct(const PackedWeight &weight, int64_t tokens,
                         Value token, Value tile);
  /// Lets the op that makes `value` fetch what it reads of the weight ahead,
  /// where that helps. A single stream of whole bytes the hardware follows
  /// better by itself than several of different pace.
  void fetchAhead(Value value, const PackedWeight &weight, int64_t tokens) {
    if (!weight.hasByteCodes())
      value.getDefiningOp()->setAttr(
          LumenDialect::kPrefetchAttr,
          b.getI64IntegerAttr(tokens == 1 ? kMemoryAhead : kCacheAhead));
  }
  bool isSigned(const PackedWeight &weight) const {
    return signedCodes && weight.hasSignedBytes();
  }
  Value emitInitialSums(const PackedWeight &weight, int64_t tokens, Value token,
                        Value span);
  /// What `emitBody` makes of its index and `initial` in `count` rounds.
  Value emitLoop(int64_t count, Value initial,
                 function_ref<Value(Value, Value)> emitBody);
  Value emitMinima(const PackedWeight &weight, int64_t tokens, Value token,
                   const SpanPosition &at, Value acc);
  /// memref<TxKxE> seen as [token][span][bits…][rest] (`rest` omitted when 1).
  Value expandSpans(Value memref, unsigned bits, int64_t rest);

  TileBuilder b;
  func::FuncOp kernel;
  QLinearOp product;
  TileShape shape;
  int64_t blockBytes; // of activations
  /// What 8-bit codes meet the target's instructions as.
  bool signedCodes;
  SmallVector<PackedWeight> weights;
  Value tokens;                          // T
  Value codes, scales, offsets, sums, x; // activations as tensors
  unsigned sumBits = 0;                  // log2 of the activation sums per span
};

Value ProductSynthesizer::expandSpans(Value memref, unsigned bits,
                                      int64_t rest) {
  auto type = cast<MemRefType>(memref.getType());
  SmallVector<int64_t> shape = {ShapedType::kDynamic,
                                product.getColumns() / kSpan};
  shape.append(bits, 2);
  if (rest > 1)
    shape.push_back(rest);
  if (shape.size() == 2)
    return b.toTensor(memref);
  SmallVector<ReassociationIndices> groups = {{0}, {}};
  for (unsigned i = 1; i < shape.size(); ++i)
    groups[1].push_back(i);
  SmallVector<OpFoldResult> sizes = {tokens};
  for (int64_t size : ArrayRef(shape).drop_front())
    sizes.push_back(b.getIndexAttr(size));
  auto expanded = MemRefType::get(shape, type.getElementType());
  return b.toTensor(
      memref::ExpandShapeOp::create(b, expanded, memref, groups, sizes));
}

Value ProductSynthesizer::splitSlots(Value memref) {
  int64_t slots = product.getSlots();
  if (slots == 1)
    return memref;
  auto type = cast<MemRefType>(memref.getType());
  int64_t columns = type.getDimSize(1) / slots;
  Type element = type.getElementType();
  SmallVector<OpFoldResult> sizes = {
      memref::DimOp::create(b, memref, 0).getResult(), b.getIndexAttr(slots),
      b.getIndexAttr(columns)};
  memref = memref::ExpandShapeOp::create(
      b, MemRefType::get({ShapedType::kDynamic, slots, columns}, element),
      memref, SmallVector<ReassociationIndices>{{0}, {1, 2}}, sizes);
  return memref::CollapseShapeOp::create(
      b, memref, SmallVector<ReassociationIndices>{{0, 1}, {2}});
}

void ProductSynthesizer::viewActivations() {
  auto memref = [&](unsigned i) {
    auto tensor =
        product.getActivations()[i].getDefiningOp<bufferization::ToTensorOp>();
    return splitSlots(tensor.getBuffer());
  };
  tokens = memref::DimOp::create(b, memref(0), 0);
  bool quantized = llvm::any_of(
      weights, [](const PackedWeight &weight) { return !!weight.format; });
  if (!product.isInteger()) {
    x = quantized ? expandSpans(memref(0), 3, 4) : b.toTensor(memref(0));
    return;
  }
  codes = expandSpans(memref(0), 3, 4);
  scales = b.toTensor(memref(1));
  int64_t sumsPerSpan = cast<MemRefType>(memref(2).getType()).getDimSize(1) *
                        kSpan / product.getColumns();
  sumBits = llvm::Log2_64(sumsPerSpan);
  offsets = expandSpans(memref(2), sumBits, 1);
  sums = expandSpans(memref(3), sumBits, 1);
}

/// Integer sums start from the bias times the activations' sums, which makes
/// the product of the unsigned codes exact for the biased ones.
Value ProductSynthesizer::emitInitialSums(const PackedWeight &weight,
                                          int64_t tokens, Value token,
                                          Value span) {
  unsigned groupBits = weight.getGroupBits();
  SmallVector<int64_t> shape = {tokens};
  shape.append(groupBits, 2);
  shape.push_back(weight.rows);
  Value zero = b.zeros(shape, b.getI32Type());
  int64_t bias = weight.getBias();
  if (!bias || isSigned(weight))
    return zero;
  int64_t factor = bias / int64_t(product.getOffsetBias());
  // dims: token, the bits of the sums (the last sumBits - groupBits reduced),
  // row.
  unsigned dims = sumBits + 2;
  auto in = llvm::to_vector(llvm::seq<unsigned>(0, sumBits + 1));
  auto out = llvm::to_vector(llvm::seq<unsigned>(0, groupBits + 1));
  out.push_back(dims - 1);
  Value input = b.slice(offsets, {token, span}, tokens);
  return b.generic(
      zero, input, {b.map(dims, in), b.map(dims, out)}, dims,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) -> Value {
        Value offset = arguments[0];
        if (factor != 1)
          offset = arith::MulIOp::create(
              nested, loc, offset,
              arith::ConstantIntOp::create(nested, loc, nested.getI32Type(),
                                           factor));
        return arith::AddIOp::create(nested, loc, arguments[1], offset);
      });
}

/// One span with 8-bit activations: an integer generic, then a float one. A
/// null `partial` counts as 0.
Value ProductSynthesizer::emitSpan(const PackedWeight &weight, int64_t tokens,
                                   Value token, const SpanPosition &at,
                                   Value partial) {
  unsigned groupBits = weight.getGroupBits();
  // The integer sums of the span's groups.
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  weight.collectCodes(b, at, inputs, maps);
  inputs.push_back(b.slice(codes, {token, at.span}, tokens));
  maps.push_back(b.map(kSpanDims, {kToken, kX, kY, kZ, kK4}));
  SmallVector<unsigned> sumDims = {kToken};
  for (unsigned i = 0; i < groupBits; ++i)
    sumDims.push_back(kX + i);
  sumDims.push_back(kRow);
  maps.push_back(b.map(kSpanDims, sumDims));
  Value initial = emitInitialSums(weight, tokens, token, at.span);
  Value isum = b.generic(
      initial, inputs, maps, kSpanDims,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) {
        Type i32 = nested.getI32Type();
        Value code = weight.emitCode(nested, loc, arguments.drop_back(2));
        Value lhs;
        if (isSigned(weight)) {
          Value bias = arith::ConstantIntOp::create(
              nested, loc, nested.getI8Type(), weight.getBias());
          code = arith::AddIOp::create(nested, loc, code, bias);
          lhs = arith::ExtSIOp::create(nested, loc, i32, code);
        } else {
          lhs = arith::ExtUIOp::create(nested, loc, i32, code);
        }
        Value rhs = arith::ExtSIOp::create(nested, loc, i32,
                                           arguments.drop_back().back());
        Value term = arith::MulIOp::create(nested, loc, lhs, rhs);
        return arith::AddIOp::create(nested, loc, arguments.back(), term)
            .getResult();
      });

  fetchAhead(isum, weight, tokens);

  // Scaled and added up: dims token, group bits, row.
  FactorDims dims = {groupBits + 2, 1, groupBits + 1};
  auto all = llvm::to_vector(llvm::seq<unsigned>(0, dims.dims));
  inputs = {isum};
  maps = {b.map(dims.dims, all)};
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps);
  maps.push_back(b.map(dims.dims, {0, dims.row}));
  bool adds = partial || groupBits;
  if (!partial)
    partial = b.zeros({tokens, weight.rows}, b.getF32Type());
  partial = b.generic(
      partial, inputs, maps, dims.dims,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) -> Value {
        Value scale = weight.emitScale(nested, loc, factors, dims, arguments);
        Value sum = arith::SIToFPOp::create(nested, loc, nested.getF32Type(),
                                            arguments[0]);
        Value term = arith::MulFOp::create(nested, loc, sum, scale, kContract);
        return adds ? arith::AddFOp::create(nested, loc, arguments.back(), term,
                                            kContract)
                    : term;
      });
  fetchAhead(partial, weight, tokens);
  if (weight.hasMin())
    partial = emitMinima(weight, tokens, token, at, partial);
  return partial;
}

/// The spans behind one scale of the activations, the first of which `at`
/// tells.
Value ProductSynthesizer::emitGroup(const PackedWeight &weight, int64_t tokens,
                                    Value token, SpanPosition at, Value acc) {
  int64_t spans = product.getActivationGroup() / kSpan;
  Value group = at.span, partial;
  if (spans == 1) {
    partial = emitSpan(weight, tokens, token, at, nullptr);
  } else {
    group = arith::DivUIOp::create(b, at.span, b.index(spans));
    partial =
        emitLoop(spans, b.zeros({tokens, weight.rows}, b.getF32Type()),
                 [&](Value i, Value partial) {
                   SpanPosition position = at;
                   position.span = arith::AddIOp::create(b, at.span, i);
                   return emitSpan(weight, tokens, token, position, partial);
                 });
  }
  return b.generic(
      acc, {partial, b.slice(scales, {token, group}, tokens)},
      {b.map(2, {0, 1}), b.map(2, {0}), b.map(2, {0, 1})}, 2,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) -> Value {
        Value term = arith::MulFOp::create(nested, loc, arguments[0],
                                           arguments[1], kContract);
        return arith::AddFOp::create(nested, loc, arguments.back(), term,
                                     kContract);
      });
}

/// The minima of a span, by the activations' sums. These may be finer than the
/// weight's groups, where another weight of the same product needs them so.
Value ProductSynthesizer::emitMinima(const PackedWeight &weight, int64_t tokens,
                                     Value token, const SpanPosition &at,
                                     Value acc) {
  FactorDims dims = {sumBits + 2, 1, sumBits + 1};
  SmallVector<Value> inputs = {b.slice(sums, {token, at.span}, tokens)};
  auto tokenSums = llvm::to_vector(llvm::seq<unsigned>(0, sumBits + 1));
  SmallVector<AffineMap> maps = {b.map(dims.dims, tokenSums)};
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps);
  maps.push_back(b.map(dims.dims, {0, dims.row}));
  Value result = b.generic(
      acc, inputs, maps, dims.dims,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) {
        Value min = weight.emitMin(nested, loc, factors, dims, arguments);
        Value lowered =
            arith::MulFOp::create(nested, loc, min, arguments[0], kContract);
        return arith::SubFOp::create(nested, loc, arguments.back(), lowered,
                                     kContract)
            .getResult();
      });
  fetchAhead(result, weight, tokens);
  return result;
}

/// One span with float activations: the weights' values meet them in registers.
Value ProductSynthesizer::emitExactSpan(const PackedWeight &weight,
                                        int64_t tokens, Value token,
                                        const SpanPosition &at, Value acc) {
  FactorDims dims = {kSpanDims, kX, kRow};
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  weight.collectCodes(b, at, inputs, maps);
  unsigned planes = inputs.size();
  inputs.push_back(b.slice(x, {token, at.span}, tokens));
  maps.push_back(b.map(kSpanDims, {kToken, kX, kY, kZ, kK4}));
  FactorOperands factors = weight.collectFactors(b, at, dims, inputs, maps);
  maps.push_back(b.map(kSpanDims, {kToken, kRow}));
  Value result = b.generic(
      acc, inputs, maps, kSpanDims,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) {
        Value scale = weight.emitScale(nested, loc, factors, dims, arguments);
        Value code = weight.emitCode(nested, loc, arguments.take_front(planes));
        Value wide =
            arith::ExtUIOp::create(nested, loc, nested.getI32Type(), code);
        Value biased = arith::AddIOp::create(
            nested, loc, wide,
            arith::ConstantIntOp::create(nested, loc, nested.getI32Type(),
                                         weight.getBias()));
        Value value =
            arith::SIToFPOp::create(nested, loc, nested.getF32Type(), biased);
        value = arith::MulFOp::create(nested, loc, scale, value);
        if (weight.hasMin())
          value = arith::SubFOp::create(
              nested, loc, value,
              weight.emitMin(nested, loc, factors, dims, arguments));
        Value term = arith::MulFOp::create(nested, loc, value,
                                           arguments[planes], kContract);
        return arith::AddFOp::create(nested, loc, arguments.back(), term,
                                     kContract)
            .getResult();
      });
  fetchAhead(result, weight, tokens);
  return result;
}

Value ProductSynthesizer::emitFloatProduct(const PackedWeight &weight,
                                           int64_t tokens, Value token,
                                           Value tile) {
  Value zero = b.zeros({tokens, weight.rows}, b.getF32Type());
  auto loop = scf::ForOp::create(b, b.index(0), b.index(weight.getColumns()),
                                 b.index(1), zero);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  Value k = loop.getInductionVar();
  Value row = b.slice(weight.values, {tile, k});
  auto xType = RankedTensorType::get({tokens}, b.getF32Type());
  Value column = tensor::ExtractSliceOp::create(
      b, xType, x, ArrayRef<OpFoldResult>{token, k},
      ArrayRef<OpFoldResult>{b.getIndexAttr(tokens), b.getIndexAttr(1)},
      ArrayRef<OpFoldResult>{b.getIndexAttr(1), b.getIndexAttr(1)});
  Value next = b.generic(
      loop.getRegionIterArgs()[0], {row, column},
      {b.map(2, {1}), b.map(2, {0}), b.map(2, {0, 1})}, 2,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) -> Value {
        Value value = arguments[0];
        if (!value.getType().isF32())
          value =
              arith::ExtFOp::create(nested, loc, nested.getF32Type(), value);
        Value term =
            arith::MulFOp::create(nested, loc, value, arguments[1], kContract);
        return arith::AddFOp::create(nested, loc, arguments[2], term,
                                     kContract);
      });
  scf::YieldOp::create(b, next);
  return loop.getResult(0);
}

Value ProductSynthesizer::emitLoop(int64_t count, Value initial,
                                   function_ref<Value(Value, Value)> emitBody) {
  if (count == 1)
    return emitBody(b.index(0), initial);
  auto loop =
      scf::ForOp::create(b, b.index(0), b.index(count), b.index(1), initial);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  scf::YieldOp::create(
      b, emitBody(loop.getInductionVar(), loop.getRegionIterArgs()[0]));
  return loop.getResult(0);
}

/// tokens x rows results of one tile, in registers.
Value ProductSynthesizer::emitProduct(const PackedWeight &weight,
                                      int64_t tokens, Value token, Value tile) {
  if (!weight.format)
    return emitFloatProduct(weight, tokens, token, tile);
  // Blocks, whose factors are the same throughout, and the parts of a block
  // that have a scale of the activations each, or no scale at all.
  int64_t block = weight.format.getBlock();
  int64_t part = product.isInteger() ? product.getActivationGroup() : kSpan;
  Value zero = b.zeros({tokens, weight.rows}, b.getF32Type());
  return emitLoop(
      weight.getColumns() / block, zero, [&](Value position, Value acc) {
        Value first =
            arith::MulIOp::create(b, position, b.index(block / kSpan));
        return emitLoop(block / part, acc, [&](Value i, Value acc) {
          Value span = arith::MulIOp::create(b, i, b.index(part / kSpan));
          SpanPosition at = {tile, position,
                             arith::AddIOp::create(b, first, span)};
          return product.isInteger()
                     ? emitGroup(weight, tokens, token, at, acc)
                     : emitExactSpan(weight, tokens, token, at, acc);
        });
      });
}

void ProductSynthesizer::emitTile(ProductSink &sink, int64_t tokens,
                                  Value token, Value tile, Value rowTile) {
  const PackedWeight &weight = weights[sink.products.front()];
  int64_t n = weight.type.getDimSize(0) / product.getExperts(),
          rows = weight.rows;
  Value row = arith::MulIOp::create(b, rowTile, b.index(rows));
  if (tokens > 1)
    fetchEpilogue(b, sink, product, tokens, std::min(n, rows), token, row);
  SmallVector<Value> results(weights.size());
  for (unsigned i : sink.products)
    results[i] = emitProduct(weights[i], tokens, token, tile);
  if (n % rows == 0)
    return emitEpilogue(b, sink, product, results, tokens, rows, token, row);
  // The last tile stores only the rows that exist.
  auto emitRows = [&](int64_t valid) {
    return [&, valid](OpBuilder &nested, Location loc) {
      ImplicitLocOpBuilder inner(loc, nested);
      emitEpilogue(inner, sink, product, results, tokens, valid, token, row);
      scf::YieldOp::create(inner);
    };
  };
  if (n < rows)
    return emitEpilogue(b, sink, product, results, tokens, n, token, row);
  Value full = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, rowTile,
                                     b.index(n / rows));
  scf::IfOp::create(b, full, emitRows(rows), emitRows(n % rows));
}

/// All tiles behind one result: a parallel loop over blocks of tokens and tiles
/// of rows, and inside it register tiles of decreasing numbers of tokens.
void ProductSynthesizer::emitSink(ProductSink &sink, bool last) {
  const PackedWeight &weight = weights[sink.products.front()];
  int64_t tokenTile = getTokens(sink);
  int64_t bytesPerToken = weight.getColumns() * (product.isInteger() ? 1 : 4);
  int64_t tokenBlock =
      std::max<int64_t>(tokenTile, llvm::bit_floor(uint64_t(std::max<int64_t>(
                                       1, blockBytes / bytesPerToken))));
  tokenBlock = llvm::alignTo(tokenBlock, tokenTile);
  Value blocks = arith::CeilDivUIOp::create(b, tokens, b.index(tokenBlock));
  auto forall = scf::ForallOp::create(
      b, ArrayRef<OpFoldResult>{blocks, b.getIndexAttr(weight.getTiles())},
      ValueRange{}, std::nullopt);
  if (!last)
    forall->setAttr("lumen.nowait", b.getUnitAttr());
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(forall.getBody());
  Value first =
      arith::MulIOp::create(b, forall.getInductionVar(0), b.index(tokenBlock));
  Value rest = arith::SubIOp::create(b, tokens, first);
  Value count = arith::MinUIOp::create(b, rest, b.index(tokenBlock));
  Value tile = forall.getInductionVar(1);
  emitRegisterTiles(sink, first, count, tile, tile);
}

/// The same for the weights of experts: a parallel loop over tiles of rows and
/// the groups of tokens. Tiles come first, so that all workers get equal shares
/// however the tokens are spread. The groups of a single token are equal, and
/// come first themselves: the weights of an expert are then read from end to
/// end.
void ProductSynthesizer::emitExpertSink(ProductSink &sink, bool last) {
  int64_t experts = product.getExperts();
  int64_t tiles = weights[sink.products.front()].getTiles() / experts;
  Value table = product.getGroups()
                    .getDefiningOp<bufferization::ToTensorOp>()
                    .getBuffer();
  // A group has at least one token.
  Value groups = arith::MinUIOp::create(b, tokens, b.index(experts));
  Value single = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, tokens,
                                       b.index(product.getSlots()));
  Value inner = arith::SelectOp::create(b, single, b.index(tiles), groups);
  Value count = arith::MulIOp::create(b, b.index(tiles), groups);
  auto forall = scf::ForallOp::create(b, ArrayRef<OpFoldResult>{count},
                                      ValueRange{}, std::nullopt);
  if (!last)
    forall->setAttr("lumen.nowait", b.getUnitAttr());
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(forall.getBody());
  Value outer = arith::DivUIOp::create(b, forall.getInductionVar(0), inner);
  Value rest = arith::RemUIOp::create(b, forall.getInductionVar(0), inner);
  Value rowTile = arith::SelectOp::create(b, single, rest, outer);
  Value group = arith::SelectOp::create(b, single, outer, rest);
  auto load = [&](Value row, int64_t column) -> Value {
    Value entry =
        memref::LoadOp::create(b, table, ValueRange{row, b.index(column)});
    return arith::IndexCastUIOp::create(b, b.getIndexType(), entry);
  };
  Value first = load(group, 1);
  Value end = load(arith::AddIOp::create(b, group, b.index(1)), 1);
  Value tile = arith::MulIOp::create(b, load(group, 0), b.index(tiles));
  tile = arith::AddIOp::create(b, tile, rowTile);
  emitRegisterTiles(sink, first, arith::SubIOp::create(b, end, first), tile,
                    rowTile);
}

/// The tokens `first`, … (`count` of them) in register tiles of decreasing
/// numbers of tokens. `tile` is the tile of the weights, `rowTile` that of the
/// result.
void ProductSynthesizer::emitRegisterTiles(ProductSink &sink, Value first,
                                           Value count, Value tile,
                                           Value rowTile) {
  Value lower = first;
  for (int64_t tokens = getTokens(sink); tokens >= 1; tokens /= 2) {
    Value whole = count;
    if (tokens > 1)
      whole = arith::SubIOp::create(
          b, count, arith::RemUIOp::create(b, count, b.index(tokens)));
    Value upper = arith::AddIOp::create(b, first, whole);
    auto loop = scf::ForOp::create(b, lower, upper, b.index(tokens));
    OpBuilder::InsertionGuard inLoop(b);
    b.setInsertionPointToStart(loop.getBody());
    emitTile(sink, tokens, loop.getInductionVar(), tile, rowTile);
    lower = upper;
  }
}

LogicalResult ProductSynthesizer::run() {
  SmallVector<ProductSink> sinks;
  if (failed(collectSinks(kernel, product, sinks)))
    return failure();
  b.setInsertionPoint(kernel.getBody().front().getTerminator());
  for (unsigned i = 0; i < product.getWeights().size(); ++i) {
    if (!product.getWeights()[i].getDefiningOp<FromBytesOp>() ||
        !isa_and_nonnull<PackedAttr>(
            cast<RankedTensorType>(product.getWeights()[i].getType())
                .getEncoding()))
      return product.emitOpError()
             << "needs packed weights, but weight " << i << " is "
             << product.getWeights()[i].getType();
    weights.emplace_back(b, product.getWeights()[i]);
  }
  for (const PackedWeight &weight : weights)
    if (product.getGroups() &&
        weight.type.getDimSize(0) % (product.getExperts() * weight.rows))
      return product.emitOpError()
             << "needs experts of a multiple of " << weight.rows
             << " rows, got "
             << weight.type.getDimSize(0) / product.getExperts();
  for (const PackedWeight &weight : weights)
    if (!!weight.format != !!weights.front().format)
      return product.emitOpError() << "mixes quantized and float weights";
  viewActivations();
  for (const PackedWeight &weight : weights)
    if (product.isInteger() && sumBits < weight.getGroupBits())
      return product.emitOpError()
             << "has activation sums of " << (kSpan >> sumBits)
             << " codes, but the format " << weight.format.getSymName()
             << " needs them per " << int64_t(weight.format.getGroup());
  for (const PackedWeight &weight : weights)
    if (product.isInteger() &&
        weight.getBias() % int64_t(product.getOffsetBias()))
      return product.emitOpError()
             << "has activation offsets for a bias of "
             << product.getOffsetBias() << ", which does not divide that of "
             << weight.format.getSymName() << " (" << weight.getBias() << ")";
  for (ProductSink &sink : sinks) {
    bool last = &sink == &sinks.back();
    sink.buffer = splitSlots(sink.buffer);
    if (product.getGroups())
      emitExpertSink(sink, last);
    else
      emitSink(sink, last);
  }

  // What the loops replace.
  for (Operation &op :
       llvm::make_early_inc_range(llvm::reverse(kernel.getBody().front()))) {
    bool replaced = llvm::any_of(
        sinks, [&](ProductSink &sink) { return sink.store == &op; });
    bool dead =
        op.use_empty() &&
        isa<QLinearOp, AddOp, SwigluOp, FromBytesOp, bufferization::ToTensorOp>(
            op);
    if (replaced || dead)
      op.erase();
  }
  return success();
}

struct SynthesizeProductPass final
    : lumen::impl::SynthesizeProductPassBase<SynthesizeProductPass> {
  using SynthesizeProductPassBase::SynthesizeProductPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto target = module->getAttrOfType<TargetAttr>(LumenDialect::kTargetAttr);
    for (auto kernel :
         llvm::make_early_inc_range(module.getOps<func::FuncOp>())) {
      auto kind = kernel->getAttrOfType<StringAttr>(LumenDialect::kKernelAttr);
      if (!kind || kind.getValue() != "product")
        continue;
      auto products = llvm::to_vector(kernel.getOps<QLinearOp>());
      if (products.size() != 1) {
        kernel.emitError() << "a product kernel holds one lumen.qlinear, got "
                           << products.size();
        return signalPassFailure();
      }
      TileShape shape = {0, 4};
      if (target)
        shape = {target.getRows(), target.getTokens()};
      if (tokens)
        shape.tokens = tokens;
      if (failed(ProductSynthesizer(kernel, products.front(), shape, blockBytes,
                                    prefersSignedCodes(target))
                     .run()))
        return signalPassFailure();
    }
  }
};

} // namespace

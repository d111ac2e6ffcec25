// SPDX-License-Identifier: Apache-2.0
//
// Synthesizes the kernels that re-encode a weight into its packed layout: the
// format's region decodes a block, and what it yields is spread over the
// components that `dialect/layout/PackedLayout.h` lists.
#include "dialect/layout/PackedLayout.h"
#include "passes/Passes.h"
#include "passes/check/KernelContract.h"
#include "passes/tile/FormatInliner.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::lumen {
#define GEN_PASS_DEF_SYNTHESIZEPACKPASS
#include "passes/Passes.h.inc"
} // namespace mlir::lumen

using namespace mlir;
using namespace mlir::lumen;

namespace {

using Kind = PackedComponent::Kind;

class PackSynthesizer {
public:
  PackSynthesizer(func::FuncOp kernel, PackOp pack, ToBytesOp store,
                  FromBytesOp source)
      : b(pack.getLoc(), kernel.getContext()), kernel(kernel), pack(pack),
        store(store), source(source) {}

  void run();

private:
  /// A component in the output. Its stream is seen as elements of its type
  /// (codes: as words).
  struct Destination {
    PackedComponent component;
    Value buffer;
    /// Units along K of one tile of rows.
    Value units;
    /// Bytes of an element.
    int64_t size;
  };

  Value mul(Value lhs, Value rhs) {
    return b.createOrFold<arith::MulIOp>(lhs, rhs);
  }
  Value add(Value lhs, Value rhs) {
    return b.createOrFold<arith::AddIOp>(lhs, rhs);
  }
  /// The first element of an entry in a unit of a tile.
  Value entryOf(const Destination &to, Value tile, Value unit, int64_t entry) {
    Value number = add(mul(tile, to.units), unit);
    return add(mul(number, b.index(to.component.unitBytes / to.size)),
               b.index(to.component.getEntryOffset(entry) / to.size));
  }
  /// Element `number` of the `count` that a lane has in an entry.
  Value inStep(Value lane, int64_t count, Value number) {
    return count == 1 ? lane : add(mul(lane, b.index(count)), number);
  }
  Value sizeOf(unsigned dim);
  void viewComponents();
  void emitBlock(Value tile, Value row, Value lane, Value block);
  void emitValues(Value tile);
  void storeCodes(const Destination &to, Value codes, Value tile, Value lane,
                  Value block);
  void storeWholeCodes(const Destination &to, Value codes, Value tile,
                       Value lane, Value block);
  void storeFactor(const Destination &to, Value factor, Value tile, Value lane,
                   Value block);

  KernelBuilder b;
  func::FuncOp kernel;
  PackOp pack;
  ToBytesOp store;
  FromBytesOp source;
  FormatOp format;
  Type elementType;
  PackedAttr layout;
  /// Rows of a tile, and columns of a step.
  int64_t rows = 0, step = 0;
  /// The integer that holds the codes of a step; steps of more than 8 codes
  /// take several.
  IntegerType wordType;
  int64_t wordsPerStep = 0;
  Value n, k;
  SmallVector<Destination> destinations;
};

Value PackSynthesizer::sizeOf(unsigned dim) {
  auto type = cast<RankedTensorType>(source.getWeight().getType());
  if (!type.isDynamicDim(dim))
    return b.index(type.getDimSize(dim));
  return source.getSizes()[type.getDynamicDimIndex(dim)];
}

void PackSynthesizer::viewComponents() {
  Value tiles = arith::CeilDivUIOp::create(b, n, b.index(rows));
  Value begin, end = b.index(0);
  for (const PackedComponent &component :
       getPackedComponents(format, elementType, layout)) {
    bool isCodes = component.kind == Kind::Codes;
    Type type = isCodes ? wordType : component.elementType;
    int64_t size = getBytes(type);
    Value units = b.index(1);
    if (component.columns && !format && step > 1)
      units = arith::CeilDivUIOp::create(b, k, b.index(component.columns));
    else if (component.columns)
      units = arith::DivUIOp::create(b, k, b.index(component.columns));
    Value all = mul(tiles, units);
    if (component.beginsStream) {
      begin = end;
      Value bytes = mul(all, b.index(component.unitBytes));
      Value line = b.index(kAlignment);
      end = add(begin, mul(arith::CeilDivUIOp::create(b, bytes, line), line));
    }
    Value count = mul(all, b.index(component.unitBytes / size));
    Value buffer =
        memref::ViewOp::create(b, MemRefType::get({ShapedType::kDynamic}, type),
                               store.getBytes(), begin, count);
    destinations.push_back({component, buffer, units, size});
  }
}

/// Gathers the bits of one plane: a word holds codes of a step, a byte each,
/// and the masked bits of the steps that share bytes are shifted beside each
/// other.
void PackSynthesizer::storeCodes(const Destination &to, Value codes, Value tile,
                                 Value lane, Value block) {
  BitPlane plane = to.component.plane;
  int64_t blockSize = format.getBlock(), spans = blockSize / kSpan;
  int64_t loads = plane.getLoads(step),
          stepsPerLoad = plane.getStepsPerLoad(step),
          stepsPerSpan = kSpan / step;
  int64_t wordCount = blockSize * 8 / wordType.getWidth();
  auto wordsType = VectorType::get(wordCount, wordType);
  Value words = vector::BitCastOp::create(b, wordsType, codes);
  if (plane.width < 8) {
    if (plane.offset)
      words =
          arith::ShRUIOp::create(b, words, b.integer(wordsType, plane.offset));
    constexpr int64_t kOnes = 0x0101010101010101;
    words = arith::AndIOp::create(
        b, words, b.integer(wordsType, kOnes * ((1 << plane.width) - 1)));
  }
  auto loadsType = VectorType::get(loads, wordType);
  Value firstSpan = mul(block, b.index(spans));
  for (int64_t span = 0; span < spans; ++span) {
    Value unit = add(firstSpan, b.index(span));
    for (int64_t number = 0; number < wordsPerStep; ++number) {
      Value bytes;
      for (int64_t s = 0; s < stepsPerLoad; ++s) {
        SmallVector<int64_t> mask;
        for (int64_t load = 0; load < loads; ++load)
          mask.push_back((span * stepsPerSpan + load * stepsPerLoad + s) *
                             wordsPerStep +
                         number);
        Value part = vector::ShuffleOp::create(b, words, words, mask);
        if (s)
          part = arith::ShLIOp::create(b, part,
                                       b.integer(loadsType, s * plane.width));
        bytes = bytes ? arith::OrIOp::create(b, bytes, part).getResult() : part;
      }
      for (int64_t load = 0; load < loads; ++load) {
        Value word = vector::ExtractOp::create(b, bytes, load);
        Value at = add(entryOf(to, tile, unit, load),
                       inStep(lane, wordsPerStep, b.index(number)));
        b.store(word, to.buffer, at);
      }
    }
  }
}

/// Puts the pieces of codes where they lie: a word holds codes of a step, a
/// byte each.
void PackSynthesizer::storeWholeCodes(const Destination &to, Value codes,
                                      Value tile, Value lane, Value block) {
  int64_t bits = to.component.plane.width, stepsPerSpan = kSpan / step,
          spans = int64_t(format.getBlock()) / kSpan;
  auto wordsType = VectorType::get(spans * stepsPerSpan, wordType);
  Value words = vector::BitCastOp::create(b, wordsType, codes);
  Value firstSpan = mul(block, b.index(spans));
  auto shift = [&](Value word, int64_t left) -> Value {
    if (left > 0)
      return arith::ShLIOp::create(b, word, b.integer(wordType, left));
    if (left < 0)
      return arith::ShRUIOp::create(b, word, b.integer(wordType, -left));
    return word;
  };
  for (int64_t span = 0; span < spans; ++span) {
    SmallVector<Value> loads(to.component.entries);
    for (int64_t s = 0; s < stepsPerSpan; ++s) {
      Value word = vector::ExtractOp::create(b, words, span * stepsPerSpan + s);
      int64_t upper = bits;
      for (CodePiece piece : getCodePieces(bits, s)) {
        upper -= piece.width;
        constexpr int64_t kOnes = 0x01010101;
        Value part = arith::AndIOp::create(
            b, word,
            b.integer(wordType, kOnes * (((1 << piece.width) - 1) << upper)));
        part = shift(part, piece.bit - upper);
        Value &load = loads[piece.load];
        load = load ? arith::OrIOp::create(b, load, part).getResult() : part;
      }
    }
    Value unit = add(firstSpan, b.index(span));
    for (auto [number, load] : llvm::enumerate(loads))
      b.store(load, to.buffer, add(entryOf(to, tile, unit, number), lane));
  }
}

/// Whole factors one by one; planes of fewer bits with neighbouring groups side
/// by side in a byte.
void PackSynthesizer::storeFactor(const Destination &to, Value factor,
                                  Value tile, Value lane, Value block) {
  BitPlane plane = to.component.plane;
  auto vector = dyn_cast<VectorType>(factor.getType());
  int64_t perByte = plane.getValuesPerByte();
  int64_t count = vector ? vector.getNumElements() / perByte : 1;
  if (perByte > 1) {
    if (plane.offset)
      factor =
          arith::ShRUIOp::create(b, factor, b.integer(vector, plane.offset));
    factor = arith::AndIOp::create(b, factor,
                                   b.integer(vector, (1 << plane.width) - 1));
    auto bytesType = VectorType::get(count, b.getI8Type());
    Value bytes;
    for (int64_t i = 0; i < perByte; ++i) {
      SmallVector<int64_t> mask;
      for (int64_t byte = 0; byte < count; ++byte)
        mask.push_back(byte * perByte + i);
      Value part = vector::ShuffleOp::create(b, factor, factor, mask);
      if (i)
        part = arith::ShLIOp::create(b, part,
                                     b.integer(bytesType, i * plane.width));
      bytes = bytes ? arith::OrIOp::create(b, bytes, part).getResult() : part;
    }
    factor = bytes;
  }
  // What belongs to the row is stored again by each of its blocks.
  int64_t columns = to.component.columns, entries = to.component.entries;
  Value first = b.index(0);
  if (columns)
    first = mul(block, b.index(int64_t(format.getBlock()) / columns));
  for (int64_t i = 0; i < count; ++i) {
    Value element =
        vector ? vector::ExtractOp::create(b, factor, i).getResult() : factor;
    Value unit = add(first, b.index(i / entries));
    b.store(element, to.buffer,
            add(entryOf(to, tile, unit, i % entries), lane));
  }
}

/// One block of one row; rows past the last are zeros.
void PackSynthesizer::emitBlock(Value tile, Value row, Value lane,
                                Value block) {
  auto store = [&](const DecodedBlock &decoded) {
    for (const Destination &to : destinations)
      if (to.component.isWhole)
        storeWholeCodes(to, decoded.codes, tile, lane, block);
      else if (to.component.kind == Kind::Codes)
        storeCodes(to, decoded.codes, tile, lane, block);
      else
        storeFactor(to, decoded.stored[to.component.factor], tile, lane, block);
  };
  auto zeroLike = [&](Value value) { return b.zero(value.getType()); };
  DecodedBlock decoded;
  auto storeDecoded = [&] {
    Value blocks = arith::DivUIOp::create(b, k, b.index(format.getBlock()));
    Value rowBytes = add(mul(blocks, b.index(format.getBlockBytes())),
                         b.index(format.getHeaderBytes()));
    decoded =
        inlineFormat(b, format, source.getBytes(), mul(row, rowBytes), block);
    // Rows past the last are zeros either way.
    DecodedBlock signedCodes = decoded;
    if (layout.getSignedCodes() && hasByteCodes(format))
      signedCodes.codes = arith::XOrIOp::create(
          b, decoded.codes, b.integer(decoded.codes.getType(), -kSignBias));
    store(signedCodes);
  };
  auto storeZeros = [&] {
    DecodedBlock zeros;
    zeros.codes = zeroLike(decoded.codes);
    llvm::transform(decoded.stored, std::back_inserter(zeros.stored), zeroLike);
    store(zeros);
  };
  Value exists = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, row, n);
  b.branch(exists, storeDecoded, storeZeros);
}

/// One tile of float elements: a transposition of steps; columns past the last
/// are zeros.
void PackSynthesizer::emitValues(Value tile) {
  Value count = mul(n, k);
  Value raw = memref::ViewOp::create(
      b, MemRefType::get({ShapedType::kDynamic}, elementType),
      source.getBytes(), b.index(0), count);
  const Destination &to = destinations.front();
  bool hasSteps = step > 1;
  Value units = hasSteps ? to.units : k;
  Value columns = hasSteps ? mul(units, b.index(step)) : k;
  auto isBelow = [&](Value value, Value limit) -> Value {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::ult, value, limit);
  };
  b.forEach(rows, [&](Value lane) {
    Value row = add(mul(tile, b.index(rows)), lane), isRow = isBelow(row, n);
    b.forEach(columns, [&](Value column) {
      Value exists = isRow;
      if (hasSteps)
        exists = arith::AndIOp::create(b, exists, isBelow(column, k));
      Value value = b.choose(
          exists, elementType,
          [&] { return b.load(raw, add(mul(row, k), column)); },
          [&] { return b.zero(elementType); });
      Value unit = b.divide(column, step);
      Value number = hasSteps ? b.remainder(column, step) : Value();
      Value at = mul(add(mul(tile, units), unit), b.index(rows * step));
      b.store(value, to.buffer, add(at, inStep(lane, step, number)));
    });
  });
}

void PackSynthesizer::run() {
  auto type = cast<RankedTensorType>(pack.getResult().getType());
  elementType = type.getElementType();
  layout = cast<PackedAttr>(type.getEncoding());
  rows = layout.getRows();
  step = layout.getK();
  int64_t codesPerWord = std::min<int64_t>(step, 8);
  wordType = b.getIntegerType(8 * codesPerWord);
  wordsPerStep = step / codesPerWord;
  format = lookupFormat(type, kernel);
  b.setInsertionPoint(store);
  n = sizeOf(0);
  k = sizeOf(1);
  viewComponents();
  Value tiles = arith::CeilDivUIOp::create(b, n, b.index(rows));
  b.parallel({tiles}, [&](ValueRange indices) {
    Value tile = indices[0];
    if (!format)
      return emitValues(tile);
    Value blocks = arith::DivUIOp::create(b, k, b.index(format.getBlock()));
    b.forEach(blocks, [&](Value block) {
      b.forEach(rows, [&](Value lane) {
        emitBlock(tile, add(mul(tile, b.index(rows)), lane), lane, block);
      });
    });
  });
  store.erase();
  if (pack.use_empty())
    pack.erase();
  if (source.use_empty())
    source.erase();
}

struct SynthesizePackPass final
    : lumen::impl::SynthesizePackPassBase<SynthesizePackPass> {
  void runOnOperation() override {
    auto isOfKind = [](Operation *op) { return isa<PackOp, ToBytesOp>(op); };
    for (func::FuncOp kernel : getKernels(getOperation(), KernelKind::Pack)) {
      if (failed(verifyKernel(kernel, isOfKind)))
        return signalPassFailure();
      for (auto store :
           llvm::make_early_inc_range(kernel.getOps<ToBytesOp>())) {
        auto pack = store.getWeight().getDefiningOp<PackOp>();
        auto source =
            pack ? pack.getWeight().getDefiningOp<FromBytesOp>() : nullptr;
        if (!source) {
          store.emitOpError(
              "in a pack kernel stores a lumen.pack of a weight in bytes");
          return signalPassFailure();
        }
        PackSynthesizer(kernel, pack, store, source).run();
      }
    }
  }
};

} // namespace

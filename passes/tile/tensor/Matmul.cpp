// SPDX-License-Identifier: Apache-2.0
#include "passes/tile/tensor/Matmul.h"

#include "passes/support/KernelBuilder.h"
#include "passes/support/ProductBody.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace mlir::lumen;

//===----------------------------------------------------------------------===//
// What is a product
//===----------------------------------------------------------------------===//

std::optional<MatmulLoops> lumen::findMatmul(linalg::LinalgOp op) {
  if (op.getNumDpsInputs() != 2 || op.getNumDpsInits() != 1 ||
      op.getNumReductionLoops() != 1 || !isProductBody(op))
    return std::nullopt;
  Type sum = getElementTypeOrSelf(op.getDpsInits().front().getType());
  if (!sum.isF32() && !sum.isF64())
    return std::nullopt;
  AffineMap lhs = op.getMatchingIndexingMap(op.getDpsInputOperand(0));
  AffineMap rhs = op.getMatchingIndexingMap(op.getDpsInputOperand(1));
  AffineMap out = op.getMatchingIndexingMap(op.getDpsInitOperand(0));
  for (AffineMap map : {lhs, rhs, out})
    if (!map.isProjectedPermutation())
      return std::nullopt;
  MatmulLoops loops{};
  unsigned rows = 0, columns = 0, terms = 0;
  for (auto [loop, kind] : llvm::enumerate(op.getIteratorTypesArray())) {
    bool inLhs = lhs.isFunctionOfDim(loop), inRhs = rhs.isFunctionOfDim(loop);
    if (kind == utils::IteratorType::reduction) {
      loops.k = loop;
      terms += inLhs && inRhs;
    } else if (inLhs && inRhs) {
      loops.batch.push_back(loop);
    } else if (inLhs) {
      loops.m = loop;
      ++rows;
    } else if (inRhs) {
      loops.n = loop;
      ++columns;
    }
  }
  // Columns of the result lie side by side.
  if (rows != 1 || columns != 1 || terms != 1 ||
      out.getResults().back() != getAffineDimExpr(loops.n, op->getContext()))
    return std::nullopt;
  constexpr int64_t kOpen = 64, kLeastRows = 4, kLeastColumns = 8,
                    kLeastWork = 32 * 32 * 32;
  auto size = [&](unsigned loop) {
    int64_t extent = op.getStaticLoopRanges()[loop];
    return ShapedType::isDynamic(extent) ? kOpen : extent;
  };
  if (size(loops.m) < kLeastRows || size(loops.n) < kLeastColumns ||
      size(loops.m) * size(loops.n) * size(loops.k) < kLeastWork)
    return std::nullopt;
  return loops;
}

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

namespace {

/// Terms of a sum that are added up in registers at a time.
constexpr int64_t kTerms = 256;
/// Columns whose terms stay in the cache of a worker, and rows that it takes.
constexpr int64_t kColumns = 512, kRows = 96;
/// Panels that are packed at a time.
constexpr int64_t kPackedPanels = 4;
/// Fewer columns where workers would have less than that to choose from.
constexpr int64_t kLeastTasks = 12, kLeastPanels = 2;
/// The same where one worker takes all rows.
constexpr int64_t kColumnsOfOne = 256, kRowsOfOne = 192;

class MatmulEmitter {
public:
  MatmulEmitter(linalg::LinalgOp op, const MatmulLoops &loops,
                TargetAttr target);

  void emit();

private:
  /// Where packed columns have an element: of panel, term and lane.
  using Target = function_ref<SmallVector<Value>(Value, Value, Value)>;

  void packPanels(ValueRange batch, Value firstPanel, Value endPanel,
                  Value term, Value terms, Target target);
  Value allocateRight(ArrayRef<Value> counts);
  void packRight();
  void packLeft(ValueRange batch, Value row, Value term, Value terms);
  void multiply(ValueRange batch, Value row, Value panel, Value terms,
                int64_t used, Target source);
  void multiplyPanel(ValueRange batch, Value row, Value panel, Value terms,
                     Target source);
  /// Adds `sums` of `used` vectors to the result, whose lower right corner may
  /// end before.
  void store(ArrayRef<Value> sums, ValueRange batch, Value row, Value column,
             int64_t used);
  SmallVector<Value> batchSizes();

  /// Where an operand has its element (batch, one, other).
  SmallVector<Value> place(OpOperand *operand, ValueRange batch, unsigned loop,
                           Value at, unsigned other, Value otherAt);
  Value least(Value a, Value c) { return arith::MinUIOp::create(b, a, c); }
  Value sum(Value a, Value c) { return arith::AddIOp::create(b, a, c); }
  Value minus(Value a, Value c) { return arith::SubIOp::create(b, a, c); }

  linalg::LinalgOp op;
  MatmulLoops loops;
  KernelBuilder b;
  Type element;
  int64_t lanes, rows, vectors;
  SmallVector<Value> sizes;
  OpOperand *lhs, *rhs, *out;
  /// Panels of columns there are.
  Value columnPanels;
  /// [batches, panels of columns, terms, columns of a panel], or blocks in
  /// place of batches; and of a worker [rows, terms].
  Value right, left;
};

/// Rows of a tile: as many as registers hold, or fewer where fewer are then
/// computed for nothing. Half of them still hide how long an addition takes.
static int64_t chooseRows(int64_t most, int64_t all) {
  if (ShapedType::isDynamic(all))
    return most;
  int64_t best = most;
  for (int64_t rows = most; rows >= std::max<int64_t>(most / 2, 4); --rows)
    if (llvm::alignTo(all, rows) < llvm::alignTo(all, best))
      best = rows;
  return best;
}

MatmulEmitter::MatmulEmitter(linalg::LinalgOp op, const MatmulLoops &loops,
                             TargetAttr target)
    : op(op), loops(loops), b(op->getLoc(), op->getContext()),
      lhs(op.getDpsInputOperand(0)), rhs(op.getDpsInputOperand(1)),
      out(op.getDpsInitOperand(0)) {
  b.setInsertionPoint(op);
  element = getElementTypeOrSelf(out->get().getType());
  int64_t bits = target ? target.getVectorBits() : 128;
  int64_t registers = target ? target.getVectorRegisters() : 16;
  if (target && target.hasWarps())
    bits = 128;
  lanes = std::max<int64_t>(bits / element.getIntOrFloatBitWidth(), 2);
  vectors = 2;
  // Two vectors of columns, one of a row, and one to spare.
  rows = chooseRows(std::max<int64_t>((registers - 4) / vectors, 4),
                    op.getStaticLoopRanges()[loops.m]);
}

SmallVector<Value> MatmulEmitter::place(OpOperand *operand, ValueRange batch,
                                        unsigned loop, Value at, unsigned other,
                                        Value otherAt) {
  SmallVector<Value> result;
  for (AffineExpr expr : op.getMatchingIndexingMap(operand).getResults()) {
    unsigned position = cast<AffineDimExpr>(expr).getPosition();
    if (position == loop)
      result.push_back(at);
    else if (position == other)
      result.push_back(otherAt);
    else
      result.push_back(
          batch[llvm::find(loops.batch, position) - loops.batch.begin()]);
  }
  return result;
}

/// Whether elements along the last dimension of a buffer lie side by side, and
/// that is the dimension of `loop`.
static bool isAlong(linalg::LinalgOp op, OpOperand *operand, unsigned loop) {
  auto type = cast<MemRefType>(operand->get().getType());
  auto [strides, offset] = type.getStridesAndOffset();
  auto last = cast<AffineDimExpr>(
      op.getMatchingIndexingMap(operand).getResults().back());
  return strides.back() == 1 && last.getPosition() == loop;
}

/// Panels of columns of the right factor, from `firstPanel` up to `endPanel`,
/// over some terms, filled up with zeros. They go to `target` of panel, term
/// and lane.
void MatmulEmitter::packPanels(ValueRange batch, Value firstPanel,
                               Value endPanel, Value term, Value terms,
                               Target target) {
  int64_t width = lanes * vectors;
  Value source = rhs->get(), columns = sizes[loops.n];
  auto at = [&](Value column, Value k) {
    return place(rhs, batch, loops.n, column, loops.k, sum(term, k));
  };
  auto columnOf = [&](Value panel, Value lane) {
    return sum(b.multiply(panel, width), lane);
  };
  auto put = [&](Value value, Value panel, Value k, Value lane) {
    b.store(b.convert(value, element), right, target(panel, k, lane));
  };
  auto packElement = [&](Value panel, Value k, Value lane) {
    put(b.load(source, at(columnOf(panel, lane), k)), panel, k, lane);
  };
  // Whole panels first.
  Value endWhole = least(endPanel, b.divide(columns, width));
  if (isAlong(op, rhs, loops.n)) {
    // All columns of a term: they lie side by side.
    b.forEach(terms, [&](Value k) {
      b.forEach(firstPanel, endWhole, 1, [&](Value panel) {
        for (int64_t v = 0; v < vectors; ++v) {
          Value lane = b.index(v * lanes);
          put(b.load(lanes, source, at(columnOf(panel, lane), k)), panel, k,
              lane);
        }
      });
    });
  } else {
    bool isAlongTerms = isAlong(op, rhs, loops.k);
    Value full =
        isAlongTerms ? b.multiply(b.divide(terms, lanes), lanes) : b.index(0);
    b.forEach(firstPanel, endWhole, 1, [&](Value panel) {
      // Terms that lie side by side are read together: columns may be pages
      // apart.
      if (isAlongTerms)
        b.forEach(b.index(0), full, lanes, [&](Value k) {
          b.forEach(width, [&](Value lane) {
            Value vector = b.load(lanes, source, at(columnOf(panel, lane), k));
            for (int64_t i = 0; i < lanes; ++i)
              put(vector::ExtractOp::create(b, vector, i), panel, b.add(k, i),
                  lane);
          });
        });
      b.forEach(full, terms, 1, [&](Value k) {
        b.forEach(width, [&](Value lane) { packElement(panel, k, lane); });
      });
    });
  }
  Value last = b.index(width);
  b.forEach(endWhole, endPanel, 1, [&](Value panel) {
    Value left = minus(columns, b.multiply(panel, width));
    b.forEach(terms, [&](Value k) {
      b.forEach(left, [&](Value lane) { packElement(panel, k, lane); });
      b.forEach(left, last, 1,
                [&](Value lane) { put(b.zero(element), panel, k, lane); });
    });
  });
}

/// Memory for packed columns: `tasks` times `panels`, `terms` and the width of
/// a panel.
Value MatmulEmitter::allocateRight(ArrayRef<Value> counts) {
  SmallVector<int64_t> shape;
  SmallVector<Value> open;
  for (Value count : counts) {
    APInt known;
    bool isKnown = matchPattern(count, m_ConstantInt(&known));
    shape.push_back(isKnown ? known.getZExtValue() : ShapedType::kDynamic);
    if (!isKnown)
      open.push_back(count);
  }
  shape.push_back(lanes * vectors);
  return memref::AllocOp::create(b, MemRefType::get(shape, element), open,
                                 b.getI64IntegerAttr(64));
}

/// All of the right factor, by the team.
void MatmulEmitter::packRight() {
  SmallVector<Value> counts = batchSizes();
  llvm::append_values(counts, columnPanels, sizes[loops.k]);
  right = allocateRight(counts);
  SmallVector<OpFoldResult> shared(counts.begin(), std::prev(counts.end(), 2));
  shared.push_back(OpFoldResult(b.createOrFold<arith::CeilDivUIOp>(
      columnPanels, b.index(kPackedPanels))));
  b.parallel(shared, [&](ValueRange at) {
    ValueRange batch = at.drop_back();
    Value first = b.multiply(at.back(), kPackedPanels);
    packPanels(batch, first, least(b.add(first, kPackedPanels), columnPanels),
               b.index(0), sizes[loops.k],
               [&](Value panel, Value k, Value lane) {
                 SmallVector<Value> result(batch.begin(), batch.end());
                 llvm::append_values(result, panel, k, lane);
                 return result;
               });
  });
}

/// `rows` rows of the left factor from `row` on, one behind the other. Rows
/// behind the last one are copies of it: nobody stores their sums.
void MatmulEmitter::packLeft(ValueRange batch, Value row, Value term,
                             Value terms) {
  Value last = minus(sizes[loops.m], b.index(1));
  SmallVector<Value> numbers;
  for (int64_t i = 0; i < rows; ++i)
    numbers.push_back(least(b.add(row, i), last));
  auto copy = [&](Value k, int64_t width) {
    for (int64_t i = 0; i < rows; ++i) {
      SmallVector<Value> from =
          place(lhs, batch, loops.m, numbers[i], loops.k, sum(term, k));
      Value value = width > 1 ? b.load(width, lhs->get(), from)
                              : b.load(lhs->get(), from);
      b.store(b.convert(value, element), left, {b.index(i), k});
    }
  };
  Value full = b.index(0);
  if (isAlong(op, lhs, loops.k)) {
    full = b.multiply(b.divide(terms, lanes), lanes);
    b.forEach(b.index(0), full, lanes, [&](Value k) { copy(k, lanes); });
  }
  b.forEach(full, terms, 1, [&](Value k) { copy(k, 1); });
}

void MatmulEmitter::store(ArrayRef<Value> sums, ValueRange batch, Value row,
                          Value column, int64_t used) {
  Value result = out->get();
  int64_t width = lanes * used;
  Value rowsLeft = minus(sizes[loops.m], row);
  Value columnsLeft = minus(sizes[loops.n], column);
  auto fits = [&](Value left, int64_t wanted) -> Value {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::uge, left,
                                 b.index(wanted));
  };
  Value isFull =
      arith::AndIOp::create(b, fits(rowsLeft, rows), fits(columnsLeft, width));
  auto at = [&](Value i, Value j) {
    return place(out, batch, loops.m, i, loops.n, j);
  };
  b.branch(
      isFull,
      [&] {
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t v = 0; v < used; ++v) {
            SmallVector<Value> where =
                at(b.add(row, i), b.add(column, v * lanes));
            Value before = b.load(lanes, result, where);
            b.store(arith::AddFOp::create(b, before, sums[i * used + v]),
                    result, where);
          }
      },
      [&] {
        // By way of memory of the worker.
        Value tile = b.allocateScratch({rows, width}, element);
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t v = 0; v < used; ++v)
            b.store(sums[i * used + v], tile, {b.index(i), b.index(v * lanes)});
        b.forEach(least(rowsLeft, b.index(rows)), [&](Value i) {
          b.forEach(least(columnsLeft, b.index(width)), [&](Value j) {
            SmallVector<Value> where = at(sum(row, i), sum(column, j));
            Value before = b.load(result, where);
            b.store(arith::AddFOp::create(b, before, b.load(tile, {i, j})),
                    result, where);
          });
        });
      });
}

/// A tile of the result: `rows` by a panel of columns, of which `used` vectors
/// are there, over some terms. `source`: of panel, term and lane.
void MatmulEmitter::multiply(ValueRange batch, Value row, Value panel,
                             Value terms, int64_t used, Target source) {
  SmallVector<Value> init(rows * used, b.zero(VectorType::get(lanes, element)));
  SmallVector<Value> sums =
      b.accumulate(terms, init, [&](Value k, ValueRange current) {
        SmallVector<Value> columns;
        for (int64_t v = 0; v < used; ++v)
          columns.push_back(
              b.load(lanes, right, source(panel, k, b.index(v * lanes))));
        SmallVector<Value> next;
        for (int64_t i = 0; i < rows; ++i) {
          Value x = b.broadcast(b.load(left, {b.index(i), k}), lanes);
          for (int64_t v = 0; v < used; ++v)
            next.push_back(b.multiplyAdd(x, columns[v], current[i * used + v]));
        }
        return next;
      });
  store(sums, batch, row, b.multiply(panel, lanes * vectors), used);
}

/// The same, where the last panel has fewer vectors.
void MatmulEmitter::multiplyPanel(ValueRange batch, Value row, Value panel,
                                  Value terms, Target source) {
  int64_t all = op.getStaticLoopRanges()[loops.n];
  int64_t rest = ShapedType::isDynamic(all) ? 0 : all % (lanes * vectors);
  int64_t used = llvm::divideCeil(rest, lanes);
  if (used == 0 || used == vectors)
    return multiply(batch, row, panel, terms, vectors, source);
  Value isLast = arith::CmpIOp::create(b, arith::CmpIPredicate::eq,
                                       b.add(panel, 1), columnPanels);
  b.branch(
      isLast, [&] { multiply(batch, row, panel, terms, used, source); },
      [&] { multiply(batch, row, panel, terms, vectors, source); });
}

SmallVector<Value> MatmulEmitter::batchSizes() {
  return llvm::map_to_vector(loops.batch,
                             [&](unsigned loop) { return sizes[loop]; });
}

void MatmulEmitter::emit() {
  for (Range range : op.createLoopRanges(b, b.getLoc()))
    sizes.push_back(getValueOrCreateConstantIndexOp(b, b.getLoc(), range.size));
  int64_t width = lanes * vectors;
  columnPanels =
      b.createOrFold<arith::CeilDivUIOp>(sizes[loops.n], b.index(width));
  // Where one worker has all rows, it packs what it needs of the right factor,
  // which then never leaves its cache.
  int64_t allRows = op.getStaticLoopRanges()[loops.m];
  bool packsOnce = ShapedType::isDynamic(allRows) || allRows > kRowsOfOne;
  int64_t blockRows =
      packsOnce ? llvm::alignTo(kRows, rows) : llvm::alignTo(kRowsOfOne, rows);
  int64_t blockPanels =
      std::max<int64_t>((packsOnce ? kColumns : kColumnsOfOne) / width, 1);
  int64_t allColumns = op.getStaticLoopRanges()[loops.n];
  if (packsOnce && !ShapedType::isDynamic(allRows) &&
      !ShapedType::isDynamic(allColumns))
    while (blockPanels > kLeastPanels &&
           llvm::divideCeil(allRows, blockRows) *
                   llvm::divideCeil(allColumns, blockPanels * width) <
               kLeastTasks)
      blockPanels /= 2;
  if (packsOnce)
    packRight();
  SmallVector<Value> counts = batchSizes();
  counts.push_back(
      b.createOrFold<arith::CeilDivUIOp>(sizes[loops.m], b.index(blockRows)));
  counts.push_back(
      b.createOrFold<arith::CeilDivUIOp>(columnPanels, b.index(blockPanels)));
  if (!packsOnce) {
    SmallVector<Value> kept(counts);
    llvm::append_values(kept, b.index(blockPanels), b.index(kTerms));
    right = allocateRight(kept);
  }
  SmallVector<OpFoldResult> shared(counts.begin(), counts.end());
  b.parallel(shared, [&](ValueRange at) {
    ValueRange batch = at.drop_back(2);
    Value firstRow = b.multiply(at[at.size() - 2], blockRows);
    Value firstPanel = b.multiply(at.back(), blockPanels);
    Value endRow = least(b.add(firstRow, blockRows), sizes[loops.m]);
    Value endPanel = least(b.add(firstPanel, blockPanels), columnPanels);
    // (Rows that begin at multiples of a page would share a part of the cache.)
    left = b.allocateScratch({rows, kTerms + lanes}, element);
    b.forEach(b.index(0), sizes[loops.k], kTerms, [&](Value term) {
      Value terms = least(minus(sizes[loops.k], term), b.index(kTerms));
      auto inRight = [&](Value panel, Value k, Value lane) {
        SmallVector<Value> result(packsOnce ? batch : at);
        if (packsOnce)
          llvm::append_values(result, panel, sum(term, k), lane);
        else
          llvm::append_values(result, minus(panel, firstPanel), k, lane);
        return result;
      };
      if (!packsOnce)
        packPanels(batch, firstPanel, endPanel, term, terms, inRight);
      b.forEach(firstRow, endRow, rows, [&](Value row) {
        packLeft(batch, row, term, terms);
        b.forEach(firstPanel, endPanel, 1, [&](Value panel) {
          multiplyPanel(batch, row, panel, terms, inRight);
        });
      });
    });
  });
}

} // namespace

void lumen::emitMatmul(linalg::LinalgOp op, const MatmulLoops &loops,
                       TargetAttr target) {
  MatmulEmitter(op, loops, target).emit();
}

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

class MatmulEmitter {
public:
  MatmulEmitter(linalg::LinalgOp op, const MatmulLoops &loops,
                TargetAttr target);

  void emit();

private:
  void packRight();
  void packLeft(ValueRange batch, Value row, Value term, Value terms);
  void multiply(ValueRange batch, Value row, Value panel, Value term,
                Value terms);
  /// Adds `sums` to the result, whose lower right corner may end before.
  void store(ArrayRef<Value> sums, ValueRange batch, Value row, Value column);

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
  /// [batches, panels of columns, terms, columns of a panel], and of a worker
  /// [terms, rows].
  Value right, left;
};

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
  rows = std::max<int64_t>((registers - 4) / vectors, 4);
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

/// The right factor in panels of columns, filled up with zeros.
void MatmulEmitter::packRight() {
  int64_t width = lanes * vectors;
  Value columns = sizes[loops.n], terms = sizes[loops.k];
  SmallVector<OpFoldResult> shared;
  SmallVector<int64_t> shape;
  SmallVector<Value> open;
  auto addSize = [&](Value size) {
    APInt known;
    if (matchPattern(size, m_ConstantInt(&known))) {
      shape.push_back(known.getZExtValue());
    } else {
      shape.push_back(ShapedType::kDynamic);
      open.push_back(size);
    }
  };
  for (unsigned loop : loops.batch) {
    addSize(sizes[loop]);
    shared.push_back(sizes[loop]);
  }
  Value count = b.createOrFold<arith::CeilDivUIOp>(columns, b.index(width));
  addSize(count);
  addSize(terms);
  shape.push_back(width);
  shared.push_back(count);
  right = memref::AllocOp::create(b, MemRefType::get(shape, element), open,
                                  b.getI64IntegerAttr(64));
  Value source = rhs->get();
  bool isAlongColumns = isAlong(op, rhs, loops.n);
  b.parallel(shared, [&](ValueRange at) {
    ValueRange batch = at.drop_back();
    Value panel = at.back();
    Value first = b.multiply(panel, width);
    Value left = minus(columns, first);
    Value isFull = arith::CmpIOp::create(b, arith::CmpIPredicate::uge, left,
                                         b.index(width));
    auto target = [&](Value term, Value lane) {
      SmallVector<Value> result(batch.begin(), batch.end());
      llvm::append_values(result, panel, term, lane);
      return result;
    };
    b.branch(
        isFull,
        [&] {
          b.forEach(terms, [&](Value term) {
            for (int64_t v = 0; v < vectors; ++v) {
              Value column = b.add(first, v * lanes);
              Value vector;
              if (isAlongColumns) {
                vector =
                    b.load(lanes, source,
                           place(rhs, batch, loops.n, column, loops.k, term));
              } else {
                SmallVector<Value> elements;
                for (int64_t lane = 0; lane < lanes; ++lane)
                  elements.push_back(b.load(source, place(rhs, batch, loops.n,
                                                          b.add(column, lane),
                                                          loops.k, term)));
                vector = vector::FromElementsOp::create(
                    b, VectorType::get(lanes, elements.front().getType()),
                    elements);
              }
              b.store(b.convert(vector, element), right,
                      target(term, b.index(v * lanes)));
            }
          });
        },
        [&] {
          b.forEach(terms, [&](Value term) {
            b.forEach(left, [&](Value lane) {
              Value value =
                  b.load(source, place(rhs, batch, loops.n, sum(first, lane),
                                       loops.k, term));
              b.store(b.convert(value, element), right, target(term, lane));
            });
            b.forEach(left, b.index(width), 1, [&](Value lane) {
              b.store(b.zero(element), right, target(term, lane));
            });
          });
        });
  });
}

/// `rows` rows of the left factor from `row` on, term by term. Rows behind the
/// last one are copies of it: nobody stores their sums.
void MatmulEmitter::packLeft(ValueRange batch, Value row, Value term,
                             Value terms) {
  Value last = minus(sizes[loops.m], b.index(1));
  SmallVector<Value> numbers;
  for (int64_t i = 0; i < rows; ++i)
    numbers.push_back(least(b.add(row, i), last));
  b.forEach(terms, [&](Value k) {
    for (int64_t i = 0; i < rows; ++i) {
      Value value = b.load(lhs->get(), place(lhs, batch, loops.m, numbers[i],
                                             loops.k, sum(term, k)));
      b.store(b.convert(value, element), left, {k, b.index(i)});
    }
  });
}

void MatmulEmitter::store(ArrayRef<Value> sums, ValueRange batch, Value row,
                          Value column) {
  Value result = out->get();
  int64_t width = lanes * vectors;
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
          for (int64_t v = 0; v < vectors; ++v) {
            SmallVector<Value> where =
                at(b.add(row, i), b.add(column, v * lanes));
            Value before = b.load(lanes, result, where);
            b.store(arith::AddFOp::create(b, before, sums[i * vectors + v]),
                    result, where);
          }
      },
      [&] {
        // By way of memory of the worker.
        Value tile = b.allocateScratch({rows, width}, element);
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t v = 0; v < vectors; ++v)
            b.store(sums[i * vectors + v], tile,
                    {b.index(i), b.index(v * lanes)});
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

/// A tile of the result: `rows` by a panel of columns, over some terms.
void MatmulEmitter::multiply(ValueRange batch, Value row, Value panel,
                             Value term, Value terms) {
  SmallVector<Value> init(rows * vectors,
                          b.zero(VectorType::get(lanes, element)));
  SmallVector<Value> sums =
      b.accumulate(terms, init, [&](Value k, ValueRange current) {
        SmallVector<Value> where(batch.begin(), batch.end());
        llvm::append_values(where, panel, sum(term, k), Value());
        SmallVector<Value> columns;
        for (int64_t v = 0; v < vectors; ++v) {
          where.back() = b.index(v * lanes);
          columns.push_back(b.load(lanes, right, where));
        }
        SmallVector<Value> next;
        for (int64_t i = 0; i < rows; ++i) {
          Value x = b.broadcast(b.load(left, {k, b.index(i)}), lanes);
          for (int64_t v = 0; v < vectors; ++v)
            next.push_back(
                b.multiplyAdd(x, columns[v], current[i * vectors + v]));
        }
        return next;
      });
  store(sums, batch, row, b.multiply(panel, lanes * vectors));
}

void MatmulEmitter::emit() {
  for (Range range : op.createLoopRanges(b, b.getLoc()))
    sizes.push_back(getValueOrCreateConstantIndexOp(b, b.getLoc(), range.size));
  packRight();
  int64_t width = lanes * vectors;
  int64_t blockRows = llvm::alignTo(kRows, rows);
  int64_t blockPanels = std::max<int64_t>(kColumns / width, 1);
  Value all = sizes[loops.k];
  Value columnPanels =
      b.createOrFold<arith::CeilDivUIOp>(sizes[loops.n], b.index(width));
  SmallVector<OpFoldResult> shared;
  for (unsigned loop : loops.batch)
    shared.push_back(sizes[loop]);
  shared.push_back(OpFoldResult(
      b.createOrFold<arith::CeilDivUIOp>(sizes[loops.m], b.index(blockRows))));
  shared.push_back(OpFoldResult(
      b.createOrFold<arith::CeilDivUIOp>(columnPanels, b.index(blockPanels))));
  b.parallel(shared, [&](ValueRange at) {
    ValueRange batch = at.drop_back(2);
    Value firstRow = b.multiply(at[at.size() - 2], blockRows);
    Value firstPanel = b.multiply(at.back(), blockPanels);
    Value endRow = least(b.add(firstRow, blockRows), sizes[loops.m]);
    Value endPanel = least(b.add(firstPanel, blockPanels), columnPanels);
    left = b.allocateScratch({kTerms, rows}, element);
    b.forEach(b.index(0), all, kTerms, [&](Value term) {
      Value terms = least(minus(all, term), b.index(kTerms));
      b.forEach(firstRow, endRow, rows, [&](Value row) {
        packLeft(batch, row, term, terms);
        b.forEach(firstPanel, endPanel, 1, [&](Value panel) {
          multiply(batch, row, panel, term, terms);
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

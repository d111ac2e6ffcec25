# SPDX-License-Identifier: Apache-2.0
"""Builders of the ``lumen`` dialect's operations.

Each function adds one operation at the current insertion point (``with ir.InsertionPoint(block):``), derives
the result types from the operands and returns the results. What the operations mean stands in the dialect's
reference; NumPy meanings are in ``lumen_mlir.reference``. T below is the dynamic number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from lumen_mlir import ir
from lumen_mlir.formats import kv_cache
from lumen_mlir.formats.packing import Tile

DYNAMIC = ir.ShapedType.get_dynamic_size()


# --- types and attributes -----------------------------------------------------------------------------------


def quant_type(name: str) -> ir.Type:
    """``!lumen.q<@name>``, the element type of a weight in the format ``name``."""
    return ir.Type.parse(f"!lumen.q<@{name}>")


def element_type(name: str) -> ir.Type:
    """The element type of a tensor of ggml type ``name``: f32, f16, bf16, or ``!lumen.q<@name>``."""
    return ir.Type.parse(name) if name in ("f32", "f16", "bf16") else quant_type(name)


def is_quantized(value: ir.Value) -> bool:
    """True where ``value`` is a weight that has to be dequantized."""
    return not ir.FloatType.isinstance(value.type.element_type)


def weight_type(rows: int, columns: int, name: str) -> ir.Type:
    """The type of a weight in the file's own layout."""
    return ir.RankedTensorType.get([rows, columns], element_type(name))


def vector_type(length: int) -> ir.Type:
    """The type of a norm weight or a bias: float32."""
    return ir.RankedTensorType.get([length], ir.F32Type.get())


def numbers_type(*shape: int) -> ir.Type:
    """Whole numbers, i32 [T] unless said otherwise: token ids, positions, places of a cache, rows."""
    return ir.RankedTensorType.get(list(shape) or [DYNAMIC], ir.IntegerType.get_signless(32))


def runs_type() -> ir.Type:
    """Which rows are of one sequence, i32 [runs, 3]: see ``lumen.attention``."""
    return numbers_type(DYNAMIC, 3)


def pages_type() -> ir.Type:
    """The pages of sequences, i32 [sequences, pages]: see ``lumen.attention``."""
    return numbers_type(DYNAMIC, DYNAMIC)


def rows_type(columns: int, element: ir.Type | None = None) -> ir.Type:
    """The type of T rows of activations, float32 unless said otherwise."""
    return ir.RankedTensorType.get([DYNAMIC, columns], element or ir.F32Type.get())


def cache_type(kind: str, layers: int, kv_heads: int, head_size: int, element: str = "f16") -> ir.Type:
    """The type of a KV cache; ``kind`` is "key" or "value". The dynamic extent is the capacity / 16.

    ``element``: "f16", "f32", or "q8_0" for 8-bit codes.
    """
    kv_type = kv_cache.get(element)
    sizes = [layers, kv_heads, DYNAMIC, *kv_type.block(kind, head_size)]
    return ir.RankedTensorType.get(sizes, ir.Type.parse(kv_type.element))


def _columns(value: ir.Value) -> int:
    return value.type.shape[1]


def _rows(weight: ir.Value) -> int:
    return weight.type.shape[0]


def _i64(value: int) -> ir.Attribute:
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), value)


def _create(name: str, result: ir.Type, operands: Sequence[ir.Value], **attributes: ir.Attribute) -> ir.Value:
    return ir.Operation.create(f"lumen.{name}", [result], list(operands), attributes).result


# --- operations ---------------------------------------------------------------------------------------------


def format(text: str) -> ir.Operation:
    """Adds a ``lumen.format`` given as text (``formats.get(name).emit_ir()``)."""
    operation = ir.Operation.parse(text)
    ir.InsertionPoint.current.insert(operation)  # type: ignore[union-attr]
    return operation


def dequantize(weight: ir.Value) -> ir.Value:
    """float32 [N, K] of a quantized weight."""
    shape = weight.type.shape
    return _create("dequantize", ir.RankedTensorType.get(shape, ir.F32Type.get()), [weight])


def embedding(tokens: ir.Value, table: ir.Value) -> ir.Value:
    """float32 [T, K]: the rows ``tokens`` of ``table``."""
    return _create("embedding", rows_type(_columns(table)), [tokens, table])


def linear(x: ir.Value, weight: ir.Value, bias: ir.Value | None = None) -> ir.Value:
    """float32 [T, N]: ``x`` [T, K] times the transpose of the float ``weight`` [N, K], plus ``bias`` [N]."""
    return _create("linear", rows_type(_rows(weight)), [x, weight] + ([] if bias is None else [bias]))


def rms_norm(x: ir.Value, weight: ir.Value, epsilon: float) -> ir.Value:
    """float32 [T, K]: ``x / sqrt(mean(x^2) + epsilon) * weight``; by heads as wide as ``weight``."""
    return _create("rms_norm", x.type, [x, weight], epsilon=ir.FloatAttr.get_f32(epsilon))


def rope(x: ir.Value, table: ir.Value, positions: ir.Value, head_dim: int, style: str) -> ir.Value:
    """float32 [T, heads * head_dim]: row t of ``x`` turned by row ``positions[t]`` of the table."""
    return _create(
        "rope", x.type, [x, table, positions], head_dim=_i64(head_dim), style=ir.StringAttr.get(style)
    )


def kv_append(cache: ir.Value, x: ir.Value, layer: ir.Value, places: ir.Value, kind: str) -> ir.Value:
    """The cache with row t of ``x`` at place ``places[t]`` of ``layer``; ``kind`` is "key" or "value"."""
    return _create("kv_append", cache.type, [cache, x, layer, places], kind=ir.StringAttr.get(kind))


def attention(
    q: ir.Value, k: ir.Value, v: ir.Value, layer: ir.Value, positions: ir.Value, pages: ir.Value,
    runs: ir.Value, heads: int, kv_heads: int, scale: float, window: int | None = None,
) -> ir.Value:  # fmt: skip
    """float32 [T, heads * D]: causal attention of ``q`` over the positions of each row's sequence.

    ``runs`` say which rows are of one sequence, and ``pages`` where its positions lie in the caches. With a
    ``window``, only the last ``window`` positions count.
    """
    attributes = {} if window is None else {"window": _i64(window)}
    return _create(
        "attention", q.type, [q, k, v, layer, positions, pages, runs],
        heads=_i64(heads), kv_heads=_i64(kv_heads), scale=ir.FloatAttr.get_f32(scale), **attributes,
    )  # fmt: skip


def add(lhs: ir.Value, rhs: ir.Value) -> ir.Value:
    """The sum, element by element."""
    return _create("add", lhs.type, [lhs, rhs])


def mul(lhs: ir.Value, rhs: ir.Value) -> ir.Value:
    """The product, element by element."""
    return _create("mul", lhs.type, [lhs, rhs])


def gelu(x: ir.Value) -> ir.Value:
    """``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))``, element by element."""
    return _create("gelu", x.type, [x])


def silu(x: ir.Value) -> ir.Value:
    """``x / (1 + exp(-x))``, element by element."""
    return _create("silu", x.type, [x])


def scale(x: ir.Value, factor: float) -> ir.Value:
    """``factor * x``, element by element."""
    return _create("scale", x.type, [x], factor=ir.FloatAttr.get_f32(factor))


def gate(x: ir.Value, gate: ir.Value) -> ir.Value:
    """``x`` [T, N] times the sigmoid of ``gate`` [T, 1]."""
    return _create("gate", x.type, [x, gate])


def route(
    logits: ir.Value, used: int, gating: str, normalized: bool, scale: float, bias: ir.Value | None = None
) -> list[ir.Value]:
    """The experts i32 [T, used] that ``logits`` [T, experts] choose, and their weights float32 [T, used]."""
    results = [rows_type(used, ir.IntegerType.get_signless(32)), rows_type(used)]
    attributes = {
        "gating": ir.StringAttr.get(gating),
        "normalized": ir.BoolAttr.get(normalized),
        "scale": ir.FloatAttr.get_f32(scale),
    }
    operands = [logits] if bias is None else [logits, bias]
    return list(ir.Operation.create("lumen.route", results, operands, attributes).results)


def group_tokens(experts: ir.Value, count: int) -> list[ir.Value]:
    """Tokens sorted by ``experts`` i32 [T, used] of ``count``: source and place i32 [T, used], groups i32
    [count + 1, 2]."""
    groups = ir.RankedTensorType.get([count + 1, 2], ir.IntegerType.get_signless(32))
    results = [experts.type, experts.type, groups]
    return list(ir.Operation.create("lumen.group_tokens", results, [experts], {}).results)


def gather_rows(x: ir.Value, source: ir.Value) -> ir.Value:
    """float32 [T, used * K]: the rows ``source`` i32 [T, used] of ``x`` [T, K]."""
    return _create("gather_rows", rows_type(_columns(x) * _columns(source)), [x, source])


def expert_linear(x: ir.Value, weight: ir.Value, groups: ir.Value) -> ir.Value:
    """float32 [T, used * N]: the sorted tokens ``x`` [T, used * K] times the matrices of their experts.

    ``weight`` is [experts * N, K] of floats, ``groups`` from ``group_tokens``.
    """
    experts, used = _rows(groups) - 1, _columns(x) // _columns(weight)
    return _create("expert_linear", rows_type(used * _rows(weight) // experts), [x, weight, groups])


def combine(x: ir.Value, weights: ir.Value, place: ir.Value) -> ir.Value:
    """float32 [T, N]: for each token the sum of its rows of ``x`` [T, used * N], weighted."""
    return _create("combine", rows_type(_columns(x) // _columns(place)), [x, weights, place])


def select_rows(x: ir.Value, rows: ir.Value) -> ir.Value:
    """Row ``rows[i]`` of ``x``, for each i."""
    return _create("select_rows", x.type, [x, rows])


def group_keys(x: ir.Value, group: int) -> ir.Value:
    """Whole numbers in the order of the largest values of groups of so many columns of ``x`` [T, K].

    i32 [T, groups, up to a multiple of 128], to be seen as unsigned.
    """
    groups = -(-_columns(x) // group)
    kind = rows_type(-(-groups // 128) * 128, ir.IntegerType.get_signless(32))
    return _create("group_keys", kind, [x], group=_i64(group))


def largest_groups(
    x: ir.Value, keys: ir.Value, rows: ir.Value, ranks: ir.Value, group: int
) -> list[ir.Value]:
    """Of row ``rows[i]`` of ``x``, the group of columns that is number ``ranks[i]`` by its ``group_keys``.

    Its values, float32 [N, group], and its number, i32 [N, 1].
    """
    results = [rows_type(group), rows_type(1, ir.IntegerType.get_signless(32))]
    return list(ir.Operation.create("lumen.largest_groups", results, [x, keys, rows, ranks], {}).results)


def packed(tile: Tile) -> ir.Attribute:
    """``#lumen.packed``, the encoding of the type of a packed weight."""
    return ir.Attribute.parse(str(tile))


def pack(weight: ir.Value, tile: Tile) -> ir.Value:
    """``weight`` in the packed layout of these tiles."""
    kind, layout = weight.type, packed(tile)
    return _create("pack", ir.RankedTensorType.get(kind.shape, kind.element_type, layout), [weight])


def to_bf16(x: ir.Value) -> ir.Value:
    """bf16 [T, K]: ``x`` rounded."""
    return _create("to_bf16", rows_type(_columns(x), ir.BF16Type.get()), [x])


def quantize(x: ir.Value, group: int = 32, sum_group: int = 32) -> list[ir.Value]:
    """8-bit codes of ``x`` [T, K]: codes i8 [T, K], scales f32 [T, K/group], and the codes' sums, negated as
    offsets i32 and as sums f32 [T, K/sum_group]."""
    columns = _columns(x)
    results = [
        rows_type(columns, ir.IntegerType.get_signless(8)),
        rows_type(columns // group),
        rows_type(columns // sum_group, ir.IntegerType.get_signless(32)),
        rows_type(columns // sum_group),
    ]
    attributes = {"group": _i64(group), "sum_group": _i64(sum_group)}
    return list(ir.Operation.create("lumen.quantize", results, [x], attributes).results)


def qlinear(
    activations: Sequence[ir.Value], weights: Sequence[ir.Value], biases: Sequence[ir.Value] = ()
) -> list[ir.Value]:
    """Products of one activation with each weight: float32 [T, N].

    The activation is float rows, or the four results of ``quantize``, whose group is a multiple of 32 that
    divides the blocks of all weights.
    """
    segments = ir.DenseI32ArrayAttr.get([len(activations), len(weights), len(biases), 0])
    return list(
        ir.Operation.create(
            "lumen.qlinear",
            [rows_type(_rows(weight)) for weight in weights],
            [*activations, *weights, *biases],
            {"operandSegmentSizes": segments},
        ).results
    )

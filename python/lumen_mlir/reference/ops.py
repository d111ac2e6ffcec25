# SPDX-License-Identifier: Apache-2.0
"""NumPy meaning of the model-level operations: small, plain, float32 everywhere.

T is the number of tokens of a step. The code follows the descriptions in the dialect's reference and favours
being obvious over being fast; products go through BLAS.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# The blocks of KV caches, written from the dialect's reference: ``dialect/layout/``, which kernels follow, is
# held to it.
BLOCK = 16
"""Positions of a block."""
PAGE = 64
"""Positions of a page."""
GROUP = 32
"""Values of a head that share a scale, where the cache has scales."""

# The meanings of operations by their names: ``lumen.rope`` is MEANINGS["rope"] of its operands in order and
# its attributes by name.
MEANINGS: dict[str, Callable[..., np.ndarray]] = {}


def _meaning(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    MEANINGS[function.__name__] = function
    return function


# Elements of attention scores held at once; longer chunks go through in parts.
_SCORES = 1 << 25


@_meaning
def rms_norm(x: np.ndarray, weight: np.ndarray, epsilon: float) -> np.ndarray:
    """x / sqrt(mean(x^2) + epsilon) * weight: f32 [T, K]; by heads as wide as the weight."""
    heads = x.reshape(len(x), -1, len(weight))
    mean = np.mean(heads * heads, axis=-1, keepdims=True, dtype=np.float32)
    return (heads / np.sqrt(mean + np.float32(epsilon)) * weight).reshape(x.shape)


@_meaning
def rope(x: np.ndarray, table: np.ndarray, positions: np.ndarray, head_dim: int, style: str) -> np.ndarray:
    """Turns pairs of the first ``table.shape[1]`` values of every head of x, f32 [T, heads * head_dim].

    Row t uses row ``positions[t]`` of the table: cosines, then sines.
    """
    half = table.shape[1] // 2
    rows = table[positions]
    cos, sin = rows[:, None, :half], rows[:, None, half:]
    heads = x.reshape(len(x), -1, head_dim)
    result = heads.copy()
    first, second = {
        "neox": (slice(0, half), slice(half, 2 * half)),
        "norm": (slice(0, 2 * half, 2), slice(1, 2 * half, 2)),
    }[style]
    a, b = heads[..., first], heads[..., second]
    result[..., first] = a * cos - b * sin
    result[..., second] = a * sin + b * cos
    return result.reshape(x.shape)


@_meaning
def kv_append(cache: np.ndarray, x: np.ndarray, layer: int, places: np.ndarray, kind: str) -> np.ndarray:
    """Writes row t to place ``places[t]`` of ``layer``; the cache is changed in place and returned.

    Key blocks are [head][block][d][16], value blocks [head][block][16][d]; blocks of 8-bit codes are bytes.
    """
    blocks = cache[layer]
    heads = x.reshape(len(x), blocks.shape[0], -1)
    block, offset = places // BLOCK, places % BLOCK
    if cache.dtype == np.int8:
        codes, scales = block_views(blocks, heads.shape[-1], kind)
        new_codes, new_scales = _head_codes(heads)
        new_codes = new_codes.swapaxes(0, 1) ^ (_KEY_BIAS if kind == "key" else np.int8(0))
        codes[:, block, offset] = new_codes.reshape(*new_codes.shape[:2], *codes.shape[3:])
        with np.errstate(over="ignore"):
            scales[:, block, :, offset] = new_scales
        return cache
    with np.errstate(over="ignore"):
        if kind == "key":
            blocks[:, block, :, offset] = heads
        else:
            blocks[:, block, offset, :] = heads.swapaxes(0, 1)
    return cache


# Added to the codes of keys, which makes them unsigned: the sign bit flips.
_KEY_BIAS = np.int8(-128)


def block_views(blocks: np.ndarray, size: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Views of blocks of codes, i8 [head, block, byte], that say what the bytes are.

    Returns the codes, i8 [head, block, position, d] (with the bias of keys), and the scales, f16 [head,
    block, group, position].
    """
    lead = blocks.shape[:2]
    codes, scales = blocks[..., : BLOCK * size], blocks[..., BLOCK * size :]
    strides = codes.strides[:2]
    if kind == "key":
        shape, steps = (*lead, BLOCK, size // 4, 4), (*strides, 4, 4 * BLOCK, 1)
        codes = np.lib.stride_tricks.as_strided(codes, shape, steps)
    else:
        codes = np.lib.stride_tricks.as_strided(codes, (*lead, BLOCK, size), (*strides, size, 1))
    return codes, scales.view(np.float16).reshape(*lead, -(-size // GROUP), BLOCK)


def _head_codes(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """8-bit codes of heads f32 [..., d] in groups of 32, the last shorter: i8 [..., d], f32 [..., group]."""
    parts = np.split(x, range(GROUP, x.shape[-1], GROUP), axis=-1)
    lead = x.shape[:-1]
    pairs = [quantize(part.reshape(-1, part.shape[-1]), part.shape[-1], part.shape[-1])[:2] for part in parts]
    codes = np.concatenate([code.reshape(*lead, -1) for code, _ in pairs], axis=-1)
    return codes, np.concatenate([scale.reshape(*lead, 1) for _, scale in pairs], axis=-1)


def _decode_heads(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The values of ``_head_codes``, f32 [..., d]."""
    size = codes.shape[-1]
    return codes.astype(np.float32) * np.repeat(scales.astype(np.float32), GROUP, axis=-1)[..., :size]


def _read_blocks(blocks: np.ndarray, size: int, kind: str) -> np.ndarray:
    """The positions of blocks [head, block, ...], f32 [head, position, d]."""
    if blocks.dtype == np.int8:
        codes, scales = block_views(blocks, size, kind)
        if kind == "key":
            codes = codes.reshape(*codes.shape[:3], size) ^ _KEY_BIAS
        values = _decode_heads(codes, scales.swapaxes(2, 3))
    else:
        values = blocks.swapaxes(2, 3) if kind == "key" else blocks
    return values.reshape(len(blocks), -1, size).astype(np.float32)


@_meaning
def attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, layer: int, positions: np.ndarray, pages: np.ndarray,
    runs: np.ndarray, heads: int, kv_heads: int, scale: float, window: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Causal attention: row t of q (f32 [T, heads * D]) sees the positions 0 to ``positions[t]`` of its
    sequence in ``layer``.

    With a ``window``, it sees only the last ``window`` of them. Where the caches hold 8-bit codes, queries
    become 8-bit codes too.
    """
    result, size = np.empty_like(q), q.shape[1] // heads
    for first, count, sequence in runs.tolist():
        rows = slice(first, first + count)
        position = int(positions[first])
        end = position + count
        begin = 0 if window is None else max(position - window + 1, 0) // PAGE * PAGE
        held = pages[sequence, begin // PAGE : -(-end // PAGE)]
        blocks = (held[:, None] * (PAGE // BLOCK) + np.arange(PAGE // BLOCK)).reshape(-1)
        keys = _read_blocks(k[layer][:, blocks], size, "key")[:, : end - begin]
        values = _read_blocks(v[layer][:, blocks], size, "value")[:, : end - begin]
        seen = np.arange(begin, end)
        result[rows] = _attend(q[rows], keys, values, seen, position, scale, window, k.dtype == np.int8)
    return result


def _attend(
    q: np.ndarray, keys: np.ndarray, values: np.ndarray, seen: np.ndarray, position: int, scale: float,
    window: int | None, in_codes: bool,
) -> np.ndarray:  # fmt: skip
    """Attention of one sequence, whose rows stand from ``position`` on, to the positions ``seen``.

    ``keys``, ``values``: f32 [KV head, position, D]. ``in_codes``: queries become 8-bit codes.
    """
    kv_heads, _, size = keys.shape
    tokens, group = len(q), q.shape[1] // size // kv_heads
    queries = q.reshape(tokens, kv_heads, group, size).transpose(1, 2, 0, 3)
    if in_codes:
        # Kernels scale by log2(e) too, before they round.
        scaled = queries * np.float32(scale / np.log(2))
        queries = _decode_heads(*_head_codes(scaled)) * np.float32(np.log(2))
    else:
        queries = queries * np.float32(scale)
    result = np.empty_like(queries)
    step = max(1, _SCORES // (kv_heads * group * len(seen)))
    for start in range(0, tokens, step):
        part = slice(start, min(start + step, tokens))
        # [KV head, query in group, T, position]
        scores = queries[:, :, part] @ keys.swapaxes(1, 2)[:, None]
        last = position + np.arange(part.start, part.stop)[:, None]
        hidden = seen > last if window is None else (seen > last) | (seen <= last - window)
        scores[:, :, hidden] = -np.inf
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        result[:, :, part] = (scores @ values[:, None]) / scores.sum(axis=-1, keepdims=True)
    return np.ascontiguousarray(result.transpose(2, 0, 1, 3)).reshape(tokens, -1)


@_meaning
def add(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """lhs + rhs."""
    return lhs + rhs


@_meaning
def scale(x: np.ndarray, factor: float) -> np.ndarray:
    """factor * x."""
    return x * np.float32(factor)


@_meaning
def mul(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """lhs * rhs."""
    return lhs * rhs


@_meaning
def gelu(x: np.ndarray) -> np.ndarray:
    """x / 2 * (1 + tanh(u)) with u = sqrt(2 / pi) * (x + 0.044715 x^3), which is x / (1 + exp(-2 u))."""
    wide = x.astype(np.float64)
    u = np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)
    with np.errstate(over="ignore", invalid="ignore"):
        return (wide / (1 + np.exp(-2 * u))).astype(np.float32)


@_meaning
def silu(x: np.ndarray) -> np.ndarray:
    """x / (1 + exp(-x))."""
    with np.errstate(over="ignore"):
        return x / (np.float32(1) + np.exp(-x))


@_meaning
def gate(x: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """x [T, N] times the sigmoid of gate [T, 1]."""
    return x * _sigmoid(gate)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.float32(1) / (np.float32(1) + np.exp(-x))


@_meaning
def to_bf16(x: np.ndarray) -> np.ndarray:
    """The bits of the nearest bf16 of x f32, of two equally near ones the even one: uint16 [T, K]."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    # (Only NaN goes beyond 32 bits.)
    rounded = bits + (bits >> np.uint32(16) & np.uint32(1)) + np.uint32(0x7FFF)
    rounded = np.where(np.isnan(x), bits | np.uint32(0x400000), rounded)
    return (rounded >> np.uint32(16)).astype(np.uint16)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    """The values of bf16, given as their bits, uint16: f32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


@_meaning
def select_rows(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Row ``rows[i]`` of x, for each i."""
    return x[rows]


@_meaning
def group_keys(x: np.ndarray, group: int) -> np.ndarray:
    """What orders groups of columns of x f32 [T, K] by their largest values: i32 [T, groups, padded].

    Unsigned integers in the order of the values, where NaN is larger than any number and -0 is 0. Behind
    the groups there are zeros up to a multiple of 128.
    """
    bits = np.where(x == 0, np.float32(0), x).view(np.uint32)
    keys = np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))
    keys[np.isnan(x)] = 0xFFFFFFFF
    groups = -(-x.shape[1] // group)
    padded = np.zeros((len(x), -(-groups // 128) * 128 * group), np.uint32)
    padded[:, : x.shape[1]] = keys
    return padded.reshape(len(x), -1, group).max(axis=2).view(np.int32)


def largest_groups(
    x: np.ndarray, keys: np.ndarray, rows: np.ndarray, ranks: np.ndarray, group: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of row rows[i] of x, the group that is number ranks[i] by its keys: f32 [N, group], i32 [N, 1].

    Equal keys are in the order of the groups. Of the last group there are the last columns of the row.
    """
    order = np.argsort(~keys.view(np.uint32), axis=1, kind="stable")
    numbers = order[rows, ranks].astype(np.int32)
    begins = np.minimum(numbers * group, x.shape[1] - group)
    values = x[rows[:, np.newaxis], begins[:, np.newaxis] + np.arange(group)]
    return values, numbers[:, np.newaxis]


@_meaning
def gather_rows(x: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The rows ``source`` i32 [T, slots] of x f32 [T, K], side by side: f32 [T, slots * K]."""
    return x[source].reshape(len(x), -1)


def route(
    logits: np.ndarray, bias: np.ndarray | None, used: int, gating: str, normalized: bool, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """The experts of each token, i32 [T, used] with the likeliest first, and their weights, f32 [T, used]."""
    if gating == "softmax":
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    else:
        probabilities = _sigmoid(logits)
    choice = probabilities if bias is None else probabilities + bias
    experts = np.argsort(-choice, axis=1, kind="stable")[:, :used].astype(np.int32)
    weights = np.take_along_axis(probabilities, experts, axis=1)
    if normalized:
        weights = weights / weights.sum(axis=1, keepdims=True)
    return experts, weights * np.float32(scale)


def group_tokens(chosen: np.ndarray, experts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of a token and an expert, sorted by the expert: see ``lumen.group_tokens``."""
    order = np.argsort(chosen, axis=None, kind="stable")
    place = np.empty(chosen.size, np.int32)
    place[order] = np.arange(chosen.size)
    groups = np.zeros((experts + 1, 2), np.int32)
    groups[:, 1] = chosen.size
    numbers, first = np.unique(chosen.reshape(-1)[order], return_index=True)
    groups[: len(numbers)] = np.stack([numbers, first], axis=1)
    source = (order // chosen.shape[1]).astype(np.int32)
    return source.reshape(chosen.shape), place.reshape(chosen.shape), groups


@_meaning
def combine(x: np.ndarray, weights: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Each token's rows of x (f32 [T, slots * N], seen as rows of N), weighted and added up: f32 [T, N]."""
    tokens, slots = place.shape
    rows = x.reshape(tokens * slots, -1)
    return sum(weights[:, s, None] * rows[place[:, s]] for s in range(slots))


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """x times the transpose of weight (f32 [N, K]), plus bias: f32 [T, N]."""
    y = x @ weight.T
    return y if bias is None else y + bias


def activation_group(block: int) -> int:
    """How many codes of an activation share a scale where they meet a weight in blocks of ``block``.

    256 where blocks are multiples of it, 32 otherwise, as in ggml.
    """
    return 256 if block % 256 == 0 else 32


def quantize(
    x: np.ndarray, group: int, sum_group: int, bias: int = -1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """8-bit codes of activations f32 [T, K].

    Returns codes i8 [T, K], scales f32 [T, K/group], offsets i32 [T, K/sum_group] (``bias`` times the
    sum of the codes) and sums f32 [T, K/sum_group] (the sum of the codes).
    """
    tokens = len(x)
    groups = x.reshape(tokens, -1, group)
    largest = np.abs(groups).max(axis=-1)
    scales = largest / np.float32(127)
    # The inverse of smaller ones does not fit float32.
    usable = largest >= np.float32(2.0**-120)
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=usable)
    codes = np.rint(groups * inverse[..., None]).astype(np.int8).reshape(x.shape)
    totals = codes.reshape(tokens, -1, sum_group).sum(axis=-1, dtype=np.int32)
    return codes, scales, bias * totals, totals.astype(np.float32)


def integer_product(
    codes: np.ndarray, scales: np.ndarray, sums: np.ndarray,
    values: np.ndarray, weight_scales: np.ndarray, minima: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """The product of 8-bit activations with a quantized weight, in the order that kernels follow.

    Args:
      codes, scales, sums: from ``quantize``; ``sums`` at the granularity of the weight's groups.
      values: f32 [G, g, N]: integers v(code) of each group of g weights, exact in float32.
      weight_scales, minima: f32 [G, N].

    For each scale of the activations in ascending order
    ``y += xscale * (f32(isum) * scale - min * sum + ...)`` over the groups behind it. Integer sums are below
    2^24, so the float32 matrix product that computes them is exact. Where minima are integers times a float
    of the block, kernels add up the integers' products first, with one rounding instead of one each. Returns
    f32 [T, N].
    """
    tokens, columns = codes.shape
    groups, size, rows = values.shape
    per_scale = columns // scales.shape[1] // size  # weight groups per activation scale
    x = codes.astype(np.float32).reshape(tokens, groups, size)
    y = np.zeros((tokens, rows), dtype=np.float32)
    for span in range(groups // per_scale):
        inside = range(span * per_scale, (span + 1) * per_scale)
        scaled = np.zeros_like(y)
        for g in inside:
            scaled += (np.ascontiguousarray(x[:, g]) @ values[g]) * weight_scales[g]
            if minima is not None:
                scaled -= minima[g] * sums[:, g, None]
        y += scaled * scales[:, span, None]
    return y

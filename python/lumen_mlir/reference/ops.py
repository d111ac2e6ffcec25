# SPDX-License-Identifier: Apache-2.0
"""NumPy meaning of the model-level operations: small, plain, float32 everywhere.

T is the number of tokens of a step. The code follows the descriptions in the dialect's reference and favours
being obvious over being fast; products go through BLAS.
"""

from __future__ import annotations

import numpy as np

# Elements of attention scores held at once; longer chunks go through in parts.
_SCORES = 1 << 25
PAGE = 16


def rms_norm(x: np.ndarray, weight: np.ndarray, epsilon: float) -> np.ndarray:
    """x / sqrt(mean(x^2) + epsilon) * weight: f32 [T, K]; by heads as wide as the weight."""
    heads = x.reshape(len(x), -1, len(weight))
    mean = np.mean(heads * heads, axis=-1, keepdims=True, dtype=np.float32)
    return (heads / np.sqrt(mean + np.float32(epsilon)) * weight).reshape(x.shape)


def rope(x: np.ndarray, table: np.ndarray, position: int, head_dim: int, style: str) -> np.ndarray:
    """Turns pairs of the first ``table.shape[1]`` values of every head of x, f32 [T, heads * head_dim].

    Row t uses row ``position + t`` of the table: cosines, then sines.
    """
    tokens, half = len(x), table.shape[1] // 2
    rows = table[position : position + tokens]
    cos, sin = rows[:, None, :half], rows[:, None, half:]
    heads = x.reshape(tokens, -1, head_dim)
    result = heads.copy()
    first, second = {
        "neox": (slice(0, half), slice(half, 2 * half)),
        "norm": (slice(0, 2 * half, 2), slice(1, 2 * half, 2)),
    }[style]
    a, b = heads[..., first], heads[..., second]
    result[..., first] = a * cos - b * sin
    result[..., second] = a * sin + b * cos
    return result.reshape(x.shape)


def kv_append(cache: np.ndarray, x: np.ndarray, layer: int, position: int, kind: str) -> np.ndarray:
    """Writes rows ``position`` to ``position + T`` of ``layer``; the cache is changed in place and returned.

    Key pages are [head][page][d][16], value pages [head][page][16][d]. Positions past the last page go on at
    the first one.
    """
    pages = cache[layer]
    heads = x.reshape(len(x), pages.shape[0], -1)
    positions = np.arange(position, position + len(x))
    page, offset = positions // PAGE % pages.shape[1], positions % PAGE
    with np.errstate(over="ignore"):
        if kind == "key":
            pages[:, page, :, offset] = heads
        else:
            pages[:, page, offset, :] = heads.swapaxes(0, 1)
    return cache


def attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, layer: int, position: int,
    heads: int, kv_heads: int, scale: float, window: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Causal attention: row t of q (f32 [T, heads * D]) sees positions 0 to ``position + t`` of ``layer``.

    With a ``window``, it sees only the last ``window`` of them.
    """
    tokens, end = len(q), position + len(q)
    begin = 0 if window is None else max(position - window + 1, 0) // PAGE * PAGE
    pages = np.arange(begin // PAGE, -(-end // PAGE)) % k.shape[2]
    keys = k[layer][:, pages].swapaxes(1, 2)  # [kv head, D, page, 16]
    size = keys.shape[1]
    keys = keys.reshape(kv_heads, size, -1)[:, :, : end - begin].astype(np.float32)
    values = v[layer][:, pages].reshape(kv_heads, -1, size)[:, : end - begin].astype(np.float32)
    group = heads // kv_heads
    queries = q.reshape(tokens, kv_heads, group, size).transpose(1, 2, 0, 3) * np.float32(scale)
    result = np.empty_like(queries)
    step = max(1, _SCORES // (heads * (end - begin)))
    seen = np.arange(begin, end)[None, :]
    for start in range(0, tokens, step):
        part = slice(start, min(start + step, tokens))
        scores = queries[:, :, part] @ keys[:, None]  # [kv head, query in group, T, position]
        last = position + np.arange(part.start, part.stop)[:, None]
        hidden = seen > last if window is None else (seen > last) | (seen <= last - window)
        scores[:, :, hidden] = -np.inf
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        result[:, :, part] = (scores @ values[:, None]) / scores.sum(axis=-1, keepdims=True)
    return np.ascontiguousarray(result.transpose(2, 0, 1, 3)).reshape(tokens, -1)


def swiglu(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """silu(gate) * up."""
    with np.errstate(over="ignore"):
        return gate / (np.float32(1) + np.exp(-gate)) * up


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """x times the transpose of weight (f32 [N, K]), plus bias: f32 [T, N]."""
    y = x @ weight.T
    return y if bias is None else y + bias


def quantize(
    x: np.ndarray, group: int, sum_group: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """8-bit codes of activations f32 [T, K].

    Returns codes i8 [T, K], scales f32 [T, K/group], offsets i32 [T, K/sum_group] (minus the sum of the
    codes) and sums f32 [T, K/sum_group] (scale times the sum of the codes).
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
    sums = np.repeat(scales, group // sum_group, axis=1) * totals.astype(np.float32)
    return codes, scales, -totals, sums


def integer_product(
    codes: np.ndarray, scales: np.ndarray, sums: np.ndarray,
    values: np.ndarray, weight_scales: np.ndarray, minima: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """The product of 8-bit activations with a quantized weight, in the order that kernels follow.

    Args:
      codes, scales, sums: from ``quantize``; ``sums`` at the granularity of the weight's groups.
      values: f32 [G, g, N]: integers v(code) of each group of g weights, exact in float32.
      weight_scales, minima: f32 [G, N].

    Per group in ascending order ``y += f32(isum) * (scale * xscale)``, then ``y += -min * sum``. Integer sums
    are below 2^24, so the float32 matrix product that computes them is exact. Returns f32 [T, N].
    """
    tokens, columns = codes.shape
    groups, size, rows = values.shape
    per_scale = columns // scales.shape[1] // size  # weight groups per activation scale
    x = codes.astype(np.float32).reshape(tokens, groups, size)
    y = np.zeros((tokens, rows), dtype=np.float32)
    for g in range(groups):
        isum = np.ascontiguousarray(x[:, g]) @ values[g]
        y += isum * (weight_scales[g] * scales[:, g // per_scale, None])
        if minima is not None:
            y += -minima[g] * sums[:, g, None]
    return y

# SPDX-License-Identifier: Apache-2.0
"""Quantizers that follow from the description: round to nearest, with one least-squares step for the scales.

For q8_0, q4_0, q4_1, q5_0 and q5_1 the bytes are those of llama.cpp's reference quantizer; for other formats
it searches longer for the scales.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import LumenError
from .bounds import bounds
from .encode import encoder
from .quantized import Decoded, Factor, QuantFormat
from .types import from_float32, i8, to_float32

if TYPE_CHECKING:
    from . import Format

_BATCH = 1 << 18


def _inverse(values: np.ndarray) -> np.ndarray:
    """1 / values, and 0 for 0 and for subnormal numbers, whose inverse may overflow."""
    return np.where(np.abs(values) < np.finfo(np.float32).tiny, np.float32(0), np.float32(1) / values)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, and 0 where the denominator is 0 (a table may hold one value only)."""
    return np.where(denominator == 0, np.float32(0), numerator / denominator)


def _round_away(values: np.ndarray) -> np.ndarray:
    """Rounds halves away from zero, like C's roundf."""
    size = np.abs(values)
    whole = np.floor(size)
    return np.copysign(whole + np.floor(2 * (size - whole)), values)


def _is_signed_byte(fmt: QuantFormat) -> bool:
    return fmt.table is None and fmt.bits == 8 and fmt.bias == -128


def _codes(fmt: QuantFormat, scaled: np.ndarray) -> np.ndarray:
    """The codes whose values are nearest to ``scaled`` (float32), uint8."""
    if fmt.table is not None:
        values = np.array(fmt.table, dtype=np.float32)
        order = np.argsort(values, kind="stable").astype(np.uint8)
        middles = (values[order][1:] + values[order][:-1]) / 2
        return order[np.searchsorted(middles, scaled)]
    if _is_signed_byte(fmt):
        return (_round_away(scaled) + 128).clip(0, 255).astype(np.uint8)
    return (scaled + np.float32(0.5 - fmt.bias)).clip(0, (1 << fmt.bits) - 1).astype(np.uint8)


def _sub_range(factor: Factor) -> tuple[int, int]:
    """Smallest and largest integer that every group's factor can hold."""
    low, high = bounds(factor.sub)
    return int(low.max()), int(high.min())


def _extreme(groups: np.ndarray) -> np.ndarray:
    """The element of greatest magnitude of each group, with its sign."""
    index = np.abs(groups).argmax(axis=-1)[..., None]
    return np.take_along_axis(groups, index, axis=-1)[..., 0]


def _store(factor: Factor, ideal: np.ndarray) -> tuple[tuple, np.ndarray]:
    """Rounds ideal factors float32 [n, groups] to what the format holds: (super, sub) and their product."""
    super_type, sub_type = factor.types
    if sub_type is None:
        stored = from_float32(ideal[:, :1], super_type)  # all groups want the same
        return (stored, None), to_float32(stored, super_type)
    if super_type is None:
        if sub_type is i8:
            low, high = _sub_range(factor)
            sub = np.rint(ideal).clip(low, high).astype(np.int8)
        else:
            sub = from_float32(ideal, sub_type)
        return (None, sub), to_float32(sub, sub_type)
    peak = _extreme(ideal)[:, None]
    low, high = _sub_range(factor) if sub_type is i8 else (0, 1)
    # The greatest factor takes the end of the range that reaches farther, whatever its sign.
    block = from_float32(peak / np.float32(low if -low > high else high), super_type)
    scaled = ideal * _inverse(to_float32(block, super_type))
    if sub_type is i8:
        sub = np.rint(scaled).clip(low, high).astype(np.int8)
    else:
        sub = from_float32(scaled, sub_type)
    return (block, sub), to_float32(block, super_type) * to_float32(sub, sub_type)


def _one_sign(factor: Factor) -> bool:
    return factor.sub is not None and factor.sub.dtype is i8 and _sub_range(factor)[0] >= 0


def _scaled_blocks(fmt: QuantFormat, groups: np.ndarray) -> Decoded:
    """Formats without minimum; groups float32 [n, groups, group]."""
    if fmt.scale.sub is None:
        groups = groups.reshape(len(groups), 1, fmt.block)
    values = fmt.values[: len(fmt.table)] if fmt.table is not None else fmt.values
    reach = values[np.abs(values).argmax()]
    extreme = _extreme(groups)
    if _is_signed_byte(fmt):
        scale = np.abs(extreme) / np.float32(127)
    elif _one_sign(fmt.scale):
        scale = _ratio(np.abs(extreme), np.abs(reach))
    else:
        scale = _ratio(extreme, reach)
    if fmt.table is not None or fmt.scale.sub is not None:
        decoded = fmt.values[_codes(fmt, groups * _inverse(scale)[..., None])]
        scale = _ratio(np.einsum("ngk,ngk->ng", decoded, groups), np.einsum("ngk,ngk->ng", decoded, decoded))
        if _one_sign(fmt.scale):
            scale = np.maximum(scale, 0)
    pair, actual = _store(fmt.scale, scale)
    # With one scale per block the codes follow the unrounded scale, as in llama.cpp.
    codes = _codes(fmt, groups * _inverse(scale if fmt.scale.sub is None else actual)[..., None])
    return Decoded(codes, pair, None)


def _affine_blocks(fmt: QuantFormat, groups: np.ndarray) -> Decoded:
    """Formats with a minimum; groups float32 [n, groups, group]."""
    values = fmt.values[: len(fmt.table)] if fmt.table is not None else fmt.values
    low, high = values.min(), values.max()
    shared_minimum = fmt.min.sub is None
    smallest = groups.min(axis=-1)
    if shared_minimum:
        smallest = np.broadcast_to(smallest.min(axis=1, keepdims=True), smallest.shape)
    if _one_sign(fmt.min):
        # A minimum that cannot raise weights: zero stays representable.
        smallest = np.minimum(smallest, 0)
    scale = _ratio(groups.max(axis=-1) - smallest, high - low)
    if fmt.scale.sub is None or (shared_minimum and low != 0):
        scale = np.broadcast_to(scale.max(axis=1, keepdims=True), scale.shape)
    # Written so that a smallest weight of 0 keeps its sign.
    minimum = -(smallest - scale * low)
    if fmt.scale.sub is not None and not shared_minimum:
        decoded = fmt.values[_codes(fmt, (groups + minimum[..., None]) * _inverse(scale)[..., None])]
        scale, minimum = _least_squares(groups, decoded, _one_sign(fmt.min))
    scale_pair, actual_scale = _store(fmt.scale, scale)
    minimum_pair, actual_minimum = _store(fmt.min, minimum)
    if fmt.scale.sub is not None or not shared_minimum:
        scale, minimum = actual_scale, actual_minimum
    codes = _codes(fmt, (groups + minimum[..., None]) * _inverse(scale)[..., None])
    return Decoded(codes, scale_pair, minimum_pair)


def _least_squares(groups: np.ndarray, decoded: np.ndarray, one_sign: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scale and minimum [n, groups] for which scale * decoded - minimum is nearest to the weights."""
    count = np.float32(groups.shape[-1])
    sum_v, sum_x = decoded.sum(axis=-1), groups.sum(axis=-1)
    sum_vv = np.einsum("ngk,ngk->ng", decoded, decoded)
    sum_vx = np.einsum("ngk,ngk->ng", decoded, groups)
    scale = _ratio(count * sum_vx - sum_v * sum_x, count * sum_vv - sum_v * sum_v)
    minimum = (scale * sum_v - sum_x) / count
    if one_sign:
        scale = np.where(minimum < 0, _ratio(sum_vx, sum_vv), scale)
        minimum = np.maximum(minimum, 0)
    return np.maximum(scale, 0), minimum


def _quantize_blocks(fmt: QuantFormat, blocks: np.ndarray) -> Decoded:
    """Codes and factors of float32 [n, block]."""
    if not np.isfinite(blocks).all():
        raise LumenError(f"cannot quantize to {fmt.name}: some weights are infinite or NaN")
    groups = blocks.reshape(len(blocks), -1, fmt.group)
    with np.errstate(all="ignore"):
        decoded = (_scaled_blocks if fmt.min is None else _affine_blocks)(fmt, groups)
    for name, factor in fmt.factors:
        for part, dtype in zip(getattr(decoded, name), factor.types, strict=True):
            if part is not None and not np.isfinite(to_float32(part, dtype)).all():
                raise LumenError(f"cannot quantize to {fmt.name}: a weight is too large for its {name}")
    return Decoded(decoded.codes.reshape(blocks.shape), decoded.scale, decoded.min)


def quantize(fmt: Format | str, weights: np.ndarray) -> np.ndarray:
    """Quantizes weights.

    Args:
      fmt: a format or its name.
      weights: finite floats [..., K], K a multiple of the block.

    Returns bytes uint8 [..., K / block * bytes_per_block]. Raises LumenError for other widths, weights that
    are not finite or too large for the format's scales, and formats whose bits are not plain fields.
    """
    if isinstance(fmt, str):
        from . import get

        fmt = get(fmt)
    if fmt.is_float:
        return fmt.quantize(weights)
    weights = np.asarray(weights)
    width = fmt.row_bytes(weights.shape[-1])
    encode = encoder(fmt)
    blocks = weights.reshape(-1, fmt.block)
    raw = np.empty((len(blocks), fmt.bytes_per_block), dtype=np.uint8)
    step = max(1, _BATCH // fmt.block)
    for start in range(0, len(blocks), step):
        batch = blocks[start : start + step].astype(np.float32, copy=False)
        raw[start : start + step] = encode(_quantize_blocks(fmt, batch))
    return raw.reshape(*weights.shape[:-1], width)

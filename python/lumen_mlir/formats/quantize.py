# SPDX-License-Identifier: Apache-2.0
"""Quantizers that follow from the description: its grids, a search on them, the inverse of its decode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import LumenError
from . import registry
from .arrays import float_array, from_float32, to_float32
from .encode import Encoder, encoder
from .graph import DType
from .quantized import Decoded, QuantFormat
from .search import Found, search

if TYPE_CHECKING:
    from .described import Format
    from .floats import FloatFormat

# Weights searched for at once: what a pass reads and writes stays in the second-level cache.
_BATCH = 1 << 18


def _stored(values: np.ndarray, dtype: DType) -> np.ndarray:
    return from_float32(values, dtype) if dtype.kind == "f" else values.astype(dtype.numpy)


def _by_block(array: np.ndarray) -> np.ndarray:
    """[..., blocks] -> [blocks, ...], each block in one piece."""
    return np.ascontiguousarray(array.T)


class _Quantizer:
    """Quantizes rows of one format."""

    def __init__(self, fmt: QuantFormat, columns: int):
        self._format = fmt
        self._encoder: Encoder = encoder(fmt)
        self._grid = self._encoder.code_grid
        self._factor_grids = self._encoder.factor_grids
        per_group = any(pair[1] is not None for pair in self._factor_grids.values())
        # Weights whose codes are found together, and those that share the finest factors.
        self.unit, self._group = fmt.block, fmt.group if per_group else fmt.block
        if fmt.header_bytes:
            self._check_header(per_group)
            self.unit = self._group = columns
        # value + 128 (all code values of tables are i8) -> code
        self._codes = np.zeros(256, dtype=np.uint8)
        if fmt.table is not None:
            for code in reversed(range(len(fmt.table))):
                self._codes[fmt.table[code] + 128] = code

    def _check_header(self, per_group: bool) -> None:
        if per_group or not all(self._format.of_rows(factor) for _, factor in self._format.factors):
            raise LumenError(
                f"format '{self._format.name}' cannot be encoded: it has factors of rows and others"
            )

    def __call__(self, blocks: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        """Weights float32 [units, unit] -> bytes uint8 [units, bytes]."""
        x = self._lanes(blocks)
        with np.errstate(all="ignore"):
            found = search(
                x, None if importance is None else self._lanes(importance), self._grid, self._factor_grids
            )
            return self._encoder(self._decoded(found))

    def _lanes(self, blocks: np.ndarray) -> np.ndarray:
        """[blocks, block] -> [group, groups, blocks]"""
        return np.ascontiguousarray(blocks.reshape(len(blocks), -1, self._group).transpose(2, 1, 0))

    def _decoded(self, found: Found) -> Decoded:
        fmt, values = self._format, found.values
        if fmt.table is None:
            codes = (values - np.float32(fmt.bias)).astype(np.uint8)
        else:
            codes = self._codes[(values + np.float32(128)).astype(np.uint8)]
        codes = np.ascontiguousarray(codes.transpose(2, 1, 0)).reshape(-1, self.unit)
        pairs = []
        for name, factor in fmt.factors:
            parts: list[np.ndarray | None] = []
            for ideal, dtype in zip(found.factors[name], factor.types, strict=True):
                if ideal is None or dtype is None:
                    parts.append(None)
                    continue
                part = _stored(_by_block(np.atleast_2d(ideal)), dtype)
                part = np.repeat(part, self.unit // fmt.block, axis=1)
                if not np.isfinite(to_float32(part, dtype)).all():
                    raise LumenError(f"cannot quantize to {fmt.name}: a weight is too large for its {name}")
                parts.append(part)
            per_block, per_group = parts
            pairs.append((per_block, per_group))
        return Decoded(codes, pairs[0], pairs[1] if len(pairs) > 1 else None)


def quantize(fmt: Format | str, weights: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """Quantizes weights.

    Args:
      fmt: a format or its name.
      weights: finite floats [..., K], K a multiple of the block.
      importance: floats [K] or [..., K], at least 0: what the square of each weight's error counts.

    Returns bytes uint8 [..., row_bytes(K)]. Raises LumenError for other widths, weights that
    are not finite or too large for the format's scales, and formats that cannot be encoded.
    """
    if isinstance(fmt, str) or not hasattr(fmt, "is_float"):
        fmt = registry.get(fmt)  # type: ignore[arg-type]
    weights = float_array(weights)
    if fmt.is_float:
        return _rounded(fmt, weights)
    width = fmt.row_bytes(weights.shape[-1])
    quantizer = _Quantizer(fmt, weights.shape[-1])
    units = weights.reshape(-1, quantizer.unit)
    if importance is not None:
        importance = np.broadcast_to(_checked(importance), weights.shape).reshape(-1, quantizer.unit)
    raw = np.empty((len(units), fmt.row_bytes(quantizer.unit)), dtype=np.uint8)
    step = max(1, _BATCH // quantizer.unit)
    for start in range(0, len(units), step):
        part = slice(start, start + step)
        batch = units[part].astype(np.float32, copy=False)
        _check_finite(fmt, batch)
        raw[part] = quantizer(batch, None if importance is None else importance[part])
    return raw.reshape(*weights.shape[:-1], width)


def _rounded(fmt: FloatFormat, weights: np.ndarray) -> np.ndarray:
    _check_finite(fmt, weights)
    raw = fmt.quantize(weights)
    if not np.isfinite(fmt.dequantize(raw)).all():
        raise LumenError(f"cannot convert to {fmt.name}: a weight is too large")
    return raw


def _check_finite(fmt: Format, weights: np.ndarray) -> None:
    if not np.isfinite(weights).all():
        raise LumenError(f"cannot quantize to {fmt.name}: some weights are infinite or NaN")


def _checked(importance: np.ndarray) -> np.ndarray:
    importance = float_array(importance).astype(np.float32, copy=False)
    if not np.isfinite(importance).all() or (importance < 0).any():
        raise LumenError("the importance of a weight is a finite number of at least 0")
    # A little is left for weights of importance 0: they must not take any value whatever.
    return importance + max(importance.mean(), np.float32(1e-30)) * np.float32(1e-4)

# SPDX-License-Identifier: Apache-2.0
"""NumPy arrays of the element types: checked, converted to float32 and rounded from it."""

from __future__ import annotations

import numpy as np

from ..errors import LumenError, shown
from .graph import DType, bf16


def whole_length(length: int) -> int:
    """``length``, if it is the length of a row; ``LumenError`` otherwise."""
    if not isinstance(length, (int, np.integer)) or isinstance(length, bool) or length < 0:
        raise LumenError(f"the length of a row is a whole number of at least 0, not {shown(length)}")
    return int(length)


def float_array(weights: np.ndarray) -> np.ndarray:
    """``weights`` as an array of at least one dimension; ``LumenError`` where they are no numbers."""
    try:
        array = np.asarray(weights)
    except Exception:
        array = np.empty((), object)
    if array.dtype.kind not in "fiu" or not array.ndim:
        raise LumenError(f"weights are an array of floats, not {shown(weights)}")
    return array


def to_float32(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Converts stored values of any type to float32; bf16 comes as its 16 bits."""
    if dtype is bf16:
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.astype(np.float32)


def from_float32(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Rounds float32 values to a float type, to the nearest even; bf16 as its 16 bits."""
    if dtype is not bf16:
        with np.errstate(over="ignore"):
            return values.astype(dtype.numpy)
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype(np.uint16)

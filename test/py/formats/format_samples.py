# SPDX-License-Identifier: Apache-2.0
"""Helpers shared by the tests of formats."""

import numpy as np


def same_floats(actual: np.ndarray, expected: np.ndarray) -> bool:
    """Equal bit for bit, where all NaNs count as one."""
    nan = np.isnan(expected)
    bits = [np.ascontiguousarray(array, dtype=np.float32).view(np.uint32) for array in (actual, expected)]
    return np.array_equal(np.isnan(actual), nan) and np.array_equal(bits[0][~nan], bits[1][~nan])


def random_rows(fmt, rows: int, blocks: int, seed: int = 0) -> np.ndarray:
    """Random bytes [rows, row bytes of ``blocks`` blocks]; the first two rows are all zeros and all ones."""
    width = fmt.row_bytes(blocks * fmt.block)
    raw = np.random.default_rng(seed).integers(0, 256, (rows, width), dtype=np.uint8)
    raw[0] = 0
    if rows > 1:
        raw[1] = 255
    return raw

# SPDX-License-Identifier: Apache-2.0
"""Arrays beside memory that nobody may touch: code that leaves them ends in a signal at once.

``array`` gives zeros, ``copy`` a copy of an array, that either begin right behind such a page or end right
before one. Between the other end and its page lie at most 4 kB that a wrong access may hit unseen.
"""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

_PAGE = mmap.PAGESIZE
_PROT_NONE = 0

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def array(shape: Sequence[int], dtype: Any = np.uint8, *, at_end: bool = True) -> np.ndarray:
    """Zeros that end (``at_end``) or begin at a page without access.

    What has a size in multiples of 64 bytes begins at a multiple of 64, as packed weights must.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    inner = max(-(-size // _PAGE), 1) * _PAGE
    mapping = mmap.mmap(-1, inner + 2 * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory = np.frombuffer(mapping, np.uint8)
    for page in (0, _PAGE + inner):
        if _libc.mprotect(memory.ctypes.data + page, _PAGE, _PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    begin = _PAGE + (inner - size if at_end else 0)
    return memory[begin : begin + size].view(dtype).reshape(shape)


def copy(values: np.ndarray, *, at_end: bool = True) -> np.ndarray:
    """A copy of ``values`` of which the same is true."""
    result = array(values.shape, values.dtype, at_end=at_end)
    result[...] = values
    return result

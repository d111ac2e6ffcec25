# SPDX-License-Identifier: Apache-2.0
"""The bytes of a page of the KV cache: copied to another page, out of the cache, and back into it."""

from __future__ import annotations

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.formats.kv_cache import BLOCK, PAGE


class PageMemory:
    """Keys and values of the layers of one window.

    Out of the cache a page is its keys, then its values: uint8 [page_bytes].

    Attributes:
      page_bytes: bytes of a page, in all layers.

    Args:
      keys, values: the arrays of the cache, [layer, KV head, block, ...].
      in_place: False where code runs with a copy of them elsewhere.
    """

    def __init__(self, keys: np.ndarray, values: np.ndarray, in_place: bool):
        # [layer, KV head, page, bytes]
        self._caches = [
            cache.reshape(*cache.shape[:2], cache.shape[2] * BLOCK // PAGE, -1).view(np.uint8)
            for cache in (keys, values)
        ]
        self._in_place = in_place
        self.page_bytes = sum(cache[:, :, 0].size for cache in self._caches)

    def check(self) -> None:
        """Raises ``LumenError`` where pages cannot be reached."""
        if not self._in_place:
            raise LumenError("pages of a KV cache on another device cannot be copied")

    def copy(self, source: int, target: int) -> None:
        """Copies a page to another."""
        self.check()
        for cache in self._caches:
            cache[:, :, target] = cache[:, :, source]

    def read(self, page: int, out: np.ndarray, positions: int = PAGE) -> None:
        """Copies a page to ``out``; blocks of 16 positions that are all behind ``positions`` become zero."""
        self.check()
        for cache, part in zip(self._caches, self._parts(out), strict=True):
            part[:] = cache[:, :, page]
            blocks = part.reshape(*part.shape[:2], PAGE // BLOCK, -1)
            blocks[:, :, -(-positions // BLOCK) :] = 0

    def write(self, page: int, data: np.ndarray) -> None:
        """Copies ``data`` to a page."""
        self.check()
        for cache, part in zip(self._caches, self._parts(data), strict=True):
            cache[:, :, page] = part

    def _parts(self, data: np.ndarray) -> list[np.ndarray]:
        """Views of keys and values, [layer, KV head, bytes]."""
        parts, begin = [], 0
        for cache in self._caches:
            shape = (*cache.shape[:2], cache.shape[3])
            size = cache[:, :, 0].size
            parts.append(data[begin : begin + size].reshape(shape))
            begin += size
        return parts

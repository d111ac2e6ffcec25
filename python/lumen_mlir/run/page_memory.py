# SPDX-License-Identifier: Apache-2.0
"""The bytes of a page of the KV cache: copied to another page, out of the cache, and back into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.formats.kv_cache import BLOCK, PAGE
from lumen_mlir.run.engine import Call


class PageCache(Protocol):
    """Keys, or values, of layers of one window.

    Attributes:
      shape: of a page: layers, KV heads, bytes.
    """

    shape: tuple[int, int, int]

    def check(self) -> None:
        """Raises ``LumenError`` where pages cannot be reached."""

    def read(self, page: int) -> np.ndarray:
        """A page, which may be the cache's own memory: uint8 [layers, KV heads, bytes]."""

    def write(self, page: int, data: np.ndarray) -> None:
        """Copies ``data`` to a page."""


class ArrayCache:
    """A cache in an array of this process.

    Args:
      array: [layer, KV head, block, ...].
      in_place: False where code runs with a copy of it elsewhere.
    """

    def __init__(self, array: np.ndarray, in_place: bool = True):
        # [layer, KV head, page, bytes]
        self.array = _by_pages(array)
        self.shape = (*self.array.shape[:2], self.array.shape[3])
        self._in_place = in_place

    def check(self) -> None:
        if not self._in_place:
            raise LumenError("pages of a KV cache on another device cannot be copied")

    def read(self, page: int) -> np.ndarray:
        self.check()
        return self.array[:, :, page]

    def write(self, page: int, data: np.ndarray) -> None:
        self.check()
        self.array[:, :, page] = data


class HeldCache:
    """A cache that a call holds in the memory of a device. ``number``: of the argument, of this array."""

    def __init__(self, call: Call, number: int, array: np.ndarray):
        layers, heads, self._pages, size = _by_pages(array).shape
        self.shape = (layers, heads, size)
        self._call, self._number = call, number

    def check(self) -> None:
        """All can be reached."""

    def read(self, page: int) -> np.ndarray:
        data = np.empty(self.shape, np.uint8)
        self._call.read_held(self._number, self._places(page, data))
        return data

    def write(self, page: int, data: np.ndarray) -> None:
        self._call.write_held(self._number, self._places(page, np.ascontiguousarray(data)))

    def _places(self, page: int, data: np.ndarray) -> list[tuple[int, memoryview]]:
        layers, heads, size = self.shape
        rows = enumerate(data.reshape(layers * heads, size))
        return [((row * self._pages + page) * size, part.data) for row, part in rows]


def _by_pages(array: np.ndarray) -> np.ndarray:
    return array.reshape(*array.shape[:2], array.shape[2] * BLOCK // PAGE, -1).view(np.uint8)


class PageMemory:
    """Keys and values of the layers of one window.

    Out of the cache a page is its keys, then its values, of all layers: uint8 [page_bytes].

    Attributes:
      page_bytes: bytes of a page, in all layers.

    Args:
      keys, values: of the layers in their order, which may lie on several devices.
    """

    def __init__(self, keys: Sequence[PageCache], values: Sequence[PageCache]):
        self._caches = [*keys, *values]
        self.page_bytes = sum(map(_size, self._caches))

    @property
    def is_reachable(self) -> bool:
        """Whether pages can be copied."""
        try:
            self.check()
        except LumenError:
            return False
        return True

    def check(self) -> None:
        """Raises ``LumenError`` where pages cannot be reached."""
        for cache in self._caches:
            cache.check()

    def copy(self, source: int, target: int) -> None:
        """Copies a page to another."""
        for cache in self._caches:
            cache.write(target, cache.read(source))

    def read(self, page: int, out: np.ndarray, positions: int = PAGE) -> None:
        """Copies a page to ``out``; blocks of 16 positions that are all behind ``positions`` become zero."""
        for cache, part in zip(self._caches, self._parts(out), strict=True):
            part[:] = cache.read(page)
            blocks = part.reshape(*part.shape[:2], PAGE // BLOCK, -1)
            blocks[:, :, -(-positions // BLOCK) :] = 0

    def write(self, page: int, data: np.ndarray) -> None:
        """Copies ``data`` to a page."""
        for cache, part in zip(self._caches, self._parts(data), strict=True):
            cache.write(page, part)

    def _parts(self, data: np.ndarray) -> list[np.ndarray]:
        """Views of keys and values, [layer, KV head, bytes]."""
        parts, begin = [], 0
        for cache in self._caches:
            parts.append(data[begin : begin + _size(cache)].reshape(cache.shape))
            begin += _size(cache)
        return parts


def _size(cache: PageCache) -> int:
    layers, heads, size = cache.shape
    return layers * heads * size

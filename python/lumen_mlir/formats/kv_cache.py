# SPDX-License-Identifier: Apache-2.0
"""What the elements of a KV cache can be, and how much memory they take.

A cache is an array [layer, KV head, page, ...]; a page holds 16 positions of one head. Pages of floats have
the dimensions that kernels want ([d, 16] of keys, [16, d] of values). Pages of 8-bit codes are bytes: the
codes, then a float16 scale per position and 32 values (``dialect/CacheLayout.h``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumen_mlir.errors import LumenError, shown

PAGE = 16
"""Positions of a page."""

GROUP = 32
"""Values of a head that share a scale, where the cache has scales."""


@dataclass(frozen=True)
class KvType:
    """A type of KV caches.

    Attributes:
      name: as users say it.
      element: as the IR says it.
      dtype: of the array.
    """

    name: str
    element: str
    dtype: type[np.generic]

    @property
    def is_quantized(self) -> bool:
        """True where the cache holds codes."""
        return self.dtype is np.int8

    def page(self, kind: str, head_size: int) -> tuple[int, ...]:
        """The dimensions of a page; ``kind`` is "key" or "value".

        ``LumenError`` where heads of this size cannot be kept so.
        """
        if not self.is_quantized:
            return (head_size, PAGE) if kind == "key" else (PAGE, head_size)
        if head_size % 4:
            raise LumenError(
                f"KV type '{self.name}' needs heads of a multiple of 4 values, but the model has heads of "
                f"{head_size}; use f16"
            )
        return (page_bytes(head_size),)

    def shape(self, kind: str, layers: int, kv_heads: int, pages: int, head_size: int) -> tuple[int, ...]:
        """The shape of a cache."""
        return (layers, kv_heads, pages, *self.page(kind, head_size))


def page_bytes(head_size: int) -> int:
    """Bytes of a page of codes."""
    return PAGE * (head_size + 2 * groups(head_size))


def groups(head_size: int) -> int:
    """Scales of one position in a page of codes."""
    return -(-head_size // GROUP)


TYPES = {
    kind.name: kind
    for kind in (
        KvType("f16", "f16", np.float16),
        KvType("f32", "f32", np.float32),
        KvType("q8_0", "i8", np.int8),
    )
}


def get(name: str) -> KvType:
    """The type of this name; ``LumenError`` where there is none."""
    if not isinstance(name, str) or name not in TYPES:
        raise LumenError(f"unknown KV type {shown(name)}; known are {', '.join(TYPES)}")
    return TYPES[name]

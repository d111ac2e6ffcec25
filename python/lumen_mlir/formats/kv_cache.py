# SPDX-License-Identifier: Apache-2.0
"""What the elements of a KV cache can be, and how much memory they take.

A cache is an array [layer, KV head, block, ...]; a block holds 16 positions of one head. Blocks of floats
have the dimensions that kernels want ([d, 16] of keys, [16, d] of values). Blocks of 8-bit codes are bytes:
the codes, then a float16 scale per position and 32 values (``dialect/layout/CacheLayout.h``, which says where
they lie). Four blocks are a page, which one sequence has for itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumen_mlir._mlir import layout
from lumen_mlir.errors import LumenError, shown

BLOCK: int = layout.CACHE_BLOCK
"""Positions of a block."""

PAGE: int = layout.CACHE_PAGE
"""Positions of a page: consecutive ones of one sequence."""

GROUP: int = layout.CACHE_GROUP
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

    def fits(self, head_size: int) -> bool:
        """True where heads of this size can be kept so."""
        try:
            self.block("key", head_size)
        except LumenError:
            return False
        return True

    def block(self, kind: str, head_size: int) -> tuple[int, ...]:
        """The dimensions of a block; ``kind`` is "key" or "value".

        ``LumenError`` where heads of this size cannot be kept so.
        """
        try:
            return tuple(layout.cache_block(self.element, kind == "key", head_size))
        except ValueError:
            raise LumenError(
                f"KV type '{self.name}' needs heads of a multiple of 4 values, but the model has heads of "
                f"{head_size}; use f16"
            ) from None

    def shape(self, kind: str, layers: int, kv_heads: int, pages: int, head_size: int) -> tuple[int, ...]:
        """The shape of a cache."""
        return (layers, kv_heads, pages * (PAGE // BLOCK), *self.block(kind, head_size))


def pages(positions: int) -> int:
    """Pages that so many positions take, from a page's first one on."""
    return -(-positions // PAGE)


def window_pages(window: int, tokens: int) -> int:
    """The most pages that a window and the tokens of a step lie on."""
    return pages(window + tokens - 2) + 1


def block_bytes(head_size: int) -> int:
    """Bytes of a block of codes."""
    return layout.cache_block("i8", False, head_size)[0]


def groups(head_size: int) -> int:
    """Scales of one position in a block of codes."""
    return layout.cache_groups(head_size)


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

# SPDX-License-Identifier: Apache-2.0
"""Pages of keys and values in the folder of the caches, with a limit of their own."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from lumen_mlir.storage.cache import PAGES, Cache


class PageCache(Cache):
    """The pages in the folder of ``cache``; they may take ``limit`` bytes together.

    There are thousands of them, and each takes milliseconds at most. So they are counted only now and then:
    processes that share the folder may go beyond the limit by a sixteenth each.
    """

    def __init__(self, cache: Cache, limit: int):
        self.__dict__ |= cache.__dict__
        # Where nothing is to be cached, pages are not either.
        self.limit = limit if cache.limit else 0
        self._warned = set()
        self._counted: int | None = None
        self._new = 0

    def has(self, key: str) -> bool:
        """Whether there is an entry. What it holds is not looked at."""
        return os.path.lexists(self._path(PAGES, key))

    def _evict(self, keep: Path) -> None:
        slack = self.limit // 16
        with contextlib.suppress(OSError):
            self._new += keep.lstat().st_size
        if self._counted is None or self._counted + self._new > self.limit or self._new > slack:
            # Some more than is too much: the next pages need no count.
            full = self._counted is None or self._counted + self._new > self.limit
            self._counted = self._shrink([PAGES], self.limit - slack if full else self.limit, keep)
            self._new = 0

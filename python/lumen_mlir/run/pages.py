# SPDX-License-Identifier: Apache-2.0
"""Pages of KV caches: who has which, and where the positions of a sequence lie.

Layers of equal windows share a cache, which is a pool of pages of 64 positions. A sequence takes pages as it
grows and gives back those that its window has left. Several may have the same page: who writes to it gets a
copy first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.formats.kv_cache import PAGE, pages


class NoRoomError(LumenError):
    """The KV cache has no page left; what was asked for has changed nothing."""


class PagePool:
    """The pages of one cache, by number.

    Attributes:
      size: how many there are.
      copy: copies the keys and values of a page, the first argument, to another.
      reclaim: called where no page is free; True where it has given one back.
      let_go: called where a page is shared and no other is free; True where it no longer has that page.
    """

    def __init__(self, size: int, copy: Callable[[int, int], None] = lambda source, target: None):
        self.size = size
        self.copy = copy
        self.reclaim: Callable[[], bool] = lambda: False
        self.let_go: Callable[[int], bool] = lambda page: False
        self.clear()

    def clear(self) -> None:
        """Makes all pages free, whoever has them."""
        # The lowest is taken first: what was never taken is not touched and takes no memory.
        self._free = list(range(self.size))[::-1]
        self._holders = [0] * self.size

    @property
    def free(self) -> int:
        """Pages that nobody has."""
        return len(self._free)

    def take(self) -> int:
        """A page that nobody has. Raises ``NoRoomError`` where there is none."""
        if not self._free and not self.reclaim():
            raise NoRoomError(f"all {self.size} pages of the KV cache are taken")
        page = self._free.pop()
        self._holders[page] = 1
        return page

    def share(self, page: int) -> int:
        """The page, which one more has from now on."""
        self._holders[page] += 1
        return page

    def is_shared(self, page: int) -> bool:
        """True where more than one has the page."""
        return self._holders[page] > 1

    def give_back(self, page: int) -> None:
        """One has the page no more."""
        self._holders[page] -= 1
        if not self._holders[page]:
            self._free.append(page)


class SequencePages:
    """The pages that a sequence has of one pool.

    Attributes:
      pool: where they come from.
      table: the page of each 64 positions, int32 [columns]; 0 where there is none.
      window: positions that a token looks back on, itself included; None for all.
      begin, end: the columns that have pages.

    Args:
      table: filled in.
    """

    def __init__(self, pool: PagePool, table: np.ndarray, window: int | None):
        self.pool = pool
        self.table = table
        self.window = window
        self.begin = self.end = 0
        table[:] = 0

    def can_resume(self, position: int) -> bool:
        """True where no page that a token at ``position`` looks back on was given back."""
        return position == 0 or self.first_column(position) >= self.begin

    def hold(self, position: int, count: int) -> None:
        """Takes pages for ``count`` tokens at ``position``; gives back those that they do not look back on.

        What lies behind ``position`` is forgotten. Raises ``NoRoomError`` where the pool has too few pages;
        what lies before ``position`` is as it was then.
        """
        first = self.first_column(position)
        self._drop(pages(position), self.end)
        self._drop(self.begin, first)
        self.begin, self.end = first, max(first, min(self.end, pages(position)))
        if position // PAGE < self.end:
            self._own(position // PAGE)
        while self.end < pages(position + count):
            self.table[self.end] = self.pool.take()
            self.end += 1

    def adopt(self, found: list[int], begin: int) -> None:
        """Begins with pages that others have, those from column ``begin`` on, instead of its own."""
        self.clear()
        self.begin, self.end = begin, begin + len(found)
        self.table[self.begin : self.end] = [self.pool.share(page) for page in found]

    def clear(self) -> None:
        """Gives all pages back."""
        self._drop(self.begin, self.end)
        self.begin = self.end = 0

    def places(self, positions: np.ndarray | int) -> np.ndarray | np.int32:
        """Where ``positions`` lie in the cache: int32, as many."""
        return self.table[positions // PAGE] * PAGE + positions % PAGE

    def first_column(self, position: int) -> int:
        """The first column that a token at ``position`` looks back on."""
        return first_column(self.window, position)

    def _own(self, column: int) -> None:
        """Sees to it that nobody else has a page that is written to: others keep what it holds."""
        page = int(self.table[column])
        if self.pool.is_shared(page):
            try:
                own = self.pool.take()
            except NoRoomError:
                if not self.pool.let_go(page) or self.pool.is_shared(page):
                    raise
                return
            try:
                self.pool.copy(page, own)
            except BaseException:
                self.pool.give_back(own)
                raise
            self.pool.give_back(page)
            self.table[column] = own

    def _drop(self, begin: int, end: int) -> None:
        for column in range(max(begin, self.begin), min(end, self.end)):
            self.pool.give_back(int(self.table[column]))
            self.table[column] = 0


def first_column(window: int | None, position: int) -> int:
    """The first column that a token at ``position`` looks back on through a window."""
    return 0 if window is None else max(position - window + 1, 0) // PAGE

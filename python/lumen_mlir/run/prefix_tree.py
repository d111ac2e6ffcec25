# SPDX-License-Identifier: Apache-2.0
"""What the KV cache knows already: a tree of blocks of 64 tokens, each with the pages that hold them.

A block is found by its tokens and those before it. So a sequence that begins like an earlier one begins with
its pages, and computes the rest. The last block of a sequence that has ended may have fewer tokens. A
sequence that has only some of a block's tokens begins with that block's pages too, and gets a copy when it
writes to them. Where a pool has no other page, the tree gives back those that were not used for longest.
Whole blocks are found again in a second tier, if there is one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from lumen_mlir.formats.kv_cache import PAGE
from lumen_mlir.run.pages import NoRoomError, PagePool, SequencePages

# Tokens of a block for which a copy of its pages pays.
_LEAST_PART = 8


class Tier(Protocol):
    """Where pages are kept besides memory, by the names of their blocks: ``run.disk_tier.DiskTier``."""

    root: bytes
    """The name of no tokens."""

    def name(self, parent: bytes, tokens: bytes) -> bytes:
        """The name of the block of ``tokens`` behind that of ``parent``."""

    def has(self, name: bytes, pool: int) -> bool:
        """Whether the page of a pool is there."""

    def save(self, name: bytes, pool: int, page: int) -> bool:
        """Keeps a page; False where that is not possible now."""

    def load(self, name: bytes, pool: int, page: int) -> bool:
        """Fills a page; False where it is not there."""


class _Block:
    """At most 64 tokens behind those of its parents.

    Attributes:
      tokens: int32.
      children: by their first token, then by all of them.
      pages: of each pool, or None where the tree has none. Only pools of windows lack pages of a block.
      name: in the second tier, where there is one.
      kept: the pools whose pages were given to it.
    """

    def __init__(self, parent: _Block | None, tokens: np.ndarray, pools: int, name: bytes = b""):
        self.parent, self.tokens, self.name = parent, tokens, name
        self.kept: set[int] = set()
        self.children: dict[int, dict[bytes, _Block]] = {}
        self.pages: list[int | None] = [None] * pools

    @property
    def is_needed(self) -> bool:
        """True where it has a page, or leads to blocks that have."""
        return bool(self.children) or any(page is not None for page in self.pages)

    def child(self, tokens: np.ndarray) -> _Block | None:
        """The one with these tokens."""
        return self.children.get(int(tokens[0]), {}).get(tokens.tobytes())

    def likest(self, tokens: np.ndarray) -> tuple[_Block | None, int]:
        """The one that has most of the tokens that come next, and how many it has."""
        best, most = None, 0
        for child in self.children.get(int(tokens[0]), {}).values() if len(tokens) else ():
            count = _common(child.tokens, tokens)
            if count > most:
                best, most = child, count
        return best, most

    def add(self, child: _Block) -> None:
        """Makes ``child`` one of its children."""
        self.children.setdefault(int(child.tokens[0]), {})[child.tokens.tobytes()] = child

    def leave(self) -> None:
        """Leaves its parent."""
        assert self.parent is not None
        first = int(self.tokens[0])
        siblings = self.parent.children[first]
        del siblings[self.tokens.tobytes()]
        if not siblings:
            del self.parent.children[first]


class PrefixTree:
    """Blocks of tokens and their pages.

    Args:
      pools: of the layers of each window, with the window (None: all positions). They turn to the tree where
        they have no free page.
      parts: sequences may begin with some of the tokens of a block, which needs pools that copy pages.
      tier: where pages are kept as soon as their blocks are whole, and looked for.
    """

    def __init__(
        self, pools: Sequence[tuple[PagePool, int | None]], parts: bool = True, tier: Tier | None = None
    ):
        self._parts, self._tier = parts, tier
        self._pools = [pool for pool, _ in pools]
        self._windows = [window for _, window in pools]
        self._root = _Block(None, np.empty(0, np.int32), len(pools), b"" if tier is None else tier.root)
        # Blocks that pages are looked for just now.
        self._busy: set[_Block] = set()
        # From the one that was not used for longest. Blocks stand before their parents, which were used with
        # them.
        self._by_use: OrderedDict[_Block, None] = OrderedDict()
        for number, pool in enumerate(self._pools):
            pool.reclaim = partial(self._reclaim, number)
            pool.let_go = partial(self._let_go, number)

    def __len__(self) -> int:
        return len(self._by_use)

    def adopt(self, tokens: np.ndarray, held: Sequence[SequencePages]) -> int:
        """Gives a sequence the pages of the longest prefix of ``tokens`` that is known, instead of its own.

        Returns how many tokens the pages hold; at least one is left to be computed.
        """
        if self._tier is not None:
            self._fetch(np.ascontiguousarray(tokens[:-1], np.int32), held, self._tier)
        path, known = self._find(tokens[:-1])
        while path and not self._reaches_back(path, known, held):
            path.pop()
            known = len(path) * PAGE
        for number, each in enumerate(held):
            begin = min(each.first_column(known), len(path))
            each.adopt([page for block in path[begin:] if (page := block.pages[number]) is not None], begin)
        self._use(path)
        return known

    def publish(self, tokens: np.ndarray, held: Sequence[SequencePages], ended: bool = False) -> None:
        """Tells the tree of the whole blocks of a sequence, whose pages hold ``tokens``.

        Blocks get the pages that they lack. Of blocks that have other pages, the sequence goes on with these:
        they hold the same. ``ended``: nothing more comes, so the tree takes the last tokens too, which fill
        no block.
        """
        tokens = np.ascontiguousarray(tokens, np.int32)
        block, path, whole = self._root, [], len(tokens) // PAGE
        for column in range(whole):
            own = tokens[column * PAGE : (column + 1) * PAGE]
            child = block.child(own) or self._add(block, own)
            for number, each in enumerate(held):
                if each.begin <= column < each.end:
                    self._exchange(child, number, each, column)
                    self._keep(child, number)
            path.append(child)
            block = child
        rest = tokens[whole * PAGE :]
        if ended and self._parts and len(rest) and block.likest(rest)[1] < len(rest):
            child = self._add(block, rest)
            for number, each in enumerate(held):
                if each.begin <= whole < each.end:
                    self._exchange(child, number, each, whole)
            path.append(child)
        self._use(path)

    def clear(self) -> None:
        """Gives all pages back."""
        for block in self._by_use:
            self._release(block)
        self.forget()

    def forget(self) -> None:
        """Knows nothing any more, where the pools have taken all pages back."""
        self._by_use.clear()
        self._root.children.clear()

    # --- internals ------------------------------------------------------------------------------------------

    def _find(self, tokens: np.ndarray) -> tuple[list[_Block], int]:
        """The blocks that begin as ``tokens`` do, and how many tokens are theirs."""
        tokens = np.ascontiguousarray(tokens, np.int32)
        block, path = self._root, []
        for column in range(len(tokens) // PAGE):
            child = block.child(tokens[column * PAGE : (column + 1) * PAGE])
            if child is None:
                break
            path.append(child)
            block = child
        known = len(path) * PAGE
        part, count = block.likest(tokens[known:]) if self._parts else (None, 0)
        if part is None or count < _LEAST_PART:
            return path, known
        return [*path, part], known + count

    def _fetch(self, tokens: np.ndarray, held: Sequence[SequencePages], tier: Tier) -> None:
        """Gets from the second tier the pages that the longest prefix of ``tokens`` lacks in memory."""
        blocks = tokens[: len(tokens) // PAGE * PAGE].reshape(-1, PAGE)
        # Those that are there, and the names of all.
        path: list[_Block] = []
        names: list[bytes] = []
        parent = self._root
        for own in blocks:
            names.append(tier.name(names[-1] if names else tier.root, own.tobytes()))
            child = parent.child(own) if len(path) == len(names) - 1 else None
            if child is not None:
                path.append(child)
                parent = child
        there: dict[tuple[int, int], bool] = {}

        def available(column: int, number: int) -> bool:
            place = column, number
            if place not in there:
                in_memory = column < len(path) and path[column].pages[number] is not None
                there[place] = in_memory or tier.has(names[column], number)
            return there[place]

        count = len(blocks)
        for number, each in enumerate(held):
            if each.window is None:
                count = next((column for column in range(count) if not available(column, number)), count)
        self._busy = set(path)
        while count:
            wanted = [
                (column, number)
                for number, each in enumerate(held)
                for column in range(min(each.first_column(count * PAGE), count), count)
            ]
            if not all(available(*place) for place in wanted):
                count -= 1
                continue
            for own in blocks[len(path) : count]:
                path.append(self._add(path[-1] if path else self._root, own))
                self._busy.add(path[-1])
            missing = self._load(path, wanted, tier)
            if missing is None:
                break
            there[missing] = False
            # Without a window, all that is behind the page is of no use either.
            count = missing[0] if held[missing[1]].window is None else count - 1
        self._busy = set()
        for block in reversed(path):
            if block in self._by_use:
                self._prune(block)

    def _load(self, path: list[_Block], wanted: list[tuple[int, int]], tier: Tier) -> tuple[int, int] | None:
        """Gets the pages (column, pool) that blocks lack; the first one that cannot be had, or None."""
        # What is there must not be given up for what is missing.
        pinned = [
            (number, self._pools[number].share(page))
            for column, number in wanted
            if (page := path[column].pages[number]) is not None
        ]
        try:
            for column, number in wanted:
                block, pool = path[column], self._pools[number]
                if block.pages[number] is not None:
                    continue
                try:
                    page = pool.take()
                except NoRoomError:
                    return column, number
                try:
                    loaded = tier.load(block.name, number, page)
                except BaseException:
                    pool.give_back(page)
                    raise
                if not loaded:
                    pool.give_back(page)
                    return column, number
                block.pages[number] = page
                block.kept.add(number)
                pinned.append((number, pool.share(page)))
            return None
        finally:
            for number, page in pinned:
                self._pools[number].give_back(page)

    @staticmethod
    def _reaches_back(path: list[_Block], known: int, held: Sequence[SequencePages]) -> bool:
        """True where the token behind the first ``known`` ones finds all that it looks back on."""
        return all(
            block.pages[number] is not None
            for number, each in enumerate(held)
            for block in path[each.first_column(known) :]
        )

    def _add(self, parent: _Block, tokens: np.ndarray) -> _Block:
        """A new block, in the place of those that have only its first tokens."""
        for other in list(parent.children.get(int(tokens[0]), {}).values()):
            if len(other.tokens) < len(tokens) and _common(other.tokens, tokens) == len(other.tokens):
                self._remove(other)
        name = b"" if self._tier is None else self._tier.name(parent.name, tokens.tobytes())
        block = _Block(parent, tokens.copy(), len(self._pools), name)
        parent.add(block)
        # Counts as used from now on: it must not be what makes room for the rest of its sequence.
        self._by_use[block] = None
        return block

    @staticmethod
    def _exchange(block: _Block, number: int, held: SequencePages, column: int) -> None:
        known, own = block.pages[number], int(held.table[column])
        if known is None:
            block.pages[number] = held.pool.share(own)
        elif known != own:
            held.table[column] = held.pool.share(known)
            held.pool.give_back(own)

    def _keep(self, block: _Block, number: int) -> None:
        """Gives a page of a whole block to the second tier, where it did not get it before."""
        page = block.pages[number]
        if self._tier is None or page is None or number in block.kept or len(block.tokens) < PAGE:
            return
        if self._tier.save(block.name, number, page):
            block.kept.add(number)

    def _spill(self, block: _Block, number: int) -> None:
        """Before a page is given back: the second tier may have lost it, or had no room for it before."""
        block.kept.discard(number)
        self._keep(block, number)

    def _use(self, path: Iterable[_Block]) -> None:
        for block in reversed(list(path)):
            self._by_use[block] = None
            self._by_use.move_to_end(block)

    def _reclaim(self, number: int) -> bool:
        """Gives back a page of a pool that only the tree has, where there is one."""
        pool = self._pools[number]
        for block in self._by_use:
            page = block.pages[number]
            if page is None or pool.is_shared(page):
                continue
            if self._windows[number] is not None:
                # What lies behind the block, further than the window, can still be found.
                self._spill(block, number)
                pool.give_back(page)
                block.pages[number] = None
                self._prune(block)
                return True
            if not block.children:
                for other in range(len(self._pools)):
                    self._spill(block, other)
                parent = block.parent
                self._remove(block)
                self._prune(parent)
                return True
        return False

    def _prune(self, block: _Block | None) -> None:
        """Removes a block that is not needed any more, and those before it that only led to it."""
        while block is not None and block.parent is not None:
            if block.is_needed or block in self._busy:
                return
            parent = block.parent
            self._remove(block)
            block = parent

    def _let_go(self, number: int, page: int) -> bool:
        """Forgets the block that has a page of a pool."""
        block = next((block for block in self._by_use if block.pages[number] == page), None)
        if block is not None:
            parent = block.parent
            self._remove(block)
            self._prune(parent)
        return block is not None

    def _remove(self, block: _Block) -> None:
        for siblings in list(block.children.values()):
            for child in list(siblings.values()):
                self._remove(child)
        self._release(block)
        del self._by_use[block]
        block.leave()

    def _release(self, block: _Block) -> None:
        for pool, page in zip(self._pools, block.pages, strict=True):
            if page is not None:
                pool.give_back(page)


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """How many tokens the two begin with alike."""
    count = min(len(a), len(b))
    differ = np.flatnonzero(a[:count] != b[:count])
    return int(differ[0]) if len(differ) else count

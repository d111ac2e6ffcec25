# SPDX-License-Identifier: Apache-2.0
"""What the KV cache knows already: a tree of blocks of 64 tokens, each with the pages that hold them.

A block is found by its tokens and those before it. So a sequence that begins like an earlier one begins with
its pages, and computes the rest. Where a pool has no other page, the tree gives back those that were not used
for longest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from lumen_mlir.formats.kv_cache import PAGE
from lumen_mlir.run.pages import PagePool, SequencePages


class _Block:
    """64 tokens behind those of its parents.

    ``pages``: of each pool, or None where the tree has none. Only pools of windows lack pages of a block.
    """

    def __init__(self, parent: _Block | None, key: bytes, pools: int):
        self.parent, self.key = parent, key
        self.children: dict[bytes, _Block] = {}
        self.pages: list[int | None] = [None] * pools


class PrefixTree:
    """Blocks of tokens and their pages.

    Args:
      pools: of the layers of each window, with the window (None: all positions). They turn to the tree where
        they have no free page.
    """

    def __init__(self, pools: Sequence[tuple[PagePool, int | None]]):
        self._pools = [pool for pool, _ in pools]
        self._windows = [window for _, window in pools]
        self._root = _Block(None, b"", len(pools))
        # From the one that was not used for longest. Blocks stand before their parents, which were used with
        # them.
        self._by_use: OrderedDict[_Block, None] = OrderedDict()
        for number, pool in enumerate(self._pools):
            pool.reclaim = partial(self._reclaim, number)

    def __len__(self) -> int:
        return len(self._by_use)

    def adopt(self, tokens: np.ndarray, held: Sequence[SequencePages]) -> int:
        """Gives a sequence without pages those of the longest prefix of ``tokens`` that is known.

        Returns how many tokens the pages hold; at least one is left to be computed.
        """
        path = self._find(tokens[:-1])
        while path and not self._reaches_back(path, held):
            path.pop()
        for number, each in enumerate(held):
            begin = min(each.first_column(len(path) * PAGE), len(path))
            each.adopt([page for block in path[begin:] if (page := block.pages[number]) is not None], begin)
        self._use(path)
        return len(path) * PAGE

    def publish(self, tokens: np.ndarray, held: Sequence[SequencePages]) -> None:
        """Tells the tree of the whole blocks of a sequence, whose pages hold ``tokens``.

        Blocks get the pages that they lack. Of blocks that have other pages, the sequence goes on with these:
        they hold the same.
        """
        block, path = self._root, []
        for column in range(len(tokens) // PAGE):
            key = _key(tokens, column)
            child = block.children.get(key)
            if child is None:
                child = block.children[key] = _Block(block, key, len(self._pools))
            for number, each in enumerate(held):
                if each.begin <= column < each.end:
                    self._exchange(child, number, each, column)
            path.append(child)
            block = child
        self._use(path)

    def clear(self) -> None:
        """Gives all pages back."""
        for block in self._by_use:
            self._release(block)
        self._by_use.clear()
        self._root.children.clear()

    # --- internals ------------------------------------------------------------------------------------------

    def _find(self, tokens: np.ndarray) -> list[_Block]:
        block, path = self._root, []
        for column in range(len(tokens) // PAGE):
            child = block.children.get(_key(tokens, column))
            if child is None:
                break
            path.append(child)
            block = child
        return path

    @staticmethod
    def _reaches_back(path: list[_Block], held: Sequence[SequencePages]) -> bool:
        """True where a token behind the path finds all that it looks back on."""
        end = len(path) * PAGE
        return all(
            block.pages[number] is not None
            for number, each in enumerate(held)
            for block in path[each.first_column(end) :]
        )

    @staticmethod
    def _exchange(block: _Block, number: int, held: SequencePages, column: int) -> None:
        known, own = block.pages[number], int(held.table[column])
        if known is None:
            block.pages[number] = held.pool.share(own)
        elif known != own:
            held.table[column] = held.pool.share(known)
            held.pool.give_back(own)

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
                pool.give_back(page)
                block.pages[number] = None
                if not block.children and all(other is None for other in block.pages):
                    self._remove(block)
                return True
            if not block.children:
                self._remove(block)
                return True
        return False

    def _remove(self, block: _Block) -> None:
        self._release(block)
        del self._by_use[block]
        if block.parent is not None:
            del block.parent.children[block.key]

    def _release(self, block: _Block) -> None:
        for pool, page in zip(self._pools, block.pages, strict=True):
            if page is not None:
                pool.give_back(page)


def _key(tokens: np.ndarray, column: int) -> bytes:
    return np.ascontiguousarray(tokens[column * PAGE : (column + 1) * PAGE], np.int32).tobytes()

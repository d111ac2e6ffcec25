# SPDX-License-Identifier: Apache-2.0
"""What the KV cache knows already: a tree of blocks of 64 tokens, each with the pages that hold them.

A block is found by its tokens and those before it. So a sequence that begins like an earlier one begins with
its pages, and computes the rest. The last block of a sequence that has ended may have fewer tokens. A
sequence that has only some of a block's tokens begins with that block's pages too, and gets a copy when it
writes to them. Where a pool has no other page, the tree gives back those that were not used for longest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from lumen_mlir.formats.kv_cache import PAGE
from lumen_mlir.run.pages import PagePool, SequencePages

# Tokens of a block for which a copy of its pages pays.
_LEAST_PART = 8


class _Block:
    """At most 64 tokens behind those of its parents.

    Attributes:
      tokens: int32.
      children: by their first token, then by all of them.
      pages: of each pool, or None where the tree has none. Only pools of windows lack pages of a block.
    """

    def __init__(self, parent: _Block | None, tokens: np.ndarray, pools: int):
        self.parent, self.tokens = parent, tokens
        self.children: dict[int, dict[bytes, _Block]] = {}
        self.pages: list[int | None] = [None] * pools

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
    """

    def __init__(self, pools: Sequence[tuple[PagePool, int | None]], parts: bool = True):
        self._parts = parts
        self._pools = [pool for pool, _ in pools]
        self._windows = [window for _, window in pools]
        self._root = _Block(None, np.empty(0, np.int32), len(pools))
        # From the one that was not used for longest. Blocks stand before their parents, which were used with
        # them.
        self._by_use: OrderedDict[_Block, None] = OrderedDict()
        for number, pool in enumerate(self._pools):
            pool.reclaim = partial(self._reclaim, number)
            pool.let_go = partial(self._let_go, number)

    def __len__(self) -> int:
        return len(self._by_use)

    def adopt(self, tokens: np.ndarray, held: Sequence[SequencePages]) -> int:
        """Gives a sequence without pages those of the longest prefix of ``tokens`` that is known.

        Returns how many tokens the pages hold; at least one is left to be computed.
        """
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
        block = _Block(parent, tokens.copy(), len(self._pools))
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

    def _let_go(self, number: int, page: int) -> bool:
        """Forgets the block that has a page of a pool."""
        block = next((block for block in self._by_use if block.pages[number] == page), None)
        if block is not None:
            self._remove(block)
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

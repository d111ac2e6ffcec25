# SPDX-License-Identifier: Apache-2.0
"""Pages that sequences share: what they hold is what a sequence would have computed, and none is lost."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lumen_mlir.errors import LumenError
from lumen_mlir.formats.kv_cache import PAGE, pages
from lumen_mlir.run.pages import PagePool, SequencePages
from lumen_mlir.run.prefix_tree import PrefixTree

COLUMNS = 8


class Memory:
    """A pool whose pages hold, for each position, a number that all tokens up to it determine."""

    def __init__(self, size: int):
        self.content = np.full((size, PAGE), -1, np.int64)
        self.pool = PagePool(size, self.copy)
        self.copies = 0

    def copy(self, source: int, target: int) -> None:
        self.content[target] = self.content[source]
        self.copies += 1


class Stored:
    """A sequence on several pools."""

    def __init__(self, memories: list[Memory], windows: list[int | None]):
        self.memories = memories
        self.tokens = np.zeros(0, np.int32)
        self.held = [
            SequencePages(memory.pool, np.zeros(COLUMNS, np.int32), window)
            for memory, window in zip(memories, windows, strict=True)
        ]

    def write(self, position: int, tokens: np.ndarray) -> None:
        """A step: takes pages, writes, and looks at all that its first token looks back on."""
        for each in self.held:
            each.hold(position, len(tokens))
        self.tokens = np.concatenate([self.tokens[:position], tokens])
        for each, memory in zip(self.held, self.memories, strict=True):
            places = each.places(np.arange(position, len(self.tokens)))
            memory.content.reshape(-1)[places] = self.numbers()[position:]
        self.check(position)

    def numbers(self) -> np.ndarray:
        """What each position must hold."""
        found, number = [], 1
        for token in self.tokens.tolist():
            number = (number * 1_000_003 + token + 7) % (1 << 61)
            found.append(number)
        return np.array(found, np.int64)

    def check(self, position: int) -> None:
        for each, memory in zip(self.held, self.memories, strict=True):
            first = 0 if each.window is None else max(position - each.window + 1, 0)
            seen = np.arange(first, len(self.tokens))
            np.testing.assert_array_equal(
                memory.content.reshape(-1)[each.places(seen)], self.numbers()[first:]
            )

    def fork(self) -> Stored:
        other = Stored(self.memories, [each.window for each in self.held])
        other.tokens = self.tokens
        for mine, its in zip(self.held, other.held, strict=True):
            its.adopt(mine.table[mine.begin : mine.end].tolist(), mine.begin)
        return other

    def clear(self) -> None:
        for each in self.held:
            each.clear()


class Disk:
    """A second tier in memory, which is full now and then, and loses or damages some pages."""

    root = b"root"

    def __init__(self, memories: list[Memory], rng: random.Random):
        self.memories, self.rng = memories, rng
        self.pages: dict[tuple[bytes, int], np.ndarray] = {}
        self.loaded = self.failed = 0

    @staticmethod
    def name(parent: bytes, tokens: bytes) -> bytes:
        return parent + tokens

    def has(self, name: bytes, pool: int) -> bool:
        return (name, pool) in self.pages

    def save(self, name: bytes, pool: int, page: int) -> bool:
        if self.rng.random() < 0.2:
            return False
        self.pages[name, pool] = self.memories[pool].content[page].copy()
        if self.rng.random() < 0.05:
            del self.pages[self.rng.choice(list(self.pages))]
        return True

    def load(self, name: bytes, pool: int, page: int) -> bool:
        if self.rng.random() < 0.1:
            del self.pages[name, pool]
            self.memories[pool].content[page] = -2
            self.failed += 1
            return False
        self.memories[pool].content[page] = self.pages[name, pool]
        self.loaded += 1
        return True


def check_counts(memories: list[Memory], live: list[Stored], tree: PrefixTree) -> None:
    """Every page is free or has as many holders as can be counted."""
    for number, memory in enumerate(memories):
        counted = [0] * memory.pool.size
        for stored in live:
            each = stored.held[number]
            for page in each.table[each.begin : each.end].tolist():
                counted[page] += 1
        for block in tree._by_use:
            if block.pages[number] is not None:
                counted[block.pages[number]] += 1
        assert counted == memory.pool._holders
        assert memory.pool.free == counted.count(0)
    assert all(block.is_needed for block in tree._by_use)


@pytest.mark.parametrize("windows", [[None], [None, 70], [100], [1, 64, None]])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("with_disk", [False, True])
def test_random_lives(windows, seed, with_disk):
    rng = random.Random(seed)
    memories = [Memory(14 if with_disk else 24) for _ in windows]
    disk = Disk(memories, rng) if with_disk else None
    tree = PrefixTree(
        [(memory.pool, window) for memory, window in zip(memories, windows, strict=True)], tier=disk
    )
    live: list[Stored] = []
    adopted = full = 0
    for _ in range(800):
        action = rng.random()
        if action < 0.25 or not live:
            # Texts that begin alike, with few tokens that differ.
            text = np.zeros(rng.randrange(1, 400), np.int32)
            for _ in range(rng.randrange(3)):
                text[rng.randrange(len(text))] = rng.randrange(3)
            stored = Stored(memories, windows)
            known = tree.adopt(text, stored.held)
            assert known < len(text)
            adopted += known
            stored.tokens = text[:known]
            stored.check(known)
            live.append(stored)
            chosen, tokens = stored, text[known : known + rng.randrange(1, 120)]
            position = known
        else:
            chosen = rng.choice(live)
            if action < 0.4:
                if rng.random() < 0.5:
                    tree.publish(chosen.tokens, chosen.held, ended=True)
                chosen.clear()
                live.remove(chosen)
                continue
            if action < 0.5:
                live.append(chosen.fork())
                continue
            position = len(chosen.tokens)
            if action < 0.6:
                position = rng.randrange(position + 1)
                if not all(each.can_resume(position) for each in chosen.held):
                    continue
            tokens = np.array([rng.randrange(3) for _ in range(rng.randrange(1, 120))], np.int32)
        if position + len(tokens) <= COLUMNS * PAGE:
            try:
                chosen.write(position, tokens)
                tree.publish(chosen.tokens, chosen.held)
                chosen.check(position)
            except LumenError:
                full += 1
                chosen.clear()
                live.remove(chosen)
        check_counts(memories, live, tree)
    for stored in live:
        stored.clear()
    tree.clear()
    assert all(memory.pool.free == memory.pool.size for memory in memories) and not len(tree)
    assert disk is None or disk.loaded > 5
    assert adopted > 64 and full > 0 and sum(memory.copies for memory in memories) > 0


def test_what_is_found():
    memory = Memory(10)
    tree = PrefixTree([(memory.pool, None)])
    text = np.arange(200, dtype=np.int32)
    first = Stored([memory], [None])
    assert tree.adopt(text, first.held) == 0
    first.write(0, text)
    tree.publish(first.tokens, first.held)
    assert len(tree) == 3
    for length, known in ((1, 0), (9, 8), (64, 63), (65, 64), (128, 127), (129, 128), (200, 192)):
        other = Stored([memory], [None])
        assert tree.adopt(text[:length], other.held) == known
        assert other.held[0].end == pages(known)
        other.clear()
    different = text.copy()
    different[70] = 0
    other = Stored([memory], [None])
    # A copy of a page has to pay.
    assert tree.adopt(different, other.held) == 64
    other.clear()
    different[70], different[72] = 70, 0
    other = Stored([memory], [None])
    assert tree.adopt(different, other.held) == 72
    # The last tokens of one that has ended are there too, in the place of fewer.
    longer = np.arange(230, dtype=np.int32)
    for length in (225, 220, 230):
        ended = Stored([memory], [None])
        known = tree.adopt(longer[:length], ended.held)
        ended.tokens = longer[:known]
        ended.write(known, longer[known:length])
        tree.publish(ended.tokens, ended.held, ended=True)
        ended.clear()
        assert len(tree) == 4
    assert tree.adopt(longer, Stored([memory], [None]).held) == 229


def test_a_full_pool_is_written_to_without_a_copy():
    """Where the tree alone shares a page and there is no other, it forgets the page that is needed."""
    memory = Memory(2)
    tree = PrefixTree([(memory.pool, None)])
    stored = Stored([memory], [None])
    stored.write(0, np.arange(100, dtype=np.int32))
    tree.publish(stored.tokens, stored.held, ended=True)
    stored.write(70, np.zeros(50, np.int32))
    stored.check(0)
    stored.write(0, np.ones(20, np.int32))
    stored.check(0)
    assert memory.copies == 0 and len(tree) == 1


def test_a_page_is_given_up_when_there_is_no_other():
    memory = Memory(3)
    tree = PrefixTree([(memory.pool, None)])
    stored = Stored([memory], [None])
    stored.write(0, np.arange(192, dtype=np.int32))
    tree.publish(stored.tokens, stored.held)
    other = Stored([memory], [None])
    with pytest.raises(LumenError, match="all 3 pages of the KV cache are taken"):
        other.write(0, np.zeros(1, np.int32))
    other.clear()
    stored.clear()
    # The last block goes first: those before it may begin other sequences.
    other.write(0, np.zeros(1, np.int32))
    assert len(tree) == 2
    assert tree.adopt(np.arange(192, dtype=np.int32), Stored([memory], [None]).held) == 128


def test_blocks_without_pages_are_forgotten():
    """Where all layers have windows, a block whose pages are gone leads nowhere in the end."""
    memory = Memory(6)
    tree = PrefixTree([(memory.pool, 70)])
    for number in range(100):
        stored = Stored([memory], [70])
        for position in range(0, 256, 64):
            stored.write(position, np.full(64, number, np.int32))
            tree.publish(stored.tokens, stored.held)
        stored.clear()
    assert len(tree) <= 2 * memory.pool.size

# SPDX-License-Identifier: Apache-2.0
"""Pages of the KV cache on disk: the second tier of the prefix tree, which outlives the process.

A page is an entry of the cache of its own, called after the tokens of its block, all those before it, and
what else its bits follow from. A thread writes them: steps wait for a copy in memory, never for the disk.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import queue
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.run.kv_identity import KvIdentity
from lumen_mlir.run.page_memory import PageMemory
from lumen_mlir.run.program import compiler_identity
from lumen_mlir.storage.cache import PAGES
from lumen_mlir.storage.mapping import check_unchanged, files_of
from lumen_mlir.storage.page_cache import PageCache
from lumen_mlir.support.interrupts import interrupts_held

# What may wait to be written. A page that finds no room is not kept (the tree asks again later).
_WAITING_BYTES = 64 << 20
# At the end of the process, what waits is written if that takes no longer.
_LAST_SECONDS = 10.0


class DiskTier:
    """Pages on disk, by the names of their blocks.

    Attributes:
      root: the name of no tokens.

    Args:
      cache: where they are kept, and how many bytes of them.
      identity: what their bits follow from.
      memories: where they lie in memory, of each pool.
    """

    def __init__(self, cache: PageCache, identity: KvIdentity, memories: Sequence[PageMemory]):
        for memory in memories:
            memory.check()
        self._cache, self._memories = cache, memories
        parts = (asdict(identity), compiler_identity())
        self.root = hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).digest()
        self._writer = _Writer(cache)
        # The thread ends when it has written what waits.
        weakref.finalize(self, self._writer.end).atexit = False

    @staticmethod
    def name(parent: bytes, tokens: bytes) -> bytes:
        """The name of the block of ``tokens`` behind that of ``parent``."""
        return hashlib.blake2b(parent + tokens, digest_size=16).digest()

    def has(self, name: bytes, pool: int) -> bool:
        """True where a page is there, or will be."""
        key = _key(name, pool)
        return self._writer.has(key) or self._cache.has(key)

    def save(self, name: bytes, pool: int, page: int) -> bool:
        """Keeps a page; False where too many wait to be written. What it holds is copied now."""
        if self.has(name, pool):
            return True
        memory = self._memories[pool]
        if not self._writer.has_room(memory.page_bytes):
            return False
        data = np.empty(memory.page_bytes, np.uint8)
        memory.read(page, data)
        self._writer.put(_key(name, pool), data)
        return True

    def load(self, name: bytes, pool: int, page: int) -> bool:
        """Fills a page; False where it is not there. One that is damaged is removed, with a warning."""
        key, memory = _key(name, pool), self._memories[pool]
        waiting = self._writer.waiting(key)
        data = self._cache.load_mapped(PAGES, key) if waiting is None else waiting
        if data is None or data.size != memory.page_bytes:
            return False
        memory.write(page, data)
        # The file may have been cut since it was checked.
        try:
            check_unchanged(files_of([data]))
        except LumenError:
            return False
        return True

    def flush(self, seconds: float = _LAST_SECONDS) -> bool:
        """Waits until all is written, but at most so long; whether it is."""
        return self._writer.flush(seconds)


class _Writer:
    """A thread that writes pages to the cache, one after the other.

    One thread at a time puts pages; the executor's lock sees to it. Nothing here is locked: a dictionary
    changes at once, and each of the two counts has one thread that changes it.
    """

    def __init__(self, cache: PageCache):
        self._cache = cache
        self._begin()
        _writers.add(self)

    def _begin(self) -> None:
        # Not written in Python, so an interrupt leaves it whole.
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._waiting: dict[str, np.ndarray] = {}
        self._put = self._done = 0
        self._thread: threading.Thread | None = None

    def has(self, key: str) -> bool:
        return key in self._waiting

    def waiting(self, key: str) -> np.ndarray | None:
        return self._waiting.get(key)

    def has_room(self, size: int) -> bool:
        waits = self._put - self._done
        return not waits or waits + size <= _WAITING_BYTES

    def put(self, key: str, data: np.ndarray) -> None:
        with interrupts_held():
            self._waiting[key] = data
            self._put += data.size
            self._queue.put(key)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lumen-kv-disk", daemon=True)
                self._thread.start()

    def end(self) -> None:
        self._queue.put(None)

    def flush(self, seconds: float) -> bool:
        last = time.monotonic() + seconds
        while self._waiting and time.monotonic() < last:
            time.sleep(0.002)
        return not self._waiting

    def _run(self) -> None:
        while (key := self._queue.get()) is not None:
            data = self._waiting[key]
            # (It raises nothing; a full disk is told once.)
            self._cache.store(PAGES, key, data)
            del self._waiting[key]
            self._done += data.size


def _key(name: bytes, pool: int) -> str:
    return f"{name.hex()}-{pool}"


_writers: weakref.WeakSet[_Writer] = weakref.WeakSet()


def _forget() -> None:
    """In a forked child: the threads exist in the parent only, which writes what waits."""
    for writer in list(_writers):
        writer._begin()


def _write_the_rest() -> None:
    last = time.monotonic() + _LAST_SECONDS
    for writer in list(_writers):
        writer.flush(last - time.monotonic())


os.register_at_fork(after_in_child=_forget)
atexit.register(_write_the_rest)

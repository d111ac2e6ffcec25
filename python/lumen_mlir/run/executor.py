# SPDX-License-Identifier: Apache-2.0
"""A loaded model that runs steps: compiled code, packed weights, and the KV cache of its sequences."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as Several
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lumen_mlir.env import MAX_THREADS
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import kv_cache
from lumen_mlir.models import Model, rope_table
from lumen_mlir.run import engine, packed_weights
from lumen_mlir.run.compiled_step import compile_step, step_of
from lumen_mlir.run.device import place_of
from lumen_mlir.run.device_name import CPU
from lumen_mlir.run.engine import Call
from lumen_mlir.run.kv_identity import KvIdentity
from lumen_mlir.run.memory import check_room, pool_pages
from lumen_mlir.run.page_memory import PageMemory
from lumen_mlir.run.pages import NoRoomError, PagePool, SequencePages
from lumen_mlir.run.prefix_tree import PrefixTree
from lumen_mlir.run.sequence import Part, Sequence, check_parts
from lumen_mlir.run.session_options import Progress, SessionOptions, Timings, check_count, silent
from lumen_mlir.run.step_arguments import check_logits
from lumen_mlir.run.tuning import Tuning
from lumen_mlir.run.weight_loader import WeightLoader
from lumen_mlir.storage.cache import Cache
from lumen_mlir.storage.mapping import check_unchanged, fetch, files_of
from lumen_mlir.support.interrupts import interrupts_held

if TYPE_CHECKING:
    from lumen_mlir.run.disk_tier import DiskTier

__all__ = ["Executor", "LogitsMemory", "Part", "Sequence"]

Zeros = Callable[[tuple[int, ...], type], np.ndarray]
"""Makes an array of a shape and a type that holds zeros."""


class Executor:
    """Runs the steps of a model on the KV cache of any number of sequences.

    Attributes:
      context: tokens of the longest sequence.
      device, target: what runs its code, and what that is compiled for.
      capacity: tokens of all sequences that there are pages for.
      engine: the compiled code.
      packed_bytes: bytes of the packed weights.
      timings: how long opening took.
      tuning, tuning_key: how products are cut, and what ``lumen tune`` keeps that under.
      lock: whoever holds it is the only one to step; reentrant.
      memories: where keys and values lie, of the layers of each window.
      era: another one from each ``forget`` on.

    Args:
      model: an open model.
      options: how to run it.
      sequences: how many there may be at a time, for which the caches of windows have room.
      spare: so many more there may be, where there is room.
      pool: tokens of all sequences that the KV cache has room for, in whole pages; None for ``context``.
      prefixes: keep what sequences have computed, as long as there is room, for others that begin alike.
        It is kept on disk, too, where ``options.kv_disk`` says how much of it.
      cache: where code and packed weights are kept.
      progress: told of the work that the cache does not save.
      timings: filled in.
      tuned: how products are cut; None for what ``lumen tune`` has found for this model, if it has.

    Sequences take pages of the KV cache as they grow, and none has a share of its own.
    """

    # The call of a step, the words of it that change, and the memory behind its arguments.
    _call: Call
    _counts: list[np.ndarray]
    _selected: np.ndarray
    _run_count: np.ndarray
    _out: np.ndarray
    _tokens: np.ndarray
    _positions: np.ndarray
    _rows: np.ndarray
    _runs: np.ndarray
    _places: list[np.ndarray]
    # The KV cache: the pages of each window, whose they are, and which sequences there may be.
    capacity: int
    _pools: list[PagePool]
    _tables: list[np.ndarray]
    _free: list[int]
    memories: list[PageMemory]
    era: object

    def __init__(
        self,
        model: Model,
        options: SessionOptions | None = None,
        *,
        sequences: int = 1,
        spare: int = 0,
        pool: int | None = None,
        prefixes: bool = False,
        cache: Cache | None = None,
        progress: Progress = silent,
        timings: Timings | None = None,
        tuned: Tuning | None = None,
    ):
        check_count("sequences", sequences)
        if pool is not None:
            check_count("pool", pool)
        self.model = model
        self.options = options or SessionOptions()
        self.timings = timings or Timings()
        self.context = self.options.context_of(model)
        place = place_of(self.options.device, self.options.target)
        self.target, self.device = place.target, place.device
        self.tuning = tuned
        self._cache = Cache() if cache is None else cache
        with WeightLoader(model, self.options, self._cache) as loader:
            self._compile(progress, loader)
            check_room(model, replace(self.options, sequences=sequences, kv_pool=pool), self.engine)
            self._load_weights(progress, loader)
        self._allocate(sequences, spare, pool)
        self._tier = self._open_tier() if prefixes else None
        windows = list(zip(self._pools, model.config.windows, strict=True))
        self._tree = PrefixTree(windows, self.engine.shares_memory, self._tier) if prefixes else None
        self.lock = self.engine.lock
        self.era = object()

    @property
    def threads(self) -> int:
        """Threads of the team."""
        return self.engine.threads

    @property
    def kernels(self) -> str:
        """What was chosen for the device: target, dot product, rows x tokens of a register tile."""
        target = self.target
        where = "" if self.device.name == CPU else f" on {self.device}"
        return f"{target.name} ({target.arithmetic}, tile {target.rows}x{target.tokens}){where}"

    @cached_property
    def identity(self) -> KvIdentity:
        """What its keys and values follow from, besides tokens."""
        return KvIdentity.of(self.model, self.options, self.target, self.context)

    def set_threads(self, count: int) -> None:
        """Goes on with another team of threads; results do not depend on it."""
        check_count("threads", count, MAX_THREADS)
        self.engine.set_threads(count)

    # --- sequences ------------------------------------------------------------------------------------------

    def open(self) -> Sequence:
        """A new sequence, without tokens. Raises ``NoRoomError`` where there are as many as there may be."""
        with self.lock, interrupts_held():
            if not self._free:
                raise NoRoomError(f"there are {len(self._tables[0])} sequences already, as many as may be")
            number = self._free.pop()
            windows = zip(self._pools, self._tables, self.model.config.windows, strict=True)
            pages = [SequencePages(pool, table[number], window) for pool, table, window in windows]
            return Sequence(self, number, pages)

    def adopt(self, sequence: Sequence, tokens: Several[int] | np.ndarray) -> int:
        """``Sequence.adopt``."""
        ids = np.asarray(tokens, np.int32)
        with self.lock, interrupts_held():
            sequence.check_open()
            if sequence.tokens:
                raise LumenError("a sequence that has tokens cannot begin with others")
            known = self._tree.adopt(ids, sequence.pages) if self._tree is not None else 0
            sequence.tokens = ids[:known].tolist()
            return known

    def fork(self, sequence: Sequence) -> Sequence:
        """``Sequence.fork``."""
        with self.lock, interrupts_held():
            sequence.check_open()
            other = self.open()
            for mine, its in zip(sequence.pages, other.pages, strict=True):
                its.adopt(mine.table[mine.begin : mine.end].tolist(), mine.begin)
            other.tokens = list(sequence.tokens)
            return other

    def close(self, sequence: Sequence) -> None:
        """``Sequence.close``."""
        with self.lock, interrupts_held():
            if sequence.closed or sequence.era is not self.era:
                return
            sequence.closed = True
            self.publish(sequence, ended=True)
            for held in sequence.pages:
                held.clear()
            self._free.append(sequence.number)

    def publish(self, sequence: Sequence, ended: bool = False) -> None:
        """Lets others begin with the whole blocks of a sequence, or all of it. The caller holds ``lock``."""
        if self._tree is not None and sequence.tokens:
            self._tree.publish(np.array(sequence.tokens, np.int32), sequence.pages, ended)

    def forget(self) -> None:
        """Makes the KV cache empty: of prefixes, and of the sequences there are, which must not be used."""
        with self.lock, interrupts_held():
            self.era = object()
            self._free = list(range(len(self._tables[0])))[::-1]
            for pool in self._pools:
                pool.clear()
            if self._tree is not None:
                self._tree.forget()

    # --- steps ----------------------------------------------------------------------------------------------

    def run(self, parts: Several[Part], out: np.ndarray) -> None:
        """Runs a step. What a part computes does not depend on the others.

        ``out`` gets the logits that are wanted, part by part: float32 [rows, vocabulary]. The tokens of all
        parts are at most ``options.chunk``, and those of a sequence end within the context, which callers
        have checked. Raises ``LumenError`` where the KV cache has too few pages, or no longer what a part
        attends to.

        Where a step fails, its sequences still have their tokens before the positions that it began at.
        """
        logits = sum(len(part.tokens) - part.first for part in parts)
        check_logits(out, (logits, self.model.config.vocabulary))
        # Of a subclass, the array itself.
        memory = np.asarray(out)
        # An interrupt waits for the end of the step, as it does while code runs.
        with self.lock, interrupts_held():
            check_parts(self, parts, self.options.chunk)
            for part in parts:
                self._hold(part)
            begin, row = 0, 0
            for number, part in enumerate(parts):
                row = self._add(number, part, begin, row)
                begin += len(part.tokens)
            for words in self._counts:
                words[1] = begin
            self._selected[1], self._run_count[1] = row, len(parts)
            self._out[:] = engine.address_of(memory), row
            self._call.repeat()
            for part in parts:
                self._keep(part)
        check_unchanged(self._files)

    def _hold(self, part: Part) -> None:
        # Before pages change: tokens never speak of what is not there any more.
        del part.sequence.tokens[part.position :]
        for held in part.sequence.pages:
            held.hold(part.position, len(part.tokens))
        self._fill_ropes(part.position + len(part.tokens))

    def _keep(self, part: Part) -> None:
        """Notes what a part has written, and tells of the blocks that became whole."""
        tokens = part.sequence.tokens
        if len(tokens) < part.position:
            # Measurements step at positions before which nothing was computed. That is of no use to others.
            return
        tokens.extend(part.tokens.tolist())
        if len(tokens) // kv_cache.PAGE > part.position // kv_cache.PAGE:
            self.publish(part.sequence)

    def _add(self, number: int, part: Part, begin: int, row: int) -> int:
        """Writes a part's rows, from ``begin`` on; returns the number of logits behind its own."""
        count, first = len(part.tokens), part.first
        own, behind = slice(begin, begin + count), row + count - first
        # (Of single tokens, which most steps have, numbers: arrays of one take longer.)
        positions = part.position if count == 1 else np.arange(part.position, part.position + count)
        self._tokens[own] = part.tokens
        self._positions[own] = positions
        self._rows[row:behind] = begin if count == 1 else np.arange(begin + first, begin + count)
        self._runs[number] = begin, count, part.sequence.number
        for held, places in zip(part.sequence.pages, self._places, strict=True):
            places[own] = held.places(positions)
        return behind

    # --- opening --------------------------------------------------------------------------------------------

    def _compile(self, progress: Progress, loader: WeightLoader) -> None:
        start = time.perf_counter()
        step = compile_step(
            self.model,
            self.options,
            self._cache,
            progress,
            self.tuning,
            lambda signatures: loader.begin_early(step_of(signatures)),
        )
        self.engine, self.tuning, self.tuning_key = step.engine, step.tuning, step.tuning_key
        self.timings.compile = time.perf_counter() - start
        self.timings.compile_cached = self.engine.cached

    def _load_weights(self, progress: Progress, loader: WeightLoader) -> None:
        start = time.perf_counter()
        step = step_of(self.engine.program.signatures)
        layout, buffer = loader.finish(step, progress)
        self.timings.pack_cached = loader.cached
        self.packed_bytes: int = layout.size
        self._weights = []
        for parameter in step.arguments:
            name = parameter.name
            if not name:
                continue
            if parameter.tile:
                offset, size = layout.places[name]
                weight = buffer[offset : offset + size]
            else:
                weight = self.model.weight(name)
                if weight.ndim == 1:
                    # Vectors lie scattered among matrices: as copies they take less memory than their pages.
                    weight = weight.copy()
                else:
                    # Of an embedding table a step uses single rows, and would wait milliseconds for the disk.
                    weight = weight.reshape(-1)
                    fetch(weight)
            self._weights.append(weight)
        check_unchanged(self.model.file.files)
        self._files = files_of(self._weights)
        self.model.file.release()
        self.timings.pack = time.perf_counter() - start

    def _allocate(self, sequences: int, spare: int, pool: int | None, zeros: Zeros | None = None) -> None:
        """The buffers of a step, and the words of the call that change from step to step."""
        config, chunk, zeros = self.model.config, self.options.chunk, zeros or self._zeros
        kv_type = kv_cache.get(self.options.kv_type)
        pages = pool_pages(self.model, self.options, sequences, pool)
        sequences += spare
        self.capacity = kv_cache.pages(self.context if pool is None else pool) * kv_cache.PAGE
        shapes = self.model.cache_shapes(self.context, chunk, kv_type.name, pages)
        caches = [zeros(shape, kv_type.dtype) for shape in shapes]
        pairs = zip(caches[::2], caches[1::2], strict=True)
        self._tokens, self._positions, self._rows = (zeros((chunk,), np.int32) for _ in range(3))
        self._runs = zeros((min(sequences, chunk), 3), np.int32)
        self._free = list(range(sequences))[::-1]
        in_place = self.engine.shares_memory
        self.memories = [PageMemory(keys, values, in_place) for keys, values in pairs]
        self._pools = [
            PagePool(count, memory.copy) for count, memory in zip(pages, self.memories, strict=True)
        ]
        columns = kv_cache.pages(self.context)
        self._tables = [zeros((sequences, columns), np.int32) for _ in config.windows]
        self._places = [zeros((chunk,), np.int32) for _ in config.windows]
        self._ropes = [zeros((self.context, rope.dimensions), np.float32) for rope in config.ropes]
        self._rope_rows = 0
        # One token of the first sequence, with which the call is checked; steps say how many there are.
        self._runs[0] = 0, 1, 0
        where = [a for both in zip(self._places, self._tables, strict=True) for a in (both[0][:1], both[1])]
        numbers = [self._tokens[:1], self._positions[:1], self._rows[:1], self._runs[:1], *where]
        inputs = [*numbers, *self._ropes, *caches, *self._weights]
        logits = np.empty((1, config.vocabulary), np.float32)
        self._call = self.engine.bind("step", *inputs, outs=[logits])
        self._call.check()
        held = len(numbers) + len(self._ropes)
        self._tables_of_ropes = range(len(numbers), held)
        self._call.keep(*range(held, held + len(caches)), zero=True)
        self._call.keep(*self._tables_of_ropes, *range(held + len(caches), len(inputs)))
        if self._call.hold():
            # From here on it does not matter what becomes of the files.
            check_unchanged(self._files)
            self._weights, self._files = [], []
            self.model.file.release()
        places = range(4, len(numbers), 2)
        self._counts = [self._call.words(number) for number in (0, 1, *places)]
        self._selected, self._run_count = self._call.words(2), self._call.words(3)
        self._out = self._call.words(len(inputs))

    def _zeros(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        # What stands for memory of another device is not touched here.
        return packed_weights.zeros(shape, dtype, reserved=self.engine.shares_memory)

    def _open_tier(self) -> DiskTier | None:
        """Where pages are kept on disk, if they are."""
        limit = self.options.kv_disk_bytes
        if not limit:
            return None
        # Imported here because few need it, and every start would wait for it.
        from lumen_mlir.run.disk_tier import DiskTier
        from lumen_mlir.storage.page_cache import PageCache

        return DiskTier(PageCache(self._cache, limit), self.identity, self.memories)

    def _fill_ropes(self, end: int) -> None:
        """Computes the rotary tables up to position ``end``, twice as far each time they do not suffice."""
        if end > self._rope_rows:
            rows = min(self.context, max(end, 2 * self._rope_rows, 1024))
            for rope, table in zip(self.model.config.ropes, self._ropes, strict=True):
                table[self._rope_rows : rows] = rope_table(rope, self.context, self._rope_rows, rows)
            self._rope_rows = rows
            self._call.renew(*self._tables_of_ropes)


class LogitsMemory(threading.local):
    """Memory for logits. Each thread has its own, so that steps of others leave it alone."""

    def __init__(self, vocabulary: int):
        self._vocabulary = vocabulary
        self._logits = np.empty((0, vocabulary), np.float32)

    def rows(self, count: int) -> np.ndarray:
        """float32 [count, vocabulary], used again by the thread's next call."""
        if len(self._logits) < count:
            self._logits = np.empty((count, self._vocabulary), np.float32)
        return self._logits[:count]

# SPDX-License-Identifier: Apache-2.0
"""A loaded model that runs steps: its layers on their devices, and the KV cache of its sequences."""

from __future__ import annotations

import contextlib
import threading
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
from lumen_mlir.run.ask import Ask
from lumen_mlir.run.device import place_of
from lumen_mlir.run.device_name import CPU
from lumen_mlir.run.kv_identity import KvIdentity
from lumen_mlir.run.memory import RoomError, pool_pages
from lumen_mlir.run.page_memory import PageMemory
from lumen_mlir.run.pages import NoRoomError, PagePool, SequencePages
from lumen_mlir.run.placement import Assignment, assign, smaller_assignments, text_of
from lumen_mlir.run.prefix_tree import PrefixTree
from lumen_mlir.run.section import Section, StepArrays, Weights, Zeros
from lumen_mlir.run.sequence import Part, Sequence, check_parts
from lumen_mlir.run.session_options import AUTO, Progress, SessionOptions, Timings, check_count, silent
from lumen_mlir.run.step_arguments import check_logits, check_states
from lumen_mlir.run.tuning import Tuning
from lumen_mlir.storage.cache import Cache
from lumen_mlir.support.interrupts import interrupts_held

if TYPE_CHECKING:
    from lumen_mlir.run.disk_tier import DiskTier

__all__ = ["Executor", "LogitsMemory", "Part", "Sequence"]


class Executor:
    """Runs the steps of a model on the KV cache of any number of sequences.

    Attributes:
      context: tokens of the longest sequence.
      sections: its layers, on one device or on two.
      device, target: what the last of them runs on, and is compiled for.
      placement: for people, where layers are, if they are not all on the device that was asked for.
      capacity: tokens of all sequences that there are pages for.
      engine: the compiled code of the first section.
      packed_bytes: bytes of the packed weights.
      timings: how long opening took.
      tuning, tuning_keys: how products are cut, and what ``lumen tune`` keeps that under, of each section.
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
      beside: an executor of the same file. Weights that it has in this machine's memory, packed alike, are
        used here too, and steps of the two take turns.

    Sequences take pages of the KV cache as they grow, and none has a share of its own.
    """

    # What a step is given, tokens or hidden states, and what sections hand on to the next.
    _given: np.ndarray
    _arrays: StepArrays
    _hidden: list[np.ndarray]
    # The KV cache: the pages of each window, whose they are, and which sequences there may be.
    capacity: int
    _pools: list[PagePool]
    _free: list[int]
    memories: list[PageMemory]
    era: object
    lock: threading.RLock

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
        beside: Executor | None = None,
    ):
        check_count("sequences", sequences)
        if pool is not None:
            check_count("pool", pool)
        self.model = model
        self.options = options or SessionOptions()
        self.timings = timings or Timings()
        self.context = self.options.context_of(model)
        asked = place_of(self.options.device, self.options.target)
        self._cache = Cache() if cache is None else cache
        room = replace(self.options, sequences=sequences, kv_pool=pool)
        self._lent = {} if beside is None else beside.weights
        self.sections, assigned = self._open_sections(room, progress, tuned)
        self._lent = {}
        first, last = self.sections[0], self.sections[-1]
        self.engine, self.tuning = first.engine, first.tuning
        self.tuning_keys = [section.tuning_key for section in self.sections]
        self.device, self.target = last.place.device, last.place.target
        self.packed_bytes = sum(section.packed_bytes for section in self.sections)
        self.placement = text_of(assigned, [section.read_bytes for section in self.sections], asked)
        self._allocate(sequences, spare, pool)
        self._tier = self._open_tier() if prefixes else None
        windows = list(zip(self._pools, model.windows, strict=True))
        copies = all(memory.is_reachable for memory in self.memories)
        self._tree = PrefixTree(windows, copies, self._tier) if prefixes else None
        self.lock = self.engine.lock if beside is None else beside.lock
        self.era = object()

    @property
    def threads(self) -> int:
        """Threads of the team."""
        return self.engine.threads

    @property
    def kernels(self) -> str:
        """What was chosen for the device: target, dot product, rows x tokens of a register tile."""
        return " and ".join(map(_kernels, self.sections))

    @property
    def weights(self) -> Weights:
        """What lies in this machine's memory, by name and tile."""
        return {key: array for section in self.sections for key, array in section.weights.items()}

    @cached_property
    def identity(self) -> KvIdentity:
        """What its keys and values follow from, besides tokens."""
        targets = [(section.place.target.name, len(section.model.layers)) for section in self.sections]
        return KvIdentity.of(self.model, self.options, targets, self.context)

    def set_threads(self, count: int) -> None:
        """Goes on with another team of threads; results do not depend on it."""
        check_count("threads", count, MAX_THREADS)
        for section in self.sections:
            section.engine.set_threads(count)

    # --- sequences ------------------------------------------------------------------------------------------

    def open(self) -> Sequence:
        """A new sequence, without tokens. Raises ``NoRoomError`` where there are as many as there may be."""
        with self.lock, interrupts_held():
            if not self._free:
                raise NoRoomError(f"there are {self._most_sequences} sequences already, as many as may be")
            number = self._free.pop()
            tables = zip(self._pools, self._arrays.tables.items(), strict=True)
            pages = [SequencePages(pool, table[number], window) for pool, (window, table) in tables]
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

    @property
    def _most_sequences(self) -> int:
        return len(next(iter(self._arrays.tables.values())))

    def publish(self, sequence: Sequence, ended: bool = False) -> None:
        """Lets others begin with the whole blocks of a sequence, or all of it. The caller holds ``lock``."""
        if self._tree is not None and sequence.tokens:
            self._tree.publish(np.array(sequence.tokens, np.int32), sequence.pages, ended)

    def forget(self) -> None:
        """Makes the KV cache empty: of prefixes, and of the sequences there are, which must not be used."""
        with self.lock, interrupts_held():
            self.era = object()
            self._free = list(range(self._most_sequences))[::-1]
            for pool in self._pools:
                pool.clear()
            if self._tree is not None:
                self._tree.forget()

    # --- steps ----------------------------------------------------------------------------------------------

    @property
    def selects(self) -> bool:
        """Whether the largest logits of rows can be asked for instead of all."""
        return self.sections[-1].selection is not None

    def run(
        self,
        parts: Several[Part],
        out: np.ndarray,
        asks: Several[Ask | None] = (),
        states: np.ndarray | None = None,
    ) -> None:
        """Runs a step. What a part computes does not depend on the others.

        ``out`` gets the logits that are wanted, part by part: float32 [rows, vocabulary]; of a model without
        its head, hidden states: [rows, width]; of one without its last layer, those of all tokens. Where the
        first layer is missing, it begins with the hidden states ``states``: float32 [tokens, width].

        The tokens of all parts are at most ``options.chunk``, and those of a sequence end within the context,
        which callers have checked. Raises ``LumenError`` where the KV cache has too few pages, or no longer
        what a part attends to.

        Where it ``selects``, ``asks`` are given the largest logits of the first rows, each of one row. A row
        that is taken does not come to ``out``, but those for None and for asks that need all logits do.

        Where a step fails, its sequences still have their tokens before the positions that it began at.
        """
        tokens = sum(len(part.tokens) for part in parts)
        wanted = sum(len(part.tokens) - part.first for part in parts) if self.model.is_last else tokens
        check_logits(out, (wanted, self.model.row_width))
        check_states(states, None if self.model.is_first else (tokens, self.model.config.width))
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
            if states is not None:
                self._given[:begin] = states
            selection = self.sections[-1].selection
            if selection is not None:
                selection.ask(asks)
            for section, made in zip(self.sections, [*self._hidden, memory], strict=True):
                section.run(begin, row, len(parts), engine.address_of(made))
            for part in parts:
                self._keep(part)
            if selection is not None:
                selection.answer(asks, memory)
        for section in self.sections:
            section.check_files()

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
        arrays = self._arrays
        if self.model.is_first:
            self._given[own] = part.tokens
        arrays.positions[own] = positions
        arrays.rows[row:behind] = begin if count == 1 else np.arange(begin + first, begin + count)
        arrays.runs[number] = begin, count, part.sequence.number
        for held, places in zip(part.sequence.pages, arrays.places.values(), strict=True):
            places[own] = held.places(positions)
        return behind

    # --- opening --------------------------------------------------------------------------------------------

    def _open_sections(
        self, room: SessionOptions, progress: Progress, tuned: Tuning | None
    ) -> tuple[list[Section], list[Assignment]]:
        """The parts of the model on their devices; fewer layers on a GPU that has no room for more."""
        model, options = self.model, self.options
        assigned = assign(model, options)
        try:
            return self._open_all(assigned, room, progress, tuned), assigned
        except RoomError as error:
            if options.gpu_layers != AUTO:
                raise
            # (Without what it refers to, which takes memory of the device.)
            failure = error.with_traceback(None)
        for assigned in smaller_assignments(model, room, failure):
            with contextlib.suppress(RoomError):
                return self._open_all(assigned, room, progress, tuned), assigned
        raise failure

    def _open_all(
        self, assigned: Several[Assignment], room: SessionOptions, progress: Progress, tuned: Tuning | None
    ) -> list[Section]:
        timings = self.timings
        timings.compile_cached = timings.pack_cached = True
        more = (self.options, room, self._cache, progress, timings, tuned, self._lent)
        # The last one first: it may find that its device has no room.
        return [Section(each.model, each.place, *more) for each in reversed(assigned)][::-1]

    def _allocate(self, sequences: int, spare: int, pool: int | None, zeros: Zeros | None = None) -> None:
        """The buffers of a step, and the calls of its sections."""
        model, chunk, own, zeros = self.model, self.options.chunk, zeros, zeros or packed_weights.zeros
        windows, width = list(model.windows), model.config.width
        pages = pool_pages(model, self.options, sequences, pool)
        sequences += spare
        self.capacity = kv_cache.pages(self.context if pool is None else pool) * kv_cache.PAGE
        self._given = zeros((chunk,), np.int32) if model.is_first else zeros((chunk, width), np.float32)
        positions, rows = (zeros((chunk,), np.int32) for _ in range(2))
        runs = zeros((min(sequences, chunk), 3), np.int32)
        # One token of the first sequence, with which calls are checked; steps say how many there are.
        runs[0] = 0, 1, 0
        self._free = list(range(sequences))[::-1]
        columns = kv_cache.pages(self.context)
        self._arrays = StepArrays(
            positions,
            rows,
            runs,
            {window: zeros((chunk,), np.int32) for window in windows},
            {window: zeros((sequences, columns), np.int32) for window in windows},
            {rope: zeros((self.context, rope.dimensions), np.float32) for rope in model.ropes},
        )
        self._rope_rows = 0
        self._hidden = [zeros((chunk, width), np.float32) for _ in self.sections[1:]]
        logits = np.empty((1, model.row_width), np.float32)
        given, made = [self._given, *self._hidden], [*(x[:1] for x in self._hidden), logits]
        counts = dict(zip(windows, pages, strict=True))
        caches = [
            section.bind(x, out, self._arrays, counts, own)
            for section, x, out in zip(self.sections, given, made, strict=True)
        ]
        # Of the layers of a window, in their order.
        pairs = {window: [each[window] for each in caches if window in each] for window in windows}
        self.memories = [PageMemory(*zip(*pairs[window], strict=True)) for window in windows]
        self._pools = [
            PagePool(count, memory.copy) for count, memory in zip(pages, self.memories, strict=True)
        ]

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
            for rope, table in self._arrays.ropes.items():
                table[self._rope_rows : rows] = rope_table(rope, self.context, self._rope_rows, rows)
            self._rope_rows = rows
            for section in self.sections:
                section.renew_ropes()


def _kernels(section: Section) -> str:
    target, device = section.place.target, section.place.device
    where = "" if device.name == CPU else f" on {device}"
    return f"{target.name} ({target.arithmetic}, tile {target.rows}x{target.tokens}){where}"


class LogitsMemory(threading.local):
    """Memory for rows of logits, or of hidden states. Each thread has its own, which others leave alone."""

    def __init__(self, width: int):
        self._width = width
        self._logits = np.empty((0, width), np.float32)

    def rows(self, count: int) -> np.ndarray:
        """float32 [count, width], used again by the thread's next call."""
        if len(self._logits) < count:
            self._logits = np.empty((count, self._width), np.float32)
        return self._logits[:count]

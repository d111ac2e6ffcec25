# SPDX-License-Identifier: Apache-2.0
"""A loaded model ready to step: compiled code, packed weights, KV cache and a team of threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

from lumen_mlir.compiler import targets
from lumen_mlir.env import MAX_THREADS
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import kv_cache
from lumen_mlir.models import Model, rope_table
from lumen_mlir.run import device, engine, packed_weights
from lumen_mlir.run.compiled_step import compile_step, step_of
from lumen_mlir.run.engine import Call
from lumen_mlir.run.program import Program
from lumen_mlir.run.session_options import Progress, SessionOptions, Timings, check_count, silent
from lumen_mlir.run.step_arguments import check_logits, place, token_ids, whole_number
from lumen_mlir.run.tuning import Tuning
from lumen_mlir.run.weight_loader import WeightLoader
from lumen_mlir.storage.cache import Cache
from lumen_mlir.storage.mapping import check_unchanged, fetch, files_of


class Session:
    """Runs the steps of a model: what is compiled and packed, and the KV cache.

    Attributes:
      target: what the code is compiled for.
      context: tokens that the KV cache holds.
      timings: how long opening took.
      tuning: how products are cut.

    Args:
      model: an open model.
      options: how to run it.
      cache: where code and packed weights are kept.
      progress: told of the work that the cache does not save.
      timings: filled in.
      tuned: how products are cut; None for what ``lumen tune`` has found for this model, if it has.
    """

    # The words of the call that change from step to step, and the memory behind others.
    _call: Call
    _count: np.ndarray
    _first: np.ndarray
    _out: np.ndarray
    _position: np.ndarray
    _tokens: np.ndarray
    # Positions that the KV cache was written up to.
    _written: int

    def __init__(
        self,
        model: Model,
        options: SessionOptions | None = None,
        *,
        cache: Cache | None = None,
        progress: Progress = silent,
        timings: Timings | None = None,
        tuned: Tuning | None = None,
    ):
        self.model = model
        self.options = options or SessionOptions()
        self.timings = timings or Timings()
        self.context = self.options.context_of(model)
        self.target = device.check_runs(targets.get(self.options.target))
        self._cache = Cache() if cache is None else cache
        self.tuning = tuned
        with WeightLoader(model, self.options, self._cache) as loader:
            self._compile(progress, loader)
            self._load_weights(progress, loader)
        self._allocate()

    @property
    def threads(self) -> int:
        """Threads of the team."""
        return self._engine.threads

    def set_threads(self, count: int) -> None:
        """Goes on with another team of threads; results do not depend on it."""
        check_count("threads", count, MAX_THREADS)
        self._engine.set_threads(count)

    @property
    def program(self) -> Program:
        """The compiled code."""
        return self._engine.program

    @property
    def kernel_times(self) -> np.ndarray:
        """``Engine.kernel_times`` of the compiled code."""
        return self._engine.kernel_times

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights."""
        return self._packed_bytes

    @property
    def arena_bytes(self) -> int:
        """Bytes for the intermediates of a step."""
        return self._engine.arena_bytes

    @property
    def kernels(self) -> str:
        """What was chosen for this CPU: target, dot product, rows x tokens of a register tile."""
        target = self.target
        return f"{target.name} ({target.arithmetic}, tile {target.rows}x{target.tokens})"

    def step(
        self, tokens: Sequence[int] | np.ndarray, position: int, first: int = 0, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Runs ``tokens`` at ``position``, ``position`` + 1, … on top of what the KV cache holds before it.

        Returns the logits of the tokens from number ``first`` on: float32 [len(tokens) - first, vocabulary],
        written to ``out`` or to memory that the next step of the same thread uses again. ``LumenError`` where
        the tokens do not fit a step or the context, or are none of the vocabulary. Steps of several threads
        run one after the other, on the same KV cache.
        """
        vocabulary = self.model.config.vocabulary
        ids = token_ids(tokens, vocabulary, self.options.chunk)
        count = len(ids)
        position, first = place(position, first, count, self.context)
        rows = count - first
        if out is None:
            out = memory = self._logits_of(rows)
        else:
            check_logits(out, (rows, vocabulary))
            # Of a subclass, the array itself.
            memory = np.asarray(out)
        with self._engine.lock:
            if not self.can_resume(position):
                raise LumenError(
                    f"a step cannot go back to position {position}: {self._written} positions were written, "
                    "and of sliding windows only the last ones are kept"
                )
            self._fill_rope(position + count)
            self._tokens[:count] = ids
            self._count[:], self._position[:], self._first[:] = count, position, first
            self._out[:] = engine.address_of(memory), rows
            self._written = max(self._written if position else 0, position + count)
            self._call.repeat()
        check_unchanged(self._files)
        return out

    def can_resume(self, position: int) -> bool:
        """True where the KV cache still holds all that a step at ``position`` attends to.

        That is so for every position written to, except that rings of sliding windows forget: after H
        positions a ring of C holds from position H - C on, and a step needs ``window`` - 1 before its own.
        """
        config, chunk, position = self.model.config, self.options.chunk, whole_number("position", position)
        for window in config.windows:
            oldest = self._written - kv_cache.PAGE * config.cache_pages(window, self.context, chunk)
            if window is not None and position and max(position - window + 1, 0) < oldest:
                return False
        return True

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
        self._engine, self.tuning, self.tuning_key = step.engine, step.tuning, step.tuning_key
        self.timings.compile = time.perf_counter() - start
        self.timings.compile_cached = self._engine.cached

    def _load_weights(self, progress: Progress, loader: WeightLoader) -> None:
        start = time.perf_counter()
        step = step_of(self._engine.program.signatures)
        layout, buffer = loader.finish(step, progress)
        self.timings.pack_cached = loader.cached
        self._packed_bytes = layout.size
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

    def _allocate(self) -> None:
        """The buffers of a step, and the words of the call that change from step to step."""
        config, zeros = self.model.config, packed_weights.zeros
        kv_type = kv_cache.get(self.options.kv_type)
        shapes = self.model.cache_shapes(self.context, self.options.chunk, kv_type.name)
        caches = [zeros(shape, kv_type.dtype) for shape in shapes]
        self._written = 0
        self._tokens = zeros((self.options.chunk,), np.int32)
        self._ropes = [zeros((self.context, rope.dimensions), np.float32) for rope in config.ropes]
        self._rope_rows = 0
        self._memory = threading.local()
        inputs = [self._tokens[:1], 0, 0, *self._ropes, *caches, *self._weights]
        self._call = self._engine.bind("step", *inputs, outs=[self._logits_of(1)])
        self._call.check()
        self._call.keep(*range(3 + len(self._ropes), len(inputs)))
        tokens, self._position, self._first = map(self._call.words, range(3))
        self._count = tokens[1:]
        self._out = self._call.words(len(inputs))

    def _logits_of(self, rows: int) -> np.ndarray:
        """Memory for logits. Each thread has its own, so that steps of others leave it alone."""
        logits = getattr(self._memory, "logits", None)
        if logits is None or len(logits) < rows:
            logits = self._memory.logits = np.empty((rows, self.model.config.vocabulary), np.float32)
        return logits[:rows]

    def _fill_rope(self, end: int) -> None:
        """Computes the rotary table up to position ``end``, twice as far each time it does not suffice."""
        if end > self._rope_rows:
            rows = min(self.context, max(end, 2 * self._rope_rows, 1024))
            for rope, table in zip(self.model.config.ropes, self._ropes, strict=True):
                table[self._rope_rows : rows] = rope_table(rope, self.context, self._rope_rows, rows)
            self._rope_rows = rows

# SPDX-License-Identifier: Apache-2.0
"""A loaded model ready to step: compiled code, packed weights, KV cache and a team of threads."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lumen_mlir import engine, env, ir, kv_cache, packed_weights, pipelines, targets, tuning
from lumen_mlir._mlir import codegen
from lumen_mlir.cache import Cache
from lumen_mlir.compiler import CompilerOptions
from lumen_mlir.description import size_text
from lumen_mlir.engine import Engine
from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import TensorInfo
from lumen_mlir.mapping import fetch
from lumen_mlir.models import Model, rope_table
from lumen_mlir.packed_weights import PackedLayout
from lumen_mlir.system import available_memory
from lumen_mlir.threads import default_thread_count
from lumen_mlir.tuning import Tuning

logger = logging.getLogger("lumen_mlir.session")

Progress = Callable[[str, int, int], None]
"""Called with what is being done ("load", "compile", "pack"), how much of it is done, and of how much."""

# The largest context that a session takes by itself; a longer one has to be asked for.
DEFAULT_CONTEXT = 32_768
MAX_THREADS = 1024


def silent(what: str, done: int, total: int) -> None:
    """A ``Progress`` that nobody watches."""


@dataclass
class Timings:
    """Seconds that opening a model took, and whether code and packed weights came from the cache."""

    load: float = 0.0
    compile: float = 0.0
    pack: float = 0.0
    compile_cached: bool = False
    pack_cached: bool = False


@dataclass(frozen=True)
class SessionOptions:
    """How a model is run.

    Attributes:
      threads: of the team; None for ``LUMEN_THREADS`` or the number of physical cores.
      context: tokens that the KV cache can hold; None for the model's own length, at most 32,768.
      kv_type: the elements of the KV cache: "f16", "f32", or "q8_0" for half the memory of f16.
      activations: "int8", what quantized weights are multiplied with, or "exact" for float32.
      target: a name of ``lumen_mlir.targets``, or "native" for the best one this CPU has.
      chunk: most tokens of one step; a longer prompt is computed in several.
      pack_cache: keep packed weights in a file and map it at the next start.
      profile: count the calls and the time of every kernel (``lumen_mlir.profiling``).
    """

    threads: int | None = None
    context: int | None = None
    kv_type: str = "f16"
    activations: str = "int8"
    target: str = "native"
    chunk: int = 512
    pack_cache: bool = True
    profile: bool = False

    def __post_init__(self):
        if self.threads is not None:
            _check_count("threads", self.threads, MAX_THREADS)
        if self.context is not None:
            _check_count("context", self.context)
        _check_count("chunk", self.chunk, 65_536)
        kv_cache.get(self.kv_type)
        _check_choice("activations", self.activations, ("int8", "exact"))

    @staticmethod
    def of(**options: Any) -> SessionOptions:
        """Options by name; ``LumenError`` for a name that is none."""
        names = [field.name for field in fields(SessionOptions)]
        for name in options:
            if name not in names:
                raise LumenError(f"unknown option '{name}'; known are {', '.join(names)}")
        return SessionOptions(**options)

    def context_of(self, model: Model) -> int:
        """The context for ``model``; ``LumenError`` where it is longer than the model's own."""
        most = model.config.context
        if self.context is None:
            return min(most, DEFAULT_CONTEXT)
        if self.context > most:
            raise LumenError(
                f"a context of {self.context} tokens is longer than the model's own of {most} tokens"
            )
        return self.context

    def thread_count(self) -> int:
        """The threads of the team."""
        if self.threads is not None:
            return self.threads
        chosen = env.THREADS.get()
        return default_thread_count() if chosen is None else min(chosen, MAX_THREADS)


def _check_count(name: str, value: Any, most: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (most and value > most):
        limit = f" and at most {most}" if most else ""
        raise LumenError(f"{name} is {value!r}; a whole number of at least 1{limit} was expected")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise LumenError(f"unknown {name} '{value}'; known are {', '.join(choices)}")


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
        self.target = targets.check_runs(targets.get(self.options.target))
        self._cache = Cache() if cache is None else cache
        self.tuning = tuned
        self._compile(progress)
        self._load_weights(progress)
        self._allocate()

    @property
    def threads(self) -> int:
        """Threads of the team."""
        return self._engine.threads

    def set_threads(self, count: int) -> None:
        """Goes on with another team of threads; results do not depend on it."""
        _check_count("threads", count, MAX_THREADS)
        self._engine.set_threads(count)

    @property
    def program(self) -> engine.Program:
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
        """What was chosen for this CPU: target, instruction, rows x tokens of a register tile."""
        target = self.target
        return f"{target.name} ({target.dot4} {target.rows}x{target.tokens})"

    def step(
        self, tokens: Sequence[int] | np.ndarray, position: int, first: int = 0, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Runs ``tokens`` at ``position``, ``position`` + 1, … on top of what the KV cache holds before it.

        Returns the logits of the tokens from number ``first`` on: float32 [len(tokens) - first, vocabulary],
        written to ``out`` or to memory that the next step uses again. ``LumenError`` where the tokens do not
        fit a step or the context, or are none of the vocabulary.
        """
        ids = np.asarray(tokens)
        count, vocabulary = len(ids), self.model.config.vocabulary
        if not 1 <= count <= self.options.chunk:
            raise LumenError(f"a step takes 1 to {self.options.chunk} tokens, not {count}")
        if not 0 <= first <= count:
            raise LumenError(f"logits from token {first} on were asked for, of {count} tokens")
        if position < 0 or position + count > self.context:
            raise LumenError(
                f"{count} tokens at position {position} do not fit a context of {self.context} tokens"
            )
        if ids.min() < 0 or ids.max() >= vocabulary:
            raise LumenError(
                f"token ids {ids.min()} to {ids.max()} are not in a vocabulary of {vocabulary} tokens"
            )
        if not self.can_resume(position):
            raise LumenError(
                f"a step cannot go back to position {position}: {self._written} positions were written, and "
                "of sliding windows only the last ones are kept"
            )
        rows = count - first
        out = self._logits_of(rows) if out is None else out
        if out.shape != (rows, vocabulary) or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise LumenError(f"logits are float32 {[rows, vocabulary]}, not {out.dtype} {list(out.shape)}")
        self._fill_rope(position + count)
        self._tokens[:count] = ids
        self._count[:], self._position[:], self._first[:] = count, position, first
        self._out[:] = out.ctypes.data, rows
        self._written = max(self._written if position else 0, position + count)
        self._call.run()
        return out

    def can_resume(self, position: int) -> bool:
        """True where the KV cache still holds all that a step at ``position`` attends to.

        That is so for every position written to, except that rings of sliding windows forget: after H
        positions a ring of C holds from position H - C on, and a step needs ``window`` - 1 before its own.
        """
        config, chunk = self.model.config, self.options.chunk
        for window in config.windows:
            oldest = self._written - 16 * config.cache_pages(window, self.context, chunk)
            if window is not None and position and max(position - window + 1, 0) < oldest:
                return False
        return True

    # --- opening --------------------------------------------------------------------------------------------

    def _compile(self, progress: Progress) -> None:
        start = time.perf_counter()
        step = compile_step(self.model, self.options, self._cache, progress, self.tuning)
        self._engine, self.tuning, self.tuning_key = step.engine, step.tuning, step.tuning_key
        self.timings.compile = time.perf_counter() - start
        self.timings.compile_cached = self._engine.cached

    def _load_weights(self, progress: Progress) -> None:
        start = time.perf_counter()
        parameters = [argument for argument in self._engine.signatures["step"].arguments if argument.name]
        layout = packed_layout(self.model, self._engine)
        self._warn_of_little_memory(layout)
        cache = self._cache if self.options.pack_cache else None
        buffer = None if cache is None else packed_weights.load_packed(layout, cache)
        self.timings.pack_cached = buffer is not None
        if buffer is None:
            buffer = self._pack(layout, cache, progress)
        self._packed_bytes = layout.size
        self._weights = []
        for parameter in parameters:
            if parameter.tile:
                offset, size = layout.places[parameter.name]
                weight = buffer[offset : offset + size]
            else:
                weight = self.model.weight(parameter.name)
                if weight.ndim == 1:
                    # Vectors lie scattered among matrices: as copies they take less memory than their pages.
                    weight = weight.copy()
                else:
                    # Of an embedding table a step uses single rows, and would wait milliseconds for the disk.
                    weight = weight.reshape(-1)
                    fetch(weight)
            self._weights.append(weight)
        self.model.file.release()
        self.timings.pack = time.perf_counter() - start

    def _pack(self, layout: PackedLayout, cache: Cache | None, progress: Progress) -> np.ndarray:
        tensors = self.model.tensors
        with ir.Context():
            module = packed_weights.pack_module(
                (tensors[name].type, rows) for name, rows in layout.tiles.items()
            )
            packers = _compiled(module, self.options, self._cache, silent)

        def pack(info: TensorInfo, raw: np.ndarray, buffer: np.ndarray) -> None:
            function = packed_weights.pack_function(info.type, layout.tiles[info.name])
            packers.invoke(function, raw, *info.shape, outs=[buffer])

        return packed_weights.pack(
            self.model, layout, pack, cache, lambda done, total: progress("pack", done, total)
        )

    def _warn_of_little_memory(self, layout: PackedLayout) -> None:
        free = available_memory()
        if free is not None and layout.size > free:
            logger.warning(
                "packed weights take %s, but only %s of memory are free: they are read from the disk in "
                "every step, which is slow",
                size_text(layout.size),
                size_text(free),
            )

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
        self._logits = np.empty((1, config.vocabulary), np.float32)
        inputs = [self._tokens[:1], 0, 0, *self._ropes, *caches, *self._weights]
        self._call = self._engine.bind("step", *inputs, outs=[self._logits])
        tokens, self._position, self._first = map(self._call.words, range(3))
        self._count = tokens[1:]
        self._out = self._call.words(len(inputs))

    def _logits_of(self, rows: int) -> np.ndarray:
        if len(self._logits) < rows:
            self._logits = np.empty((rows, self.model.config.vocabulary), np.float32)
        return self._logits[:rows]

    def _fill_rope(self, end: int) -> None:
        """Computes the rotary table up to position ``end``, twice as far each time it does not suffice."""
        if end > self._rope_rows:
            rows = min(self.context, max(end, 2 * self._rope_rows, 1024))
            for rope, table in zip(self.model.config.ropes, self._ropes, strict=True):
                table[self._rope_rows : rows] = rope_table(rope, self.context, self._rope_rows, rows)
            self._rope_rows = rows


def packed_layout(model: Model, engine: Engine) -> PackedLayout:
    """Where the weights lie that the compiled step wants packed."""
    arguments = engine.signatures["step"].arguments
    return PackedLayout.of(model, {a.name: a.tile for a in arguments if a.name and a.tile})


@dataclass(frozen=True)
class CompiledStep:
    """Code of a model's step, how its products are cut, and what ``lumen tune`` keeps that under."""

    engine: Engine
    tuning: Tuning
    tuning_key: str


def compile_step(
    model: Model,
    options: SessionOptions,
    cache: Cache,
    progress: Progress = silent,
    tuned: Tuning | None = None,
) -> CompiledStep:
    """Compiles the step of ``model``, which needs no weights to be read; ``tuned`` as for ``Session``."""
    target = targets.get(options.target)
    with ir.Context():
        module = model.module(kv_type=options.kv_type, max_tokens=options.chunk)
        key = tuning.key(str(module), target, options.activations)
        if tuned is None:
            tuned = tuning.load(cache, key)
        compiler_options = CompilerOptions(
            options.activations,
            profile=options.profile,
            tile_tokens=tuned.tile_tokens,
            block_bytes=tuned.block_bytes,
        )
        return CompiledStep(_compiled(module, options, cache, progress, compiler_options), tuned, key)


def _compiled(
    module: ir.Module,
    options: SessionOptions,
    cache: Cache,
    progress: Progress,
    compiler_options: CompilerOptions | None = None,
) -> Engine:
    stages = [*(stage.name for stage in pipelines.stages()), "obj"]
    compiled = engine.compile(
        module,
        targets.check_runs(targets.get(options.target)),
        options.thread_count(),
        compiler_options,
        cache=cache,
        on_stage=lambda name: progress("compile", stages.index(name), len(stages)),
    )
    if not compiled.cached:
        progress("compile", len(stages), len(stages))
    # Before any weights are read: what the compiler takes is as much as a small model.
    codegen.release_memory()
    return compiled

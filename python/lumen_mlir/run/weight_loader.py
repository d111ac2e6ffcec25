# SPDX-License-Identifier: Apache-2.0
"""Packed weights from the cache, or packed while the code that reads them is being compiled."""

from __future__ import annotations

import concurrent.futures
import logging
from functools import partial

import numpy as np

from lumen_mlir.compiler.signature import Signature
from lumen_mlir.gguf import TensorInfo
from lumen_mlir.gguf.description import size_text
from lumen_mlir.models import Model
from lumen_mlir.run import packed_weights
from lumen_mlir.run.compiled_step import compile_packers
from lumen_mlir.run.device import Place
from lumen_mlir.run.engine import Engine
from lumen_mlir.run.packed_weights import PackedLayout, Packer
from lumen_mlir.run.session_options import Progress, SessionOptions
from lumen_mlir.storage.cache import Cache
from lumen_mlir.support.interrupts import Job
from lumen_mlir.support.system import available_memory

_PROGRESS_SECONDS = 0.05

_Begun = tuple[PackedLayout, Job[np.ndarray]]

logger = logging.getLogger(__name__)


def packed_layout(model: Model, step: Signature) -> PackedLayout:
    """Where the weights lie that ``step`` wants packed."""
    return PackedLayout.of(model, {a.name: a.tile for a in step.arguments if a.name and a.tile})


def packer_of(packers: Engine, layout: PackedLayout) -> Packer:
    """What packs the weights of ``layout`` by compiled functions."""

    def pack(info: TensorInfo, raw: np.ndarray, buffer: np.ndarray) -> None:
        function = packed_weights.pack_function(info.type, layout.tiles[info.name])
        packers.invoke(function, raw, *info.shape, outs=[buffer])

    return pack


class WeightLoader:
    """Loads the packed weights of a model on a thread of its own.

    As a context manager it waits for that thread at its end; work that ``finish`` has not waited for is given
    up, and leaves nothing.

    Attributes:
      cached: the weights came from the cache.
    """

    def __init__(self, model: Model, place: Place, options: SessionOptions, cache: Cache):
        self.cached = False
        self._model, self._options, self._cache = model, options, cache
        self._place = place
        self._has_own_memory = place.device.free_memory() is not None
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "lumen-weights")
        self._begun: _Begun | None = None
        self._packed: tuple[int, int] | None = None
        # While code is compiled, which takes all cores, packing takes a share of one.
        self._threads = 1
        self._given_up = False

    def begin_early(self, step: Signature) -> None:
        """Begins with the weights of ``step``, before it is compiled, if they go to a file.

        Otherwise they would be in memory together with all that the compiler needs. A device with memory of
        its own gets nothing before it is known that all will fit.
        """
        layout = packed_layout(self._model, step)
        if not self._has_own_memory and self._options.pack_cache and self._cache.fits("packed", layout.size):
            self._begin(layout)

    def finish(self, step: Signature, progress: Progress) -> tuple[PackedLayout, np.ndarray]:
        """Where the weights of ``step`` lie, and the buffer (uint8) that holds them.

        Raises ``LumenError`` where there is no memory for them.
        """
        self._threads = self._options.thread_count()
        layout, job = self._begun or self._begin(packed_layout(self._model, step))
        ended = False
        while not ended:
            ended = job.wait(_PROGRESS_SECONDS)
            if self._packed is not None:
                progress("pack", *self._packed)
        return layout, job.result()

    def __enter__(self) -> WeightLoader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._given_up = True
        self._executor.shutdown()

    def _begin(self, layout: PackedLayout) -> _Begun:
        self._begun = layout, Job(self._executor, partial(self._load, layout))
        return self._begun

    # --- on the thread --------------------------------------------------------------------------------------

    def _load(self, layout: PackedLayout) -> np.ndarray:
        if not self._has_own_memory:
            self._warn_of_little_memory(layout)
        cache = self._cache if self._options.pack_cache else None
        buffer = None if cache is None else packed_weights.load_packed(layout, cache)
        self.cached = buffer is not None
        return self._pack(layout, cache) if buffer is None else buffer

    def _pack(self, layout: PackedLayout, cache: Cache | None) -> np.ndarray:
        tensors = self._model.tensors
        kinds = ((tensors[name].type, tile) for name, tile in layout.tiles.items())
        packers = compile_packers(kinds, self._place, self._cache, self._threads)

        pack_one = packer_of(packers, layout)

        def pack(info: TensorInfo, raw: np.ndarray, buffer: np.ndarray) -> None:
            if packers.threads != self._threads:
                packers.set_threads(self._threads)
            pack_one(info, raw, buffer)

        def progress(done: int, total: int) -> None:
            if self._given_up:
                raise concurrent.futures.CancelledError
            self._packed = done, total

        return packed_weights.pack(self._model, layout, pack, cache, progress)

    def _warn_of_little_memory(self, layout: PackedLayout) -> None:
        free = available_memory()
        if free is not None and layout.size > free:
            logger.warning(
                "packed weights take %s, but only %s of memory are free: they are read from the disk in "
                "every step, which is slow",
                size_text(layout.size),
                size_text(free),
            )

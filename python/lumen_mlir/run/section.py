# SPDX-License-Identifier: Apache-2.0
"""Layers of a model on one device: the code of their step, its weights and caches, and how it is called."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from lumen_mlir.compiler.signature import Signature
from lumen_mlir.formats import kv_cache
from lumen_mlir.formats.packing import Tile
from lumen_mlir.models import Model, Rope
from lumen_mlir.run import packed_weights
from lumen_mlir.run.compiled_step import compile_step, selected_group, step_of
from lumen_mlir.run.device import Place
from lumen_mlir.run.engine import Call, Engine
from lumen_mlir.run.memory import check_room
from lumen_mlir.run.page_memory import ArrayCache, HeldCache, PageCache
from lumen_mlir.run.placement import read_bytes
from lumen_mlir.run.selection import Selection
from lumen_mlir.run.session_options import Progress, SessionOptions, Timings
from lumen_mlir.run.tuning import Tuning
from lumen_mlir.run.weight_loader import WeightLoader, packed_layout
from lumen_mlir.storage.cache import Cache
from lumen_mlir.storage.mapping import MappedFile, check_unchanged, fetch, files_of

Zeros = Callable[[tuple[int, ...], type], np.ndarray]
"""Makes an array of a shape and a type that holds zeros."""

Weights = dict[tuple[str, Tile | None], np.ndarray]
"""Weights as a step takes them, by name and by how they are packed, if they are."""


@dataclass
class StepArrays:
    """What the sections of a step have in common, int32 but for the last.

    Attributes:
      positions: of the tokens, [chunk].
      rows: of the tokens whose logits are wanted, [chunk].
      runs: which tokens are of one sequence, [sequences, 3].
      places: where keys and values of the tokens go, [chunk], by window.
      tables: the pages of the sequences, [sequences, columns], by window.
      ropes: the rotary tables, float32 [context, dimensions].
    """

    positions: np.ndarray
    rows: np.ndarray
    runs: np.ndarray
    places: dict[int | None, np.ndarray]
    tables: dict[int | None, np.ndarray]
    ropes: dict[Rope, np.ndarray]


class Section:
    """Layers that follow each other, on one device.

    Args:
      model: the layers.
      place: where they are computed.
      options: how; ``room``: the same, with the sequences and the pool that there will be room for.
      tuned: how products are cut; None for what ``lumen tune`` has found.
      timings: what it takes is added.
      lent: weights that are there already.

    Attributes:
      model, place: as given.
      engine: the compiled code.
      packed_bytes: bytes of the packed weights; ``read_bytes``: of those that one token needs.
      weights: in their order, as long as the device needs the arrays.
      tuning, tuning_key: how products are cut, and what ``lumen tune`` keeps that under.
      selection: by which the largest logits are asked for; None where logits are where callers want them.

    Raises ``memory.RoomError`` where the device has too little memory.
    """

    engine: Engine
    packed_bytes: int
    read_bytes: int
    weights: Weights
    selection: Selection | None
    _files: list[MappedFile]
    # The call of the step, and the words of it that change.
    _call: Call
    _counts: list[np.ndarray]
    _selected: np.ndarray | None
    _run_count: np.ndarray
    _out: np.ndarray

    def __init__(
        self,
        model: Model,
        place: Place,
        options: SessionOptions,
        room: SessionOptions,
        cache: Cache,
        progress: Progress,
        timings: Timings,
        tuned: Tuning | None = None,
        lent: Weights | None = None,
    ):
        self.model, self.place, self._options = model, place, options
        self._lent = lent or {}
        with WeightLoader(model, place, options, cache) as loader:
            self._compile(cache, progress, tuned, loader, timings)
            check_room(model, room, self.engine)
            self._load_weights(progress, loader, timings)
        self._lent = {}

    def check_files(self) -> None:
        """Raises ``LumenError`` where a file changed while its weights were in use."""
        check_unchanged(self._files)

    def bind(
        self,
        x: np.ndarray,
        out: np.ndarray,
        arrays: StepArrays,
        pages: Mapping[int | None, int],
        zeros: Zeros | None = None,
    ) -> dict[int | None, tuple[PageCache, PageCache]]:
        """Makes the call of the step, for one token of the first sequence until ``run`` says how many.

        ``x``: tokens, or the hidden states that the layers begin with; ``out``: what they make, [1, …].
        ``zeros``: makes the arrays of keys and values. Returns keys and values by window, which have so many
        ``pages``.
        """
        options, windows = self._options, list(self.model.windows)
        kv_type = kv_cache.get(options.kv_type)
        context = options.context_of(self.model)
        counts = [pages[window] for window in windows]
        shapes = self.model.cache_shapes(context, options.chunk, kv_type.name, counts)
        if zeros is None:
            # What stands for memory of another device is not touched here.
            zeros = partial(packed_weights.zeros, reserved=self.engine.shares_memory)
        caches = [zeros(shape, kv_type.dtype) for shape in shapes]
        begin = [x[:1], arrays.positions[:1]] + ([arrays.rows[:1]] if self.model.is_last else [])
        begin += Selection.inputs() if self._selects else []
        where = [a for w in windows for a in (arrays.places[w][:1], arrays.tables[w])]
        ropes = [arrays.ropes[rope] for rope in self.model.ropes]
        numbers = [*begin, arrays.runs[:1], *where]
        inputs = [*numbers, *ropes, *caches, *self.weights.values()]
        outs = [out, *(Selection.outs(self.model.config.vocabulary) if self._selects else [])]
        self._call = self.engine.bind("step", *inputs, outs=outs)
        self._call.check()
        held = len(numbers) + len(ropes)
        self._ropes = range(len(numbers), held)
        self._call.keep(*range(held, held + len(caches)), zero=True)
        self._call.keep(*self._ropes, *range(held + len(caches), len(inputs)))
        is_elsewhere = self._call.hold()
        if is_elsewhere:
            # From here on it does not matter what becomes of the files.
            self.check_files()
            self.weights, self._files = {}, []
            self.model.file.release()
        places = range(len(begin) + 1, len(numbers), 2)
        self._counts = [self._call.words(number) for number in (0, 1, *places)]
        self._selected = self._call.words(2) if self.model.is_last else None
        self._run_count = self._call.words(len(begin))
        self._out = self._call.words(len(inputs))
        self.selection = None
        if self._selects:
            selection = Selection(self._call, 3, len(inputs), self.model.config.vocabulary)
            selection.ask([])
            if is_elsewhere:
                self._call.leave(*range(len(inputs), len(inputs) + 3))
                self.selection = selection
        found: list[PageCache] = []
        for number, cache in enumerate(caches, held):
            in_place = self.engine.shares_memory
            found.append(
                HeldCache(self._call, number, cache) if is_elsewhere else ArrayCache(cache, in_place)
            )
        return dict(zip(windows, zip(found[::2], found[1::2], strict=True), strict=True))

    def run(self, tokens: int, selected: int, runs: int, out: int) -> None:
        """Runs the step. ``selected``: rows of logits; ``out``: the address of what is made."""
        for words in self._counts:
            words[1] = tokens
        if self._selected is not None:
            self._selected[1] = selected
        self._run_count[1] = runs
        self._out[:] = out, tokens if self._selected is None else selected
        self._call.repeat()

    def renew_ropes(self) -> None:
        """The rotary tables have changed."""
        self._call.renew(*self._ropes)

    # --- opening --------------------------------------------------------------------------------------------

    def _compile(
        self, cache: Cache, progress: Progress, tuned: Tuning | None, loader: WeightLoader, timings: Timings
    ) -> None:
        start = time.perf_counter()
        self._selects = bool(selected_group(self.model, self.place.target))
        step = compile_step(
            self.model,
            self._options,
            cache,
            progress,
            tuned,
            lambda signatures: self._begin_early(loader, step_of(signatures)),
            place=self.place,
        )
        self.engine, self.tuning, self.tuning_key = step.engine, step.tuning, step.tuning_key
        timings.compile += time.perf_counter() - start
        timings.compile_cached = timings.compile_cached and self.engine.cached

    def _begin_early(self, loader: WeightLoader, step: Signature) -> None:
        if not self._is_lent(step):
            loader.begin_early(step)

    def _is_lent(self, step: Signature) -> bool:
        """Whether all weights that ``step`` wants packed are there already."""
        return all((a.name, a.tile) in self._lent for a in step.arguments if a.name and a.tile)

    def _packed(self, step: Signature, progress: Progress, loader: WeightLoader, timings: Timings) -> Weights:
        """The weights that ``step`` wants packed."""
        layout, buffer = loader.finish(step, progress)
        timings.pack_cached = timings.pack_cached and loader.cached
        return {
            (name, layout.tiles[name]): buffer[offset : offset + size]
            for name, (offset, size) in layout.places.items()
        }

    def _load_weights(self, progress: Progress, loader: WeightLoader, timings: Timings) -> None:
        start = time.perf_counter()
        step = step_of(self.engine.program.signatures)
        found = self._lent if self._is_lent(step) else self._packed(step, progress, loader, timings)
        self.packed_bytes = packed_layout(self.model, step).size
        self.read_bytes = read_bytes(self.model, step)
        self.weights = {}
        for parameter in step.arguments:
            name = parameter.name
            if not name:
                continue
            weight = found.get((name, parameter.tile))
            if weight is None:
                weight = self.model.weight(name)
                if weight.ndim == 1:
                    # Vectors lie scattered among matrices: as copies they take less memory than their pages.
                    weight = weight.copy()
                else:
                    # Of an embedding table a step uses single rows, and would wait milliseconds for the disk.
                    weight = weight.reshape(-1)
                    fetch(weight)
            self.weights[name, parameter.tile] = weight
        check_unchanged(self.model.file.files)
        self._files = files_of(self.weights.values())
        self.model.file.release()
        timings.pack += time.perf_counter() - start

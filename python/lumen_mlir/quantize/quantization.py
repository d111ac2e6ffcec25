# SPDX-License-Identifier: Apache-2.0
"""Quantizes model files: which tensor gets which type, and the stream from one file to the other."""

from __future__ import annotations

import fnmatch
import logging
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lumen_mlir import formats
from lumen_mlir.errors import LumenError
from lumen_mlir.formats.encode import encoder
from lumen_mlir.formats.quantize import quantize
from lumen_mlir.gguf import TensorInfo
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.model_file import ModelFile
from lumen_mlir.gguf.writer import GGUFWriter
from lumen_mlir.quantize import mixtures
from lumen_mlir.quantize.importance import ImportanceMatrix
from lumen_mlir.storage.mapping import check_unchanged
from lumen_mlir.support.interrupts import Job
from lumen_mlir.support.threads import default_thread_count

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with "quantize", weights done and weights in all."""

QUANTIZATION_VERSION = 2
# Weights of one piece of work, and pieces per thread that may wait for the disk.
_PIECE = 1 << 20
_AHEAD = 3
# What the new file has anew, or not at all.
_SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")
_OWN_KEYS = ("general.file_type", "general.quantization_version")


@dataclass(frozen=True)
class Choices:
    """What a file shall become.

    Attributes:
      format: a mixture (``q4_k_m``) or any format.
      overrides: (pattern, format) pairs for tensors; the first that matches counts. A pattern is a name with
        ``*`` and ``?`` for any characters, or a part of a name.
      keep: patterns of tensors that stay as they are.
      pure: all matrices in the format's own type, no mixture.
      output, embedding: types of the output matrix and the embedding table.
    """

    format: str
    overrides: Sequence[tuple[str, str]] = ()
    keep: Sequence[str] = ()
    pure: bool = False
    output: str | None = None
    embedding: str | None = None


@dataclass(frozen=True)
class Item:
    """One tensor of a plan: ``info`` in the source, and the type it gets."""

    info: TensorInfo
    type: str

    @property
    def weights(self) -> int:
        return math.prod(self.info.shape)

    @property
    def changes(self) -> bool:
        return self.type != self.info.type

    @property
    def nbytes(self) -> int:
        """Bytes in the new file."""
        if not self.changes:
            return self.info.nbytes
        return formats.get(self.type).row_bytes(self.info.shape[-1]) * math.prod(self.info.shape[:-1])


@dataclass(frozen=True)
class Plan:
    """What becomes of every tensor.

    Attributes:
      mixture: canonical name of the format.
      items: in the order of the file.
      fallbacks: tensors whose width does not suit the type they should have.
    """

    mixture: str
    items: tuple[Item, ...]
    fallbacks: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors in the new file."""
        return sum(item.nbytes for item in self.items)

    @property
    def weights(self) -> int:
        return sum(item.weights for item in self.items)

    @property
    def requantized(self) -> list[str]:
        """Tensors that were quantized before and lose more."""
        return [i.info.name for i in self.items if i.changes and not formats.get(i.info.type).is_float]


def plan(source: ModelFile, choices: Choices, *, importance: bool = False) -> Plan:
    """Chooses the type of every tensor of ``source``; LumenError for choices that it cannot follow."""
    mixture = mixtures.find(choices.format)
    named = (choices.output, choices.embedding, *(name for _, name in choices.overrides))
    for name in (mixtures.base(mixture), *filter(None, named)):
        _check_can_quantize(name)
    chooser = _Chooser(source, mixture, choices, importance)
    items = tuple(Item(info, chooser.type_of(info)) for info in source.tensors.values())
    chooser.check_patterns()
    return Plan(mixture, items, tuple(chooser.fallbacks))


def _check_can_quantize(name: str) -> None:
    fmt = formats.get(name)
    if not fmt.is_float:
        encoder(fmt)


class _Chooser:
    """Chooses types, tensor by tensor."""

    def __init__(self, source: ModelFile, mixture: str, choices: Choices, importance: bool):
        self._path, self._mixture, self._choices = source.path, mixture, choices
        self._traits = _traits(source, importance)
        values = [name for name in source.tensors if mixtures.is_value(mixtures.part_of(name))]
        self._ranks = {name: rank for rank, name in enumerate(sorted(values, key=_layer))}
        self._overrides = [(p, n) for p, n in choices.overrides] + [(p, None) for p in choices.keep]
        self._unused = {pattern for pattern, _ in self._overrides}
        self.fallbacks: list[str] = []

    def type_of(self, info: TensorInfo) -> str:
        holds_weights = formats.is_known(info.type) and mixtures.is_quantized(info.name, len(info.shape))
        for pattern, name in self._overrides:
            # A part of a name is meant for the matrix, not for its bias.
            if _matches(pattern, info.name) and (holds_weights or name is None):
                self._unused.discard(pattern)
                return info.type if name is None else self._explicit(info, name)
        if not holds_weights:
            return info.type
        part = mixtures.part_of(info.name)
        if name := self._end_type(part):
            return self._explicit(info, name)
        if self._choices.pure:
            wanted = mixtures.base(self._mixture)
        elif info.name in self._ranks:
            traits = replace(self._traits, layers=len(self._ranks))
            wanted = mixtures.matrix_type(self._mixture, part, info.shape[-1], self._ranks[info.name], traits)
        else:
            wanted = mixtures.matrix_type(
                self._mixture, part, info.shape[-1], _layer(info.name), self._traits
            )
        try:
            fitting = mixtures.fitting(wanted, info.shape[-1])
        except LumenError as error:
            advice = "give it another type with --tensor-type or leave it with --keep"
            raise self._error(info, f"{error}; {advice}") from None
        if fitting != wanted:
            self.fallbacks.append(info.name)
        return fitting

    def _end_type(self, part: str) -> str | None:
        """The type that was asked for the output matrix or the embedding table."""
        if part == "output":
            return self._choices.output
        if part != "token_embd":
            return None
        return self._choices.embedding or (self._choices.output if self._traits.tied else None)

    def _explicit(self, info: TensorInfo, name: str) -> str:
        fmt, columns = formats.get(name), info.shape[-1]
        if columns % fmt.block:
            reason = f"is not a multiple of the block of {name}, {fmt.block}"
            raise self._error(info, f"a row of {columns} weights {reason}")
        return fmt.name

    def _error(self, info: TensorInfo, message: object) -> LumenError:
        return LumenError(f"{self._path}: tensor '{info.name}': {message}")

    def check_patterns(self) -> None:
        if self._unused:
            raise LumenError(f"{self._path}: no matrix matches '{min(self._unused)}'")


def _matches(pattern: str, name: str) -> bool:
    if any(character in pattern for character in "*?["):
        return fnmatch.fnmatchcase(name, pattern)
    return pattern in name


def _layer(name: str) -> int:
    found = re.match(r"blk\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _traits(source: ModelFile, importance: bool) -> mixtures.Traits:
    metadata = source.metadata
    architecture = metadata.string("general.architecture", "")

    def count(key: str, default: int) -> int:
        value = metadata.get(f"{architecture}.{key}", default)
        # Some models give a number per layer.
        first = value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value
        return int(first)

    layers = count("block_count", 1 + max(map(_layer, source.tensors), default=0))
    heads = count("attention.head_count", 1)
    return mixtures.Traits(
        layers=layers,
        group=heads // max(count("attention.head_count_kv", heads), 1),
        experts=count("expert_count", 0),
        tied="output.weight" not in source.tensors,
        importance=importance,
    )


# --- writing ------------------------------------------------------------------------------------------------


def quantize_file(
    source: ModelFile,
    path: str | os.PathLike[str],
    choices: Choices | str,
    *,
    importance: ImportanceMatrix | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Writes ``source`` to ``path`` with its matrices in other types; returns what was done.

    Memory holds a few pieces of a million weights per thread, whatever the size of the model. The file
    appears whole or not at all.

    Args:
      choices: what the file shall become, or just a format.
      importance: of the columns, for the search of the quantizers.
      threads: that quantize; by default the number of physical cores.
      progress: called as the work goes on.

    Raises LumenError for choices that cannot be followed, weights that are not finite or too large for their
    type, an output that is the input, and a full disk.
    """
    choices = Choices(choices) if isinstance(choices, str) else choices
    if any(file.is_at(path) for file in source.files):
        raise LumenError(f"{os.fspath(path)}: is the input itself; name another output file")
    chosen = plan(source, choices, importance=importance is not None)
    _warn(chosen, importance)
    writer = GGUFWriter(path)
    writer.copy_metadata(source.metadata, without=(*_SPLIT_KEYS, *_OWN_KEYS))
    if (number := mixtures.file_type(chosen.mixture)) is not None:
        writer.add("general.file_type", number, T.U32)
    writer.add("general.quantization_version", QUANTIZATION_VERSION, T.U32)
    threads = default_thread_count() if threads is None else threads
    with ThreadPoolExecutor(threads) as pool:
        stream = _Stream(source, chosen, importance, pool, _AHEAD * threads, progress)
        for item in chosen.items:
            writer.add_tensor(item.info.name, item.info.shape, item.type, partial(stream.pieces, item))
        try:
            writer.write()
        except LumenError:
            # Whatever the reason seems to be: a source that was cut comes first.
            check_unchanged(source.files)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return chosen


def describe(names: Sequence[str]) -> str:
    """``tensor 'a'``, or ``3 tensors, such as 'a',``."""
    return f"tensor '{names[0]}'" if len(names) == 1 else f"{len(names)} tensors, such as '{names[0]}',"


def _warn(chosen: Plan, importance: ImportanceMatrix | None) -> None:
    if chosen.fallbacks:
        logger.warning(
            "%s get another type than planned: rows are no multiple of its block", describe(chosen.fallbacks)
        )
    unknown = [] if importance is None else [
        item.info.name
        for item in chosen.items
        if item.changes
        and importance.rows(item.info.name, item.info.shape) is None
        and mixtures.part_of(item.info.name) not in ("token_embd", "output")
        and not formats.get(item.type).is_float
    ]  # fmt: skip
    if unknown and importance is not None:
        logger.warning("%s knows nothing of %s which count evenly", importance.path, describe(unknown))


class _Stream:
    """The bytes of the new file's tensors, one after the other; pieces ahead are made by other threads."""

    def __init__(
        self,
        source: ModelFile,
        chosen: Plan,
        importance: ImportanceMatrix | None,
        pool: ThreadPoolExecutor,
        ahead: int,
        progress: Progress | None,
    ):
        self._source, self._importance, self._pool, self._ahead = source, importance, pool, ahead
        self._progress, self._done, self._total = progress, 0, chosen.weights
        self._jobs = (job for item in chosen.items if item.changes for job in self._jobs_of(item))
        self._waiting: deque[Job[np.ndarray]] = deque()

    def pieces(self, item: Item) -> Iterator[np.ndarray]:
        """The bytes of one tensor. Tensors must be asked for in the order of the plan."""
        if item.changes:
            for first, last in self._slices(item):
                yield self._next()
                self._advance((last - first) * item.info.shape[-1])
        else:
            yield self._source.little_endian(item.info.name)
            self._advance(item.weights)
        self._source.release(item.info.name)
        # Before the tensor counts as written: what was read is what the file had.
        check_unchanged(self._source.files)

    def _advance(self, weights: int) -> None:
        self._done += weights
        if self._progress is not None:
            self._progress("quantize", self._done, self._total)

    def _next(self) -> np.ndarray:
        while len(self._waiting) < self._ahead and (job := next(self._jobs, None)) is not None:
            self._waiting.append(Job(self._pool, job))
        return self._waiting.popleft().result()

    def _slices(self, item: Item) -> Iterator[tuple[int, int]]:
        """First and last row of each piece."""
        rows = item.weights // item.info.shape[-1]
        step = max(1, _PIECE // item.info.shape[-1])
        return ((first, min(first + step, rows)) for first in range(0, rows, step))

    def _jobs_of(self, item: Item) -> Iterator[Callable[[], np.ndarray]]:
        raw = self._source.little_endian(item.info.name)
        raw = raw.reshape(item.weights // item.info.shape[-1], -1)
        for first, last in self._slices(item):
            yield partial(self._quantize, item, raw[first:last], first)

    def _quantize(self, item: Item, raw: np.ndarray, first: int) -> np.ndarray:
        info = item.info
        weights = formats.get(info.type).dequantize(raw)
        importance = None if self._importance is None else self._importance.rows(info.name, info.shape)
        if importance is not None and len(info.shape) > 1:
            matrix = np.arange(first, first + len(raw)) // info.shape[-2]
            importance = importance[matrix % len(importance)] if len(importance) > 1 else importance[0]
        try:
            return quantize(item.type, weights, importance)
        except LumenError as error:
            raise LumenError(f"{self._source.path}: tensor '{info.name}': {error}") from None

# SPDX-License-Identifier: Apache-2.0
"""How much memory a run takes, before any weights are read, and how to make it fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lumen_mlir.compiler.signature import Argument, Signature
from lumen_mlir.env import parse_size
from lumen_mlir.errors import LumenError, shown
from lumen_mlir.formats import kv_cache
from lumen_mlir.gguf.description import size_text
from lumen_mlir.models import Model
from lumen_mlir.run.compiled_step import compile_step, step_of
from lumen_mlir.run.device import Place
from lumen_mlir.run.engine import Engine
from lumen_mlir.run.packed_weights import PackedLayout
from lumen_mlir.run.session_options import Progress, SessionOptions, silent
from lumen_mlir.storage.cache import Cache

# A context below this is of little use: f16 keys and values give way to 8-bit ones first.
_USEFUL_CONTEXT = 4096
# Prompts in larger pieces are little faster.
_USEFUL_CHUNK = 128
# Where memory is a device's own, each array begins at its place of a page, and small ones lie alone.
_GAP, _SMALL_ARRAYS = 4096, 1 << 17
# Contexts that are chosen are multiples of this, and at least this.
_STEP = 64


@dataclass(frozen=True)
class Footprint:
    """Bytes that a run needs.

    Attributes:
      context, kv_type: for which.
      file: the tensors in the model's files, which are mapped, and read once to be packed.
      packed: weights in the layout of the kernels, mapped from a file in the cache.
      direct: weights that are used as they are: the embedding table, norms and biases.
      kv: the KV cache.
      scratch: intermediates and logits of a step, and the tables of the rotary embeddings.

    On a device with memory of its own all of it lies there.
    """

    context: int
    kv_type: str
    file: int
    packed: int
    direct: int
    kv: int
    scratch: int

    @property
    def total(self) -> int:
        """What has to be resident for a run at full speed."""
        return self.packed + self.direct + self.kv + self.scratch


def parse_budget(value: int | str) -> int:
    """Bytes from a number or from text such as "2G" (decimal units). Raises ``LumenError``."""
    try:
        size = parse_size(value) if isinstance(value, str) else int(value)
    except (ValueError, TypeError, OverflowError):
        size = 0
    if size < 1:
        raise LumenError(f"a memory budget of {shown(value)} is none; a size such as 500M or 2G was expected")
    return size


class RoomError(LumenError):
    """A device has too little memory.

    Attributes:
      needs, free: what is needed, and bytes that there are.
      step: what was to run.
    """

    needs: Footprint
    free: int
    step: Signature


def footprint(
    model: Model,
    options: SessionOptions | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    place: Place | None = None,
) -> Footprint:
    """What running ``model`` takes. It is compiled (which the cache keeps), but its weights are not read.

    ``place``: where it runs, by default what the options say.
    """
    options, cache = options or SessionOptions(), Cache() if cache is None else cache
    engine = compile_step(model, options, cache, progress, place=place).engine
    return _footprint(model, options, engine)


def compiled_step(
    model: Model, options: SessionOptions, cache: Cache, progress: Progress, place: Place
) -> Signature:
    """The signature of a model's step."""
    engine = compile_step(model, options, cache, progress, place=place).engine
    return step_of(engine.program.signatures)


def weight_bytes(model: Model, arguments: Sequence[Argument]) -> tuple[int, int]:
    """Bytes of weights that are arguments of a step: of those that are packed, and of the others."""
    layout = PackedLayout.of(model, {a.name: a.tile for a in arguments if a.name and a.tile})
    # A tied embedding table is there twice: packed for the output, as it is for looking tokens up.
    infos = [model.tensors[a.name] for a in arguments if a.name and a.alignment <= 1]
    return layout.size, sum(4 * info.shape[0] if len(info.shape) == 1 else info.nbytes for info in infos)


def check_room(model: Model, options: SessionOptions, engine: Engine) -> None:
    """Refuses what the device of ``engine``, the code of a step, has too little memory for.

    Nothing of it need be there yet. Raises ``RoomError``, which says what there is, what is needed, and (as
    ``hints``) what takes less.
    """
    free = engine.place.device.free_memory()
    if free is None:
        return
    needs = _footprint(model, options, engine)
    if needs.total <= free:
        return
    error = RoomError(
        f"{model.file.path}: device {engine.place.device} has {size_text(free)} of free memory, which is too "
        f"little: {_parts_text(needs)}: {size_text(needs.total)} in all"
    )
    error.needs, error.free, error.step = needs, free, step_of(engine.program.signatures)
    error.hints = tuple(_what_takes_less(model, options, needs, free))
    raise error


def _what_takes_less(model: Model, options: SessionOptions, needs: Footprint, free: int) -> Iterator[str]:
    shorter = _longest(model, replace(options, context=None), needs, free, lambda context: 0)
    if shorter is not None:
        yield f"-c {shorter.context}: a context that fits"
    if options.kv_type != "q8_0" and kv_cache.get("q8_0").fits(model.config.head_size):
        yield "--kv-type q8_0: keys and values of 8 bits"
    if options.chunk > _USEFUL_CHUNK:
        yield f"--chunk {_USEFUL_CHUNK}: fewer tokens of prompts at once, so fewer intermediates"
    if options.gpu_layer_count is not None:
        yield "--gpu-layers auto: as many layers as fit, the others on the CPU"
    yield "--device cpu: the memory of this machine"


def _parts_text(needs: Footprint) -> str:
    return (
        f"packed weights take {size_text(needs.packed)}, others {size_text(needs.direct)}, intermediates "
        f"{size_text(needs.scratch)}, {needs.kv_type} keys and values of {needs.context} tokens "
        f"{size_text(needs.kv)}"
    )


def _footprint(model: Model, options: SessionOptions, engine: Engine) -> Footprint:
    step = step_of(engine.program.signatures)
    packed, direct = weight_bytes(model, step.arguments)
    has_own = engine.place.device.free_memory() is not None
    gaps = _GAP * len(step.arguments) + _SMALL_ARRAYS if has_own else 0
    context = options.context_of(model)
    tables = sum(4 * context * rope.dimensions for rope in model.ropes)
    hidden = 4 * options.chunk * model.config.width * ((not model.is_first) + (not model.is_last))
    logits = 4 * model.row_width if model.is_last else 0
    return Footprint(
        context=context,
        kv_type=options.kv_type,
        file=sum(info.nbytes for info in model.tensors.values()),
        packed=packed,
        direct=direct,
        kv=kv_bytes(model, context, options),
        scratch=engine.arena_bytes + engine.own_bytes + logits + hidden + tables + gaps,
    )


def kv_bytes(model: Model, context: int, options: SessionOptions) -> int:
    """Bytes of the KV cache for a context of ``context`` tokens."""
    size = np.dtype(kv_cache.get(options.kv_type).dtype).itemsize
    pages = pool_pages(model, replace(options, context=context), options.sequences, options.kv_pool)
    shapes = model.cache_shapes(context, options.chunk, options.kv_type, pages)
    return sum(size * math.prod(shape) for shape in shapes)


def pool_pages(model: Model, options: SessionOptions, sequences: int, pool: int | None) -> list[int]:
    """Pages of the cache of each of the model's windows, for so many sequences; see ``Executor``."""
    context = options.context_of(model)
    most = kv_cache.pages(context if pool is None else pool)
    each = [model.config.cache_pages(window, context, options.chunk) for window in model.windows]
    windows = zip(model.windows, each, strict=True)
    return [most if window is None else min(count * sequences, most) for window, count in windows]


def fit(
    model: Model,
    options: SessionOptions,
    budget: int,
    cache: Cache | None = None,
    progress: Progress = silent,
    beside: Callable[[int], int] = lambda context: 0,
    place: Place | None = None,
) -> tuple[SessionOptions, Footprint]:
    """``options`` with a context and a KV type for which ``model`` takes at most ``budget`` bytes.

    A context that was asked for stays; else the longest that fits is taken, up to what is usual. Where f16
    keys and values leave less than 4,096 tokens, 8-bit ones are tried. ``beside``: bytes that something else
    takes, by the context. ``place``: where it runs, by default what the options say. Raises ``LumenError``,
    with the numbers, where nothing fits.
    """
    kinds = [options.kv_type]
    if options.kv_type == "f16" and kv_cache.get("q8_0").fits(model.config.head_size):
        kinds.append("q8_0")
    tried = []
    for kind in kinds:
        chosen = replace(options, kv_type=kind)
        whole = footprint(model, chosen, cache, progress, place)
        tried.append(whole)
        best = _longest(model, chosen, whole, budget, beside)
        if best is None:
            continue
        enough = options.context is not None or best.context >= min(_USEFUL_CONTEXT, whole.context)
        if enough or kind == kinds[-1]:
            return replace(chosen, context=best.context), best
    smallest = tried[-1]
    least = options.context or min(_STEP, smallest.context)
    needed = _at(model, replace(options, kv_type=smallest.kv_type), smallest, least)
    other = beside(least)
    raise LumenError(
        f"{model.file.path}: a memory budget of {size_text(budget)} is too small: {_parts_text(needed)}"
        f"{f', the draft {size_text(other)}' if other else ''}: {size_text(needed.total + other)} in all"
    )


def by_context(
    model: Model,
    options: Callable[[int], SessionOptions],
    context: int,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> Callable[[int], int]:
    """Bytes that running ``model`` takes beside another one whose context is as long, or up to ``context``.

    ``options`` says how it is run then.
    """
    whole = footprint(model, options(context), cache, progress)

    def total(context: int) -> int:
        chosen = options(context)
        return _at(model, chosen, whole, chosen.context_of(model)).total

    return total


def _at(model: Model, options: SessionOptions, whole: Footprint, context: int) -> Footprint:
    """``whole`` for another context."""
    tables = sum(4 * rope.dimensions for rope in model.ropes)
    return replace(
        whole,
        context=context,
        kv=kv_bytes(model, context, options),
        scratch=whole.scratch - tables * (whole.context - context),
    )


def _longest(
    model: Model, options: SessionOptions, whole: Footprint, budget: int, beside: Callable[[int], int]
) -> Footprint | None:
    """The longest context that fits the budget, up to that of ``whole``; None where none does."""
    if whole.total + beside(whole.context) <= budget:
        return whole
    if options.context is not None:
        return None
    low, high = 0, whole.context // _STEP  # low fits (or is none), high does not fit
    while high - low > 1:
        middle = (low + high) // 2
        needed = _at(model, options, whole, middle * _STEP).total + beside(middle * _STEP)
        fits = needed <= budget
        low, high = (middle, high) if fits else (low, middle)
    return _at(model, options, whole, low * _STEP) if low else None

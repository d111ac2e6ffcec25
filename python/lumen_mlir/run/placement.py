# SPDX-License-Identifier: Apache-2.0
"""Which layers of a model are computed where: on a GPU as many as fit, and the others on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from lumen_mlir.compiler.signature import Signature
from lumen_mlir.gguf.description import size_text
from lumen_mlir.models import Model
from lumen_mlir.run import memory
from lumen_mlir.run.device import Place, place_of
from lumen_mlir.run.device_name import CPU
from lumen_mlir.run.memory import Footprint, RoomError, kv_bytes
from lumen_mlir.run.session_options import AUTO, Progress, SessionOptions, silent
from lumen_mlir.run.weight_loader import packed_layout
from lumen_mlir.storage.cache import Cache


@dataclass(frozen=True)
class Assignment:
    """Layers of a model, and where they are computed."""

    model: Model
    place: Place


def assign(model: Model, options: SessionOptions, layers: int | None = None) -> list[Assignment]:
    """The parts of a model in their order: one, or the first layers on the CPU and the last on a GPU.

    ``layers``: on the GPU, all where it has so many; None for what the options say, and all where they leave
    it open. Raises ``LumenError`` where the device is not there.
    """
    place = place_of(options.device, options.target)
    if place.device.free_memory() is None:
        return [Assignment(model, place)]
    count, total = options.gpu_layer_count if layers is None else layers, len(model.layers)
    if count is None or count >= total:
        return [Assignment(model, place)]
    if count == 0:
        return [Assignment(model, place_of(CPU))]
    cut = total - count
    return [
        Assignment(model.part(model.layers[:cut]), place_of(CPU)),
        Assignment(model.part(model.layers[cut:]), place),
    ]


def smaller_assignments(
    model: Model, options: SessionOptions, error: RoomError
) -> Iterator[list[Assignment]]:
    """Where a GPU has no room for all layers: as many as may fit, and then ever fewer."""
    for count in range(layers_that_fit(model, options, error.step, error.needs, error.free), -1, -1):
        yield assign(model, options, count)


def layers_that_fit(
    model: Model, options: SessionOptions, step: Signature, whole: Footprint, limit: int
) -> int:
    """How many of the last layers fit into so many bytes, beside all that they need; never all of them.

    ``step``, ``whole``: of all layers, on the same device.
    """
    total = len(model.layers)
    parts = [_layer_bytes(model.part(range(i, i + 1)), options, step) for i in model.layers]
    head = model.part(model.layers[-1:])
    left = limit - whole.scratch - (_layer_bytes(head, options, step, with_head=True) - parts[-1])
    count = 0
    while count < total - 1 and left >= parts[total - 1 - count]:
        left -= parts[total - 1 - count]
        count += 1
    return count


def _layer_bytes(part: Model, options: SessionOptions, step: Signature, with_head: bool = False) -> int:
    """Bytes of the weights, keys and values of a layer, and of what is behind it."""
    names = {name for name in part.tensors if with_head or name.startswith("blk.")}
    # An embedding table that is not packed is for tokens, which the first layers look up.
    used = [a for a in step.arguments if a.name in names and (a.tile or a.name != "token_embd.weight")]
    packed, vectors = memory.weight_bytes(part, used)
    return packed + vectors + kv_bytes(part, options.context_of(part), options)


def is_open(options: SessionOptions) -> bool:
    """Whether a device has memory of its own, and the options leave open how many layers it computes."""
    device = place_of(options.device, options.target).device
    return options.gpu_layers == AUTO and device.free_memory() is not None


def plan(
    model: Model,
    options: SessionOptions,
    cache: Cache,
    progress: Progress = silent,
    limit: int | None = None,
    beside: int = 0,
) -> list[tuple[Assignment, Footprint]]:
    """The parts of a model and what each takes, before any weights are read.

    ``limit``: bytes of the device that may be used; None for what is free. ``beside``: those of them that
    something else takes.
    """

    def measured(assigned: Sequence[Assignment]) -> list[tuple[Assignment, Footprint]]:
        return [(a, memory.footprint(a.model, options, cache, progress, a.place)) for a in assigned]

    found = measured(assign(model, options))
    place = found[-1][0].place
    free = place.device.free_memory()
    if options.gpu_layer_count is not None or free is None:
        return found
    limit = (free if limit is None else min(limit, free)) - beside
    if found[-1][1].total <= limit:
        return found
    step = memory.compiled_step(model, options, cache, progress, place)
    most = layers_that_fit(model, options, step, found[-1][1], limit)
    for count in range(most, 0, -1):
        found = measured(assign(model, options, count))
        if found[-1][1].total <= limit:
            return found
    return measured(assign(model, options, 0))


def fit(
    model: Model,
    options: SessionOptions,
    budget: int | None,
    cache: Cache,
    progress: Progress = silent,
    beside: Callable[[int], int] = lambda context: 0,
) -> SessionOptions:
    """``options`` with which ``model`` takes at most ``budget`` bytes of its device, or of this machine.

    Layers go to the CPU where the options leave it open how many are on the device; else the context and the
    KV type give way, as for ``memory.fit``, which has the other arguments and the errors. Without a budget,
    only layers do.
    """
    last = assign(model, options)[-1]
    if is_open(options):
        found = plan(model, options, cache, progress, budget, beside(options.context_of(model)))
        on_device = found[-1][0]
        count = len(on_device.model.layers) if on_device.place == last.place else 0
        return replace(options, gpu_layers=count)
    if budget is None:
        return options
    return memory.fit(last.model, options, budget, cache, progress, beside, last.place)[0]


def text_of(assigned: Sequence[Assignment], read: Sequence[int], asked: Place) -> str:
    """Where layers are, for people; "" where all are on the device that was ``asked`` for.

    ``read``: bytes of weights that a token needs of each part.
    """
    total = sum(len(each.model.layers) for each in assigned)
    if len(assigned) == 1:
        if assigned[0].place == asked:
            return ""
        return f"none of {total} layers on {asked.device}: all are computed on the CPU"
    first, last = assigned
    rest, count = len(first.model.layers), len(last.model.layers)
    share = read[0] / max(sum(read), 1)
    return (
        f"{count} of {total} layers on {last.place.device}; the other {rest} read {size_text(read[0])} of "
        f"weights per token from the CPU's memory, about {share:.0%} of a step's bytes"
    )


def read_bytes(model: Model, step: Signature) -> int:
    """Bytes of weights that a step of one token reads: of experts, those that a token is sent to."""
    layout, experts, total = packed_layout(model, step), model.config.experts, 0
    for name, (_, size) in layout.places.items():
        is_chosen = experts is not None and "_exps." in name
        total += size * experts.used // experts.count if is_chosen and experts else size
    return total

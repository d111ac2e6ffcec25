# SPDX-License-Identifier: Apache-2.0
"""``--dry-run`` of the subcommands that run a model: what it would take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lumen_mlir.cli.report import Reporter

if TYPE_CHECKING:
    from lumen_mlir.models import Model
    from lumen_mlir.run.code import Device
    from lumen_mlir.run.memory import Footprint
    from lumen_mlir.run.session_options import SessionOptions


def report(model: str | None, reporter: Reporter, options: dict[str, Any]) -> None:
    """Prints the memory that a run with these options of ``LLM`` would take. Weights are not read."""
    from lumen_mlir.cli.fitting import say
    from lumen_mlir.gguf.description import label, size_text
    from lumen_mlir.models import Model
    from lumen_mlir.run import memory, placement
    from lumen_mlir.run.session_options import SessionOptions
    from lumen_mlir.storage.cache import Cache

    chosen = dict(options)
    chosen.pop("engine", None)
    draft = chosen.pop("draft", None)
    budget = chosen.pop("memory_budget", None)
    source = {name: chosen.pop(name) for name in ("format", "pre_tokenizer") if name in chosen}
    settings = SessionOptions.of(**{"sequences": 1, **chosen})
    try:
        file = reporter.open_file(model, **source, read_weights=False)
        opened, cache = Model.open(file), Cache().labelled(label(file))
        beside = (
            (lambda context: 0) if draft is None else _of_draft(draft, opened, settings, reporter, source)
        )
        if budget is not None:
            limit = memory.parse_budget(budget)
            settings = placement.fit(opened, settings, limit, cache, reporter.progress, beside)
        other = beside(settings.context_of(opened))
        planned = placement.plan(opened, settings, cache, reporter.progress, beside=other)
    finally:
        reporter.close()
    say(f"{file.path}: {size_text(_file_bytes(opened))} of weights in the file, read once to be packed\n")
    for number, (assigned, needs) in enumerate(planned):
        device, count = assigned.place.device, len(assigned.model.layers)
        if len(planned) > 1:
            say(f"{'' if number == 0 else chr(10)}{count} of {opened.config.layers} layers on {device}:")
        is_last = number == len(planned) - 1
        _show(device, needs, settings, beside(needs.context) if draft is not None and is_last else 0)


def _file_bytes(model: Model) -> int:
    return sum(info.nbytes for info in model.tensors.values())


def _show(device: Device, needs: Footprint, settings: SessionOptions, beside: int) -> None:
    """The memory that layers take of a device, ``beside`` what a draft does, and what is free."""
    from lumen_mlir.cli.fitting import say, show
    from lumen_mlir.gguf.description import size_text
    from lumen_mlir.support.system import available_memory

    free = device.free_memory()
    has_own = free is not None
    rows = [
        ("weights, packed", needs.packed, "copied from the cache" if has_own else "mapped from the cache"),
        ("weights, as they are", needs.direct, "embedding table, norms, biases"),
        ("KV cache", needs.kv, f"{needs.kv_type}, {needs.context:,} tokens"),
        ("intermediates", needs.scratch, f"up to {settings.chunk} tokens at once"),
    ]
    total = needs.total + beside
    if beside:
        rows.append(("draft", beside, "weights, KV cache and intermediates"))
    rows.append(("in all", total, f"on {device}" if has_own else ""))
    show([(name, size_text(size), note) for name, size, note in rows], right=(1,))
    if has_own:
        verdict = "" if total <= free else ": too little"
        say(f"\nfree memory of {device.name}: {size_text(free)}{verdict}")
        return
    free = available_memory()
    if free is not None:
        verdict = "" if total <= free else ": weights would be read from the disk in every step"
        say(f"\nfree memory: {size_text(free)}{verdict}")


def _of_draft(
    draft: str, model: Model, settings: SessionOptions, reporter: Reporter, source: dict[str, Any]
) -> Callable[[int], int]:
    """The memory that a draft takes, by the context of the model."""
    from lumen_mlir.generate.draft_source import DraftFile
    from lumen_mlir.storage.cache import Cache
    from lumen_mlir.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_gguf(model.file, None, source.get("pre_tokenizer"))
    run = {"cache": Cache(), "progress": reporter.progress, "read_weights": False}
    return DraftFile.open(draft, tokenizer, **source, **run).bytes_beside(model, settings, reporter.progress)

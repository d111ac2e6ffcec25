# SPDX-License-Identifier: Apache-2.0
"""``lumen cache``."""

from __future__ import annotations

import datetime
from collections import Counter
from typing import TYPE_CHECKING

import click

from lumen_mlir.cli.fitting import say, show

if TYPE_CHECKING:
    from lumen_mlir.storage.cache import Entry

# What kinds of entries are, one and several of them.
_KINDS = {
    "objects": ("code", "{:,} pieces of code"),
    "kernels": ("1 kernel", "{:,} kernels"),
    "packed": ("packed weights", "packed weights in {:,} layouts"),
    "tokenizers": ("tokenizer", "{:,} tokenizers"),
    "models": ("quantized weights", "quantized weights in {:,} files"),
    "tunings": ("tuning", "{:,} tunings"),
    "pages": ("1 page of keys and values", "{:,} pages of keys and values"),
}


@click.group(short_help="Show or clear what is kept on disk.", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Compiled code, packed weights, tokenizers, keys and values: kept on disk to be fast the next time."""
    if context.invoked_subcommand is None:
        context.invoke(list_entries)


@command.command("list")
@click.option("--entries", is_flag=True, help="Every entry with its key, not only what each model has.")
def list_entries(entries: bool = False) -> None:
    """Show the folder and what it keeps for which model, the most recently used first.

    Models of equal shapes share code: it stands with the one that was first.
    """
    from lumen_mlir.gguf.description import size_text
    from lumen_mlir.storage.cache import PAGES, Cache

    cache = Cache()
    found = cache.entries()
    pages = [entry for entry in found if entry.kind == PAGES]
    limit = size_text(cache.limit) if cache.limit else "nothing: caching is off"
    total = size_text(sum(entry.size for entry in found if entry.kind != PAGES))
    kept = size_text(sum(entry.size for entry in pages))
    # Their limit is an option of whoever writes them.
    more = f", and {len(pages):,} pages of keys and values, {kept}" if pages else ""
    say(f"{cache.folder}: {_count(len(found) - len(pages))}, {total} of {limit}{more}")
    if not found:
        return
    labels = _labels(found)
    say("")
    if entries:
        rows = [
            (entry.kind, size_text(entry.size), _moment(entry.used), labels[entry], entry.key)
            for entry in found
        ]
        show([("kind", "size", "last used", "model", "key"), *rows], right=(1,), header=True, spare=(4,))
        return
    groups: dict[str, list[Entry]] = {}
    for entry in found:
        groups.setdefault(labels[entry], []).append(entry)
    models = [
        (name, size_text(sum(entry.size for entry in group)), _moment(group[0].used), _kinds(group))
        for name, group in groups.items()
    ]
    show([("model", "size", "last used", "what is kept"), *models], right=(1,), header=True)


def _labels(entries: list[Entry]) -> dict[Entry, str]:
    """The model of each entry."""
    labels = {entry: entry.label for entry in entries}
    # The entry of a quantized folder is a model file: the one with its checksums has the name.
    sums = {entry.key: labels[entry] for entry in entries if entry.kind == "models"}
    return {
        entry: label or sums.get(f"{entry.key}.sums", "") or "(of no model)"
        for entry, label in labels.items()
    }


def _kinds(entries: list[Entry]) -> str:
    counts = Counter(entry.kind for entry in entries if not entry.key.endswith(".sums"))
    parts = []
    for kind, count in counts.items():
        one, several = _KINDS.get(kind, (kind, "{:,} " + kind))
        parts.append(one if count == 1 else several.format(count))
    return ", ".join(parts)


@command.command()
def clear() -> None:
    """Remove every entry. It is safe at any time: what is needed is made again."""
    from lumen_mlir.gguf.description import size_text
    from lumen_mlir.storage.cache import Cache

    cache = Cache()
    count, size = cache.clear()
    say(f"{cache.folder}: removed {_count(count)}, {size_text(size)}")


def _moment(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"


def _count(entries: int) -> str:
    return f"{entries:,} entr{'y' if entries == 1 else 'ies'}"

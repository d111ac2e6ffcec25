# SPDX-License-Identifier: Apache-2.0
"""``lumen cache``."""

from __future__ import annotations

import datetime

import click

from lumen_mlir.cli.table import columns


@click.group(short_help="Show or clear what is kept on disk.", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Compiled code, packed weights and tokenizers, kept on disk to make the next start fast."""
    if context.invoked_subcommand is None:
        context.invoke(list_entries)


@command.command("list")
def list_entries() -> None:
    """Show the folder and every entry, the most recently used first."""
    from lumen_mlir.gguf.description import size_text
    from lumen_mlir.storage.cache import Cache

    cache = Cache()
    entries = cache.entries()
    limit = size_text(cache.limit) if cache.limit else "nothing: caching is off"
    total = size_text(sum(entry.size for entry in entries))
    click.echo(f"{cache.folder}: {_count(len(entries))}, {total} of {limit}")
    if entries:
        rows = [
            (entry.kind, size_text(entry.size), f"{_moment(entry.used):%Y-%m-%d %H:%M}", entry.key)
            for entry in entries
        ]
        click.echo("\n" + columns([("kind", "size", "last used", "key"), *rows], right=(1,)))


@command.command()
def clear() -> None:
    """Remove every entry. It is safe at any time: what is needed is made again."""
    from lumen_mlir.gguf.description import size_text
    from lumen_mlir.storage.cache import Cache

    cache = Cache()
    count, size = cache.clear()
    click.echo(f"{cache.folder}: removed {_count(count)}, {size_text(size)}")


_moment = datetime.datetime.fromtimestamp


def _count(entries: int) -> str:
    return f"{entries} entr{'y' if entries == 1 else 'ies'}"

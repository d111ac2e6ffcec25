# SPDX-License-Identifier: Apache-2.0
"""Tables and texts on stdout that fit a terminal. What goes to a pipe or a file is whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import click

from lumen_mlir.cli import streams, styles
from lumen_mlir.cli.table import GAP, aligned, cell, columns, markdown, width
from lumen_mlir.cli.wrapping import shortened, wrapped

# Columns that a text keeps, however narrow the terminal is; the last column of a table is wrapped.
_LEAST, _LEAST_WRAPPED = 10, 16


def show(
    rows: Sequence[Sequence[object]],
    right: Sequence[int] = (),
    header: bool = False,
    spare: Sequence[int] = (),
) -> None:
    """Writes a table; ``right`` numbers the columns that are aligned to the right, ``header``: its first row.

    Where a terminal is too narrow, texts get an ellipsis in the middle, and the last column is wrapped. If
    need be, columns are left out, which is said: first those in ``spare``, then those at the end.
    """
    for number, row in enumerate(_table(rows, right, header, spare)):
        for line in row:
            _write(line, *(("bold",) if header and number == 0 else ()))


def show_markdown(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Writes a table with a header: for people on a terminal, in Markdown elsewhere."""
    if styles.width(sys.stdout) is None:
        click.echo(markdown(rows[0], rows[1:], right))
    else:
        show(rows, right, header=True)


def table(rows: Sequence[Sequence[object]], right: Sequence[int] = (), header: bool = False) -> str:
    """The lines that ``show`` writes."""
    return "\n".join(line for row in _table(rows, right, header) for line in row)


def prose(text: str) -> str:
    """Lines of text, each wrapped at words to the width of a terminal."""
    limit = styles.width(sys.stdout)
    if limit is None:
        return text
    return "\n".join(piece for line in text.split("\n") for piece in wrapped(line, limit))


def say(text: str, *style: str) -> None:
    """Writes ``prose``."""
    for line in prose(text).split("\n"):
        _write(line, *style)


def _write(line: str, *style: str) -> None:
    streams.raw(sys.stdout).write(styles.styled(sys.stdout, line, *style) + "\n")


def _table(
    rows: Sequence[Sequence[object]], right: Sequence[int], header: bool, spare: Sequence[int] = ()
) -> Iterator[list[str]]:
    """The lines of each row."""
    limit = styles.width(sys.stdout)
    if limit is None:
        yield from ([line] for line in columns(rows, right).split("\n"))
        return
    texts = [[cell(value) for value in row] for row in rows]
    widths = fitted([max(map(width, column)) for column in zip(*texts, strict=True)], right, limit, spare)
    shifted = [place for place, number in enumerate(widths) if number in right]
    for row in texts:
        yield list(_lines([row[number] for number in widths], list(widths.values()), shifted))
    missing = [name for number, name in enumerate(texts[0]) if number not in widths]
    if header and missing:
        yield wrapped(f"(columns that do not fit: {', '.join(missing)})", limit)


def fitted(
    natural: Sequence[int], right: Sequence[int], limit: int, spare: Sequence[int] = ()
) -> dict[int, int]:
    """The columns that fit into ``limit``, by number, and their widths."""
    last = len(natural) - 1
    unwanted = [*spare, *(number for number in range(last, 0, -1) if number not in spare)]
    kept = list(range(len(natural)))
    while True:
        widths = {number: natural[number] for number in kept}
        least = {
            number: size if number in right else min(size, _LEAST_WRAPPED if number == kept[-1] else _LEAST)
            for number, size in widths.items()
        }
        room = limit - len(GAP) * (len(kept) - 1)
        if sum(least.values()) <= room:
            break
        if len(kept) == 1:
            return {kept[0]: limit}
        kept.remove(unwanted.pop(0))
    while sum(widths.values()) > room:
        # The widest gives way first.
        widest = max((n for n in kept if widths[n] > least[n]), key=lambda number: widths[number])
        widths[widest] -= 1
    return widths


def _lines(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> Iterator[str]:
    """The lines of one row: all cells but the last are shortened."""
    *front, last = row
    front = [shortened(text, size) for text, size in zip(front, widths, strict=False)]
    for piece in wrapped(last, widths[-1]):
        yield aligned([*front, piece], widths, right)
        front = [""] * len(front)

# SPDX-License-Identifier: Apache-2.0
"""Tables and texts on stdout that fit a terminal. What goes to a pipe or a file is whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import click

from lumen_mlir.cli import streams, styles
from lumen_mlir.cli.table import GAP, aligned, cell, columns, width

# Columns that a text keeps, however narrow the terminal is; the last column of a table is wrapped.
_LEAST, _LEAST_WRAPPED = 6, 16


def show(rows: Sequence[Sequence[object]], right: Sequence[int] = (), header: bool = False) -> None:
    """Writes a table; ``right`` numbers the columns that are aligned to the right, ``header``: its first row.

    Where a terminal is too narrow, texts get an ellipsis in the middle, the last column is wrapped, and
    columns at the end are left out if need be, which is said.
    """
    limit = styles.width(sys.stdout)
    if limit is None:
        click.echo(columns(rows, right))
        return
    texts = [[cell(value) for value in row] for row in rows]
    natural = [max(map(width, column)) for column in zip(*texts, strict=True)]
    widths = fitted(natural, right, limit)
    kept = len(widths)
    for number, row in enumerate(texts):
        for line in _lines(row[:kept], widths, right):
            _write(line, *(("bold",) if header and number == 0 else ()))
    if header and kept < len(natural):
        names = ", ".join(texts[0][kept:])
        say(f"(columns that do not fit: {names})", "dim")


def say(text: str, *style: str) -> None:
    """Writes lines of text, each wrapped at words to the width of a terminal."""
    limit = styles.width(sys.stdout)
    for line in text.split("\n"):
        for piece in [line] if limit is None else wrapped(line, limit):
            _write(piece, *style)


def _write(line: str, *style: str) -> None:
    streams.raw(sys.stdout).write(styles.styled(sys.stdout, line, *style) + "\n")


def fitted(natural: Sequence[int], right: Sequence[int], limit: int) -> list[int]:
    """The widths of columns that together take at most ``limit``; of the first of them, where all cannot."""
    for count in range(len(natural), 1, -1):
        widths = list(natural[:count])
        least = [
            size if number in right else min(size, _LEAST_WRAPPED if number == count - 1 else _LEAST)
            for number, size in enumerate(widths)
        ]
        room = limit - len(GAP) * (count - 1)
        if sum(least) > room:
            continue
        while sum(widths) > room:
            # The widest gives way first.
            widest = max((n for n in range(count) if widths[n] > least[n]), key=lambda n: widths[n])
            widths[widest] -= 1
        return widths
    return [min(natural[0], limit)]


def _lines(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> Iterator[str]:
    """The lines of one row: all cells but the last are shortened."""
    *front, last = row
    front = [shortened(text, size) for text, size in zip(front, widths, strict=False)]
    for piece in wrapped(last, widths[-1]):
        yield aligned([*front, piece], widths, right)
        front = [""] * len(front)


def shortened(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` columns, with an ellipsis in its middle where it is longer."""
    if width(text) <= limit:
        return text
    head = cut(text, limit // 2)
    tail = cut(text[::-1], limit - 1 - width(head))[::-1]
    return f"{head}…{tail}"


def cut(text: str, limit: int) -> str:
    """The longest beginning of ``text`` that takes at most ``limit`` columns."""
    taken = 0
    for place, character in enumerate(text):
        taken += width(character)
        if taken > limit:
            return text[:place]
    return text


def wrapped(text: str, limit: int) -> list[str]:
    """``text`` in lines of at most ``limit`` columns, broken at spaces; where a word is longer, inside it.

    Lines after the first begin below the first one's text.
    """
    indent = " " * (len(text) - len(text.lstrip(" ")))
    if len(indent) > limit // 2:
        indent = ""
    lines = []
    while width(text) > limit:
        head = cut(text, limit)
        space = head.rfind(" ") if not text[len(head) :].startswith(" ") else len(head)
        if space <= len(indent):
            # At least one character goes on, however narrow the terminal.
            space = max(len(head), len(indent) + 1)
        lines.append(text[:space].rstrip(" "))
        text = indent + text[space:].lstrip(" ")
    return [*lines, text]

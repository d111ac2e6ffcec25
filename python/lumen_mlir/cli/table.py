# SPDX-License-Identifier: Apache-2.0
"""Plain tables for stdout: the same on a terminal and in a pipe."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from lumen_mlir.errors import visible


def width(text: str) -> int:
    """Columns that ``text`` takes on a terminal: wide characters, such as Hangul, take two."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def columns(rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> str:
    """Rows in aligned columns; those whose numbers are in ``right`` are aligned to the right."""
    texts = [[_cell(cell) for cell in row] for row in rows]
    widths = [max(width(cell) for cell in column) for column in zip(*texts, strict=True)]
    lines = []
    for row in texts:
        cells = []
        for number, cell in enumerate(row):
            pad = " " * (widths[number] - width(cell))
            cells.append(pad + cell if number in right else cell + pad)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cell(value: object) -> str:
    """A value on one line: names come from files, and may hold anything."""
    return visible(str(value)).replace("\n", "\\x0a").replace("\t", "\\x09")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A Markdown table, aligned for reading as it is."""
    rows = [[_cell(cell) for cell in row] for row in rows]
    widths = [max(width(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = []
        for number, cell in enumerate(row):
            pad = " " * (widths[number] - width(cell))
            cells.append(pad + cell if number in right else cell + pad)
        return "| " + " | ".join(cells) + " |"

    rule = [
        "-" * (size - 1) + ":" if number in right else "-" * size
        for number, size in enumerate(max(size, 3) for size in widths)
    ]
    widths = [max(size, 3) for size in widths]
    return "\n".join([line(header), "| " + " | ".join(rule) + " |", *map(line, rows)])

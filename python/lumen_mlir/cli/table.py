# SPDX-License-Identifier: Apache-2.0
"""Tables as text: in columns, and in Markdown."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from lumen_mlir.errors import visible

GAP = "  "


def width(text: str) -> int:
    """Columns that ``text`` takes on a terminal: wide characters, such as Hangul, take two."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def columns(rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> str:
    """Rows in aligned columns; those whose numbers are in ``right`` are aligned to the right."""
    texts = [[cell(value) for value in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(*texts, strict=True)]
    return "\n".join(aligned(row, widths, right) for row in texts)


def aligned(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    """One line of a table whose columns have these widths."""
    cells = []
    for number, text in enumerate(row):
        pad = " " * (widths[number] - width(text))
        cells.append(pad + text if number in right else text + pad)
    return GAP.join(cells).rstrip()


def cell(value: object) -> str:
    """A value on one line: names come from files, and may hold anything."""
    return visible(str(value)).replace("\n", "\\x0a").replace("\t", "\\x09")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A Markdown table, aligned for reading as it is."""
    rows = [[cell(value) for value in row] for row in rows]
    widths = [max(width(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = []
        for number, text in enumerate(row):
            pad = " " * (widths[number] - width(text))
            cells.append(pad + text if number in right else text + pad)
        return "| " + " | ".join(cells) + " |"

    rule = [
        "-" * (size - 1) + ":" if number in right else "-" * size
        for number, size in enumerate(max(size, 3) for size in widths)
    ]
    widths = [max(size, 3) for size in widths]
    return "\n".join([line(header), "| " + " | ".join(rule) + " |", *map(line, rows)])

# SPDX-License-Identifier: Apache-2.0
"""Drawings of bytes: one line per byte, bit 7 to bit 0, with what the bits hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lumen_mlir.formats.packing import Component
    from lumen_mlir.formats.quantized import QuantFormat
    from lumen_mlir.formats.storage import Segment

# Columns of a bit, its border included: as a rule, and at least.
_BIT, _LEAST = 9, 4


@dataclass(frozen=True)
class ByteLine:
    """One byte.

    ``head`` stands in front of it; ``cells`` are (bits, label) from bit 7 down. ``key`` is equal for bytes
    that are built alike; ``first`` is the number of the first element.
    """

    head: str
    cells: tuple[tuple[int, str], ...]
    key: object
    first: int


def draw(lines: Sequence[ByteLine], limit: int | None = None) -> str:
    """The bytes; where many follow each other that are built alike, the first two and the last.

    Bits are narrower where the drawing would take more than ``limit`` columns.
    """
    width = max(len(line.head) for line in lines)
    size = _BIT if limit is None else max(min(_BIT, (limit - width - 2) // 8), _LEAST)
    margin = " " * width
    ruler = "".join(f" {bit:^{size - 1}}" for bit in range(7, -1, -1))
    edge = "─" * (size - 1)
    text = [
        f"{margin} {ruler}".rstrip(),
        f"{margin} ┌" + "┬".join([edge] * 8) + "┐",
    ]
    number = 0
    while number < len(lines):
        end = _run(lines, number)
        shown = range(number, end)
        if end - number > 4:
            shown = [number, number + 1, None, end - 1]
        for index in shown:
            text.append(f"{margin} ⋮" if index is None else _line(lines[index], width, size))
        number = end
    text.append(f"{margin} └" + "┴".join([edge] * 8) + "┘")
    return "\n".join(text)


def _run(lines: Sequence[ByteLine], begin: int) -> int:
    """The end of the run of bytes from ``begin`` on that differ only by a constant step of their elements."""
    end = begin + 1
    while end < len(lines) and lines[end].key == lines[begin].key:
        step = lines[end].first - lines[end - 1].first
        if end > begin + 1 and step != lines[begin + 1].first - lines[begin].first:
            break
        end += 1
    return end


def _line(line: ByteLine, width: int, size: int) -> str:
    cells = []
    for bits, label in line.cells:
        inner = bits * size - 1
        cells.append((label if len(label) <= inner else label[: inner - 1] + "…").center(inner))
    return f"{line.head:<{width}} │" + "│".join(cells) + "│"


def block_lines(fmt: QuantFormat) -> list[ByteLine]:
    """The bytes of one block in the file."""
    from lumen_mlir.formats.storage import segments

    lines, rows = [], segments(fmt)
    offset = 0
    for name, kind in fmt.fields.items():
        for byte in range(kind.bytes):
            element, inside = divmod(byte, kind.dtype.bytes)
            label = name if kind.length is None else f"{name}[{element}]"
            if inside:
                label = ""
            row = rows[offset]
            key = name, inside, tuple(_shape(segment, row[-1]) for segment in row)
            cells = tuple((segment.high - segment.low + 1, segment.label) for segment in row)
            lines.append(ByteLine(f"{offset:>4}  {label}", cells, key, _first(row[-1])))
            offset += 1
    return lines


def _first(segment: Segment) -> int:
    if segment.part.isupper() and segment.bits is not None:
        return segment.bits[1]
    return segment.elements[0] if segment.elements else 0


def _shape(segment: Segment, base: Segment) -> tuple:
    """What is equal for segments that differ only in the numbers of their elements."""
    first = _first(base)
    elements = tuple(element - first for element in segment.elements)
    bits = None if segment.part.isupper() else segment.bits
    return segment.high, segment.low, segment.part, elements, bits, segment.whole


def _bits(fmt: QuantFormat, low: int, width: int) -> str:
    if width == fmt.bits:
        return ""
    return f"[{low}]" if width == 1 else f"[{low + width - 1}:{low}]"


def _plane_fields(fmt: QuantFormat, plane: Component) -> list[tuple[int, int, int]]:
    """(step, lowest bit, bits) of the codes in a byte of the first load, upper ones first."""
    steps = fmt.block // (plane.shape[1] * plane.shape[-1] * prod(plane.shape[2:-2]))
    return [(step, plane.low, plane.bits) for step in range(steps - 1, -1, -1)]


def _whole_fields(codes: Component) -> list[tuple[int, int, int]]:
    """The same of codes that lie whole."""
    found = []
    for step, pieces in enumerate(codes.pieces):
        low = codes.bits
        for load, bit, width in pieces:
            low -= width
            if load == 0:
                found.append((bit, (step, low, width)))
    return [field for _, field in sorted(found, reverse=True)]


def plane_lines(fmt: QuantFormat, plane: Component) -> list[ByteLine]:
    """The bytes of the first load of a plane of the codes of a block, or of whole codes."""
    rows, columns = plane.shape[-2:]
    fields = _whole_fields(plane) if plane.pieces else _plane_fields(fmt, plane)
    lines = []
    for row in range(rows):
        for column in range(columns):
            cells = tuple(
                (width, f"w{columns * step + column}{_bits(fmt, low, width)}") for step, low, width in fields
            )
            head = f"{columns * row + column:>4}  row {row}"
            # Rows are alike: behind the first one, only the end is drawn.
            lines.append(ByteLine(head, cells, row > 0, 0 if row else column))
    return lines

# SPDX-License-Identifier: Apache-2.0
"""What every bit of a block holds, found by flipping it.

A decoded block has parts: the codes "w" (one per weight), and "s", "m", the scales and minima, each of the
block or of its groups. A storage bit that always flips the same bit of one element is that bit
(``Segment.bits``); one that has part in several elements (an index into a codebook, digits to base 3) only
names them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from .quantized import QuantFormat

# Blocks of random bytes whose bits are flipped: enough for every point of a codebook to change somewhere.
_BACKGROUNDS = 24


@dataclass(frozen=True)
class Segment:
    """Neighbouring bits of one byte that hold the same thing.

    Attributes:
      high, low: the first and last bit in the byte, 7 to 0.
      part: "w", "s" or "m" (of groups), "S" or "M" (of the block), "" for bits that nothing reads.
      elements: the numbers of the weights or groups that depend on the bits.
      bits: (high, low), the bits of the element that they are, or None where they are not plain bits.
      whole: True where they are all the bits that the element has.
    """

    high: int
    low: int
    part: str
    elements: tuple[int, ...]
    bits: tuple[int, int] | None
    whole: bool

    @property
    def label(self) -> str:
        """``w5``, ``w5[3:0]``, ``w0…w7``, ``S[15:8]``."""
        if not self.part:
            return "unused"
        if self.part.isupper():
            name = self.part
        elif len(self.elements) == 1:
            name = f"{self.part}{self.elements[0]}"
        else:
            return _span(self.part, self.elements)
        if self.bits is None or self.whole:
            return name
        high, low = self.bits
        return f"{name}[{high}]" if high == low else f"{name}[{high}:{low}]"


def _span(part: str, elements: tuple[int, ...]) -> str:
    step = elements[1] - elements[0]
    if elements == tuple(range(elements[0], elements[-1] + 1, step)) and len(elements) > 2:
        middle = "…" if step == 1 else f" {part}{elements[1]} … "
        return f"{part}{elements[0]}{middle}{part}{elements[-1]}"
    return " ".join(f"{part}{i}" for i in elements[:6]) + (" …" if len(elements) > 6 else "")


@dataclass
class _Bit:
    """What one storage bit holds: ``bit`` is the number of the element's bit, or None."""

    part: str
    elements: set[int]
    bit: int | None


def _parts(fmt: QuantFormat, raw: np.ndarray) -> dict[str, np.ndarray]:
    """The parts of blocks [n, bytes], each as bits [n, elements, bits]."""
    decoded = fmt.decode_codes(raw)
    arrays = {"w": decoded.codes}
    for name, pair in (("s", decoded.scale), ("m", decoded.min or (None, None))):
        for part, array in ((name.upper(), pair[0]), (name, pair[1])):
            if array is not None:
                arrays[part] = array
    result = {}
    for part, array in arrays.items():
        values = np.ascontiguousarray(array).reshape(len(raw), -1)
        elements = values.shape[1]
        data = values.view(np.uint8).reshape(len(raw), elements, values.itemsize)
        result[part] = np.unpackbits(data, axis=-1, bitorder="little")
    return result


@lru_cache(maxsize=64)
def _storage_bits(fmt: QuantFormat) -> list[_Bit]:
    size = fmt.row_bytes(fmt.block)
    flips = np.zeros((8 * size + 1, size), dtype=np.uint8)
    bits = np.arange(8 * size)
    flips[bits + 1, bits // 8] = 1 << (bits % 8)
    ever: dict[str, np.ndarray] = {}
    always: dict[str, np.ndarray] = {}
    rng = np.random.default_rng(0)
    for _ in range(_BACKGROUNDS):
        blocks = flips ^ rng.integers(0, 256, size, dtype=np.uint8)
        for part, values in _parts(fmt, blocks).items():
            changed = values[1:] != values[0]
            ever[part] = ever[part] | changed if part in ever else changed
            always[part] = always[part] & changed if part in always else changed
    result = []
    for bit in range(8 * size):
        touched = [part for part in ever if ever[part][bit].any()]
        found = _Bit("", set(), None)
        # What holds codes beside scales (the signs of IQ1) is shown by its codes.
        for part in touched[:1]:
            elements = np.flatnonzero(ever[part][bit].any(axis=-1))
            found = _Bit(part, {int(i) for i in elements}, None)
            plain = np.array_equal(ever[part][bit], always[part][bit])
            if plain and len(elements) == 1 and len(touched) == 1:
                # The lowest of several bits: the others are its sign extension.
                found.bit = int(always[part][bit][elements[0]].argmax())
        result.append(found)
    # An element that is computed from some of its bits is computed from all of them.
    computed = {(bit.part, i) for bit in result if bit.bit is None for i in bit.elements}
    for bit in result:
        if any((bit.part, i) in computed for i in bit.elements):
            bit.bit = None
    return result


def segments(fmt: QuantFormat) -> list[list[Segment]]:
    """For every byte of a block its segments, from bit 7 down to bit 0.

    What stands once per row comes first, as in a row of one block.
    """
    bits = _storage_bits(fmt)
    counts: dict[tuple[str, int], int] = {}
    for bit in bits:
        if bit.bit is not None:
            key = bit.part, next(iter(bit.elements))
            counts[key] = counts.get(key, 0) + 1
    result = []
    for byte in range(fmt.row_bytes(fmt.block)):
        row: list[Segment] = []
        for position in range(7, -1, -1):
            bit = bits[8 * byte + position]
            last = row[-1] if row else None
            if last is not None and _joins(last, bit):
                elements = tuple(sorted({*last.elements, *bit.elements}))
                plain = None if bit.bit is None else (last.bits[0], bit.bit)
                row[-1] = Segment(last.high, position, bit.part, elements, plain, False)
            else:
                plain = None if bit.bit is None else (bit.bit, bit.bit)
                row.append(Segment(position, position, bit.part, tuple(sorted(bit.elements)), plain, False))
        result.append([_finished(segment, counts) for segment in row])
    return result


def _joins(segment: Segment, bit: _Bit) -> bool:
    if segment.part != bit.part or (segment.bits is None) != (bit.bit is None):
        return False
    if segment.bits is None:
        return not bit.part or bool(bit.elements & set(segment.elements))
    return set(segment.elements) == bit.elements and segment.bits[1] == bit.bit + 1


def _finished(segment: Segment, counts: dict[tuple[str, int], int]) -> Segment:
    if segment.bits is None:
        return segment
    whole = counts[segment.part, segment.elements[0]] == segment.high - segment.low + 1
    return replace(segment, whole=whole)

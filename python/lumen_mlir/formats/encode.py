# SPDX-License-Identifier: Apache-2.0
"""The inverse of ``decode``: codes and factors back into the bytes of a block, and the values they can take.

It is found by probing. Decoding blocks that differ in one bit shows which elements (a code, a scale, a
minimum) a storage bit changes. Bits that always flip the same bits of one element, and no other bit does, are
moved. Elements made in any other way (base-3 digits, small floats built of integers) are looked up in a
table of all values of the few bits that make them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce

import numpy as np

from ..errors import LumenError
from . import grid
from .arrays import to_float32
from .quantized import Decoded, QuantFormat

_BASES = 8  # blocks around which single bits are flipped
_TABLE_BITS = 16  # most bits of a lookup table


def _parts(decoded: Decoded) -> list[np.ndarray]:
    """Codes and the factors present."""
    arrays = [decoded.codes, *decoded.scale, *(decoded.min or ())]
    return [array for array in arrays if array is not None]


@dataclass(frozen=True)
class _Table:
    """Elements that a few storage bits make together.

    Attributes:
      elements: (part, index) -> the values it takes, as unsigned integers.
      bases: what they are multiplied with to make one number of them all.
      keys: these numbers, sorted.
      targets: bytes of the block.
      bytes: [keys, targets], what to store there for each key.
    """

    elements: dict[tuple[int, int], np.ndarray]
    bases: list[int]
    keys: np.ndarray
    targets: np.ndarray
    bytes: np.ndarray


class Encoder:
    """Encodes blocks of one format.

    Attributes:
      code_grid: the values of the codes that can be stored.
      factor_grids: for each of the scale and the minimum, of the factor per block and the one per group.

    Raises LumenError for a format whose codes or factors cannot be chosen one by one (codebooks).
    """

    def __init__(self, fmt: QuantFormat):
        self.format = fmt
        # Of a row of one block: what stands once per row is in front of it.
        self._size = fmt.row_bytes(fmt.block)
        self._sizes = [part.dtype.itemsize for part in _parts(self._decode(self._blank(1)))]
        always, ever = self._flips()
        self._empty = [part[0] for part in self._byte_parts(self._decode(self._blank(1)), 1)]
        moved = [np.unpackbits(part, axis=1, bitorder="little") for part in ever]
        # [storage bit, element]
        self._touches = [
            bits.reshape(len(bits), -1, 8 * size).any(axis=2)
            for bits, size in zip(moved, self._sizes, strict=True)
        ]
        plain = np.ones(8 * self._size, dtype=bool)
        for bits, one, other in zip(moved, always, ever, strict=True):
            plain &= (one == other).all(axis=1) & ~(bits.astype(bool) & (bits.sum(axis=0) > 1)).any(axis=1)
        self._tables = [self._table(bits) for bits in self._entangled(plain)]
        self._moves = self._find_moves(moved)
        self._check()

    # --- probing --------------------------------------------------------------------------------------------

    def _blank(self, blocks: int) -> np.ndarray:
        return np.zeros((blocks, self._size), dtype=np.uint8)

    def _decode(self, blocks: np.ndarray) -> Decoded:
        return self.format.decode_codes(blocks)

    def _byte_parts(self, decoded: Decoded, blocks: int) -> list[np.ndarray]:
        return [np.ascontiguousarray(part).reshape(blocks, -1).view(np.uint8) for part in _parts(decoded)]

    def _flips(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Per part [storage bit, bytes]: the bits that flipping a storage bit flips always, and ever."""
        size = self._size
        rng, bits = np.random.default_rng(0), np.arange(8 * size)
        always: list[np.ndarray] = []
        ever: list[np.ndarray] = []
        for base in range(_BASES):
            probes = self._blank(8 * size + 1)
            probes[:] = rng.integers(0, 256, size, dtype=np.uint8) if base else 0
            probes[bits + 1, bits // 8] ^= np.uint8(1) << (bits % 8).astype(np.uint8)
            parts = self._byte_parts(self._decode(probes), len(probes))
            changed = [part[1:] ^ part[0] for part in parts]
            always = [a & c for a, c in zip(always, changed, strict=True)] if always else changed
            ever = [e | c for e, c in zip(ever, changed, strict=True)] if ever else changed
        return always, ever

    def _entangled(self, plain: np.ndarray) -> list[np.ndarray]:
        """Groups of storage bits that share elements and among which one is not plain."""
        touches = np.concatenate(self._touches, axis=1)
        groups, left = [], ~plain & touches.any(axis=1)
        while left.any():
            group = np.zeros_like(plain)
            group[left.argmax()] = True
            while True:
                grown = touches[:, touches[group].any(axis=0)].any(axis=1)
                if np.array_equal(grown, group):
                    break
                group = grown
            left &= ~group
            # A bit that seems to do nothing may matter beside certain others of its byte.
            beside = np.repeat(group.reshape(-1, 8).any(axis=1), 8)
            groups.append(np.flatnonzero(group | (beside & ~touches.any(axis=1))))
        return groups

    def _patterns(self, bits: np.ndarray) -> np.ndarray:
        """Blocks [2**b, bytes]: every setting of the storage bits ``bits`` [..., b], counting along b."""
        blocks = self._blank(1 << bits.shape[-1])
        for position, bit in enumerate(bits.T.reshape(bits.shape[-1], -1)):
            value = (np.arange(len(blocks)) >> position & 1).astype(np.uint8)
            for one in bit:
                blocks[:, one // 8] |= value << np.uint8(one % 8)
        return blocks

    def _table(self, bits: np.ndarray) -> _Table:
        codebook = "its codes are points of a codebook"
        if len(bits) > _TABLE_BITS:
            codes = self._touches[0][bits].any()
            raise self._error(codebook if codes else f"{len(bits)} bits make one scale or minimum")
        blocks = self._patterns(bits)
        parts = _parts(self._decode(blocks))
        elements, bases, keys = {}, [], np.zeros(len(blocks), dtype=np.uint64)
        product = combinations = 1
        for number, part in enumerate(parts):
            values = np.ascontiguousarray(part).view(f"<u{self._sizes[number]}").reshape(len(blocks), -1)
            for index in np.flatnonzero(self._touches[number][bits].any(axis=0)):
                column = values[:, index].astype(np.uint64)
                elements[number, int(index)] = np.unique(values[:, index])
                bases.append(product)
                if product * (int(column.max()) + 1) >= 1 << 63:
                    raise self._error("too many elements are made of one field")
                keys += column * np.uint64(product)
                product *= int(column.max()) + 1
                combinations *= len(elements[number, int(index)])
        unique, first = np.unique(keys, return_index=True)
        if len(unique) != combinations:
            raise self._error(codebook)
        targets = np.unique(bits // 8)
        return _Table(elements, bases, unique, targets, blocks[first][:, targets])

    def _find_moves(self, moved: list[np.ndarray]) -> list[tuple[int, int, int, np.ndarray, np.ndarray]]:
        """(part, right shift, mask in the storage byte, part bytes, storage bytes) of bits moved together."""
        masks: dict[tuple[int, int, int, int], int] = defaultdict(int)
        tabled = {element for table in self._tables for element in table.elements}
        used = np.zeros(8 * self._size, dtype=bool)
        for number, bits in enumerate(moved):
            width = 8 * self._sizes[number]
            for bit in np.flatnonzero(bits.any(axis=1) & ~used):
                # The lowest of several bits: the others are its sign extension.
                first = int(bits[bit].argmax())
                if (number, first // width) in tabled:
                    continue
                target, position = divmod(int(bit), 8)
                source, origin = divmod(first, 8)
                masks[number, origin - position, source, target] |= 1 << position
                used[bit] = True
        moves = defaultdict(list)
        for (number, shift, source, target), mask in masks.items():
            moves[number, shift, mask].append((source, target))
        return [(*key, *np.array(pairs).T) for key, pairs in moves.items()]

    def _check(self) -> None:
        """Random blocks must decode to the same after they were encoded again."""
        size = self._size
        raw = np.random.default_rng(0).integers(0, 256, (64, size), dtype=np.uint8)
        decoded = self._decode(raw)
        again = self._decode(self(decoded).reshape(raw.shape))
        for one, other in zip(_parts(decoded), _parts(again), strict=True):
            if one.tobytes() != other.tobytes():
                raise self._error("what it decodes to is not plain bits")

    def _error(self, reason: str) -> LumenError:
        return LumenError(f"format '{self.format.name}' cannot be encoded: {reason}")

    # --- what can be stored ---------------------------------------------------------------------------------

    def _values(self, number: int) -> np.ndarray | None:
        """The values, as stored, that every element of a part can take; None for too many bits."""
        tabled = [
            values for table in self._tables for (part, _), values in table.elements.items() if part == number
        ]
        dtype = _parts(self._decode(self._blank(1)))[number].dtype
        columns = [values.view(dtype) for values in tabled]
        if len(tabled) < self._touches[number].shape[1]:
            plain = [
                np.flatnonzero(column)
                for index, column in enumerate(self._touches[number].T)
                if not any((number, index) in table.elements for table in self._tables)
            ]
            if len({len(bits) for bits in plain}) > 1 or len(plain[0]) > _TABLE_BITS:
                return None
            blocks = self._patterns(np.array(plain, dtype=np.intp))
            columns += list(_parts(self._decode(blocks))[number].reshape(len(blocks), -1).T)
        return reduce(np.intersect1d, columns)

    @cached_property
    def code_grid(self) -> grid.Grid:
        codes = self._values(0)
        if codes is None:
            raise self._error("its codes have different numbers of bits")
        values = self.format.values[codes]
        return grid.of_values(values) if self.format.table is None else grid.TableGrid(values)

    @cached_property
    def factor_grids(self) -> dict[str, tuple[grid.Grid | None, grid.Grid | None]]:
        number, result = 0, {}
        for name, factor in self.format.factors:
            pair = []
            for dtype in factor.types:
                if dtype is None:
                    pair.append(None)
                    continue
                number += 1
                pair.append(self._factor_grid(name, number, dtype))
            result[name] = tuple(pair)
        return result

    def _factor_grid(self, name: str, number: int, dtype) -> grid.Grid:
        tabled = any(number == part for table in self._tables for part, _ in table.elements)
        if dtype.kind == "f" and not tabled and self._touches[number].sum(axis=0).min() == dtype.bits:
            return grid.FloatGrid(dtype)
        values = self._values(number)
        if values is None:
            raise self._error(f"its {name} has too many bits")
        values = to_float32(values, dtype)
        return grid.of_values(values[np.isfinite(values)])

    # --- encoding -------------------------------------------------------------------------------------------

    def __call__(self, decoded: Decoded) -> np.ndarray:
        """Codes and factors as ``decode_codes`` gives them -> uint8 [..., row_bytes(K)]."""
        shape = decoded.codes.shape
        blocks = decoded.codes.size // self.format.block
        parts = self._byte_parts(decoded, blocks)
        raw = self._blank(blocks)
        for number, shift, mask, sources, targets in self._moves:
            bits = np.take(parts[number], sources, axis=1) ^ self._empty[number][sources]
            bits = bits >> shift if shift >= 0 else bits << -shift
            raw[:, targets] |= bits & np.uint8(mask)
        for table in self._tables:
            raw[:, table.targets] |= self._look_up(table, parts)
        # Each block was made with its row's fields in front; they are kept once.
        header, rows = self.format.header_bytes, raw.reshape(-1, shape[-1] // self.format.block, self._size)
        body = rows[:, :, header:].reshape(len(rows), -1)
        joined = np.concatenate([rows[:, 0, :header], body], axis=1) if header else body
        return joined.reshape(*shape[:-1], -1)

    def _look_up(self, table: _Table, parts: list[np.ndarray]) -> np.ndarray:
        key = np.zeros(len(parts[0]), dtype=np.uint64)
        for (number, index), base in zip(table.elements, table.bases, strict=True):
            values = parts[number].view(f"<u{self._sizes[number]}")
            key += values[:, index].astype(np.uint64) * np.uint64(base)
        found = np.searchsorted(table.keys, key)
        found[found == len(table.keys)] = 0
        if not np.array_equal(table.keys[found], key):
            raise self._error("a value is none that it can store")
        return table.bytes[found]


@lru_cache(maxsize=64)
def encoder(fmt: QuantFormat) -> Encoder:
    """The encoder of ``fmt``, made once."""
    return Encoder(fmt)

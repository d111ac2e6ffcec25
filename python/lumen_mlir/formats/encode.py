# SPDX-License-Identifier: Apache-2.0
"""The inverse of ``decode``: codes and factors back into the bytes of a block.

It is found by probing. Where every bit that ``decode`` returns is one storage bit, perhaps inverted or
sign-extended, decoding an empty block and all blocks with a single bit set shows which bit goes where.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache

import numpy as np

from ..errors import LumenError
from .quantized import Decoded, QuantFormat


def _byte_parts(decoded: Decoded, blocks: int) -> list[np.ndarray]:
    """Codes and the factors present, each as bytes [blocks, n]."""
    arrays = [decoded.codes, *decoded.scale, *(decoded.min or ())]
    present = [np.ascontiguousarray(array) for array in arrays if array is not None]
    return [array.reshape(blocks, -1).view(np.uint8) for array in present]


class Encoder:
    """Encodes blocks of one format; LumenError where its bits are not plain fields (codebooks, base 3, …)."""

    def __init__(self, fmt: QuantFormat):
        self.format = fmt
        size = fmt.bytes_per_block
        probes = np.zeros((8 * size + 1, size), dtype=np.uint8)
        bits = np.arange(8 * size)
        probes[bits + 1, bits // 8] = 1 << (bits % 8)
        parts = _byte_parts(fmt.decode_codes(probes.reshape(1, -1)), len(probes))
        self._empty = [part[0] for part in parts]
        self._moves = self._find_moves(parts)
        raw = np.random.default_rng(0).integers(0, 256, (64, size), dtype=np.uint8)
        raw &= self._used
        if not np.array_equal(self(fmt.decode_codes(raw.reshape(1, -1))), raw.reshape(1, -1)):
            raise LumenError(f"format '{fmt.name}' cannot be encoded: what it decodes to is not plain bits")

    def _find_moves(self, parts: list[np.ndarray]) -> list[tuple[int, int, int, np.ndarray, np.ndarray]]:
        """(part, right shift, mask in the storage byte, part bytes, storage bytes) of bits moved together."""
        masks: dict[tuple[int, int, int, int], int] = defaultdict(int)
        self._used = np.zeros(self.format.bytes_per_block, dtype=np.uint8)
        for index, part in enumerate(parts):
            changed = np.unpackbits(part[1:] ^ part[0], axis=1, bitorder="little")
            for bit in np.flatnonzero(changed.any(axis=1)):
                target, position = divmod(int(bit), 8)
                if self._used[target] >> position & 1:
                    continue
                # The lowest of several bits: the others are its sign extension.
                source, origin = divmod(int(changed[bit].argmax()), 8)
                masks[index, origin - position, source, target] |= 1 << position
                self._used[target] |= 1 << position
        moves = defaultdict(list)
        for (index, shift, source, target), mask in masks.items():
            moves[index, shift, mask].append((source, target))
        return [(*key, *np.array(pairs).T) for key, pairs in moves.items()]

    def __call__(self, decoded: Decoded) -> np.ndarray:
        """Codes and factors as ``decode_codes`` gives them -> uint8 [..., K / block * bytes_per_block]."""
        shape = decoded.codes.shape
        blocks = decoded.codes.size // self.format.block
        parts = _byte_parts(decoded, blocks)
        raw = np.zeros((blocks, self.format.bytes_per_block), dtype=np.uint8)
        for index, shift, mask, sources, targets in self._moves:
            bits = np.take(parts[index], sources, axis=1) ^ self._empty[index][sources]
            bits = bits >> shift if shift >= 0 else bits << -shift
            raw[:, targets] |= bits & np.uint8(mask)
        return raw.reshape(*shape[:-1], shape[-1] // self.format.block * self.format.bytes_per_block)


@lru_cache(maxsize=64)
def encoder(fmt: QuantFormat) -> Encoder:
    """The encoder of ``fmt``, made once."""
    return Encoder(fmt)

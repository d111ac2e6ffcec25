# SPDX-License-Identifier: Apache-2.0
"""Learns a table of values for the weights of a model: python learn_table.py [MODEL.gguf] [ENTRIES].

Lloyd's algorithm: every weight, in units of its block's scale, goes to the nearest value; every value moves
to the mean of its weights; and so on. In turns with it, every block gets the scale that suits its values
best.
"""

import sys

import numpy as np

from lumen_mlir import formats
from lumen_mlir.data import embedded_model_path
from lumen_mlir.gguf import GGUFFile

BLOCK = 64
ROUNDS = 40


def blocks_of(path) -> np.ndarray:
    """Half a million weights from all matrices of the file, float32 [blocks, BLOCK]."""
    file, parts = GGUFFile.open(path), []
    for info in file.tensors.values():
        if len(info.shape) == 2 and info.shape[1] % BLOCK == 0:
            raw = file.little_endian(info.name).reshape(info.shape[0], -1)
            parts.append(formats.get(info.type).dequantize(raw[::16]).reshape(-1, BLOCK))
    blocks = np.concatenate(parts)
    return blocks[np.abs(blocks).max(axis=1) > 0]


def learn(blocks: np.ndarray, entries: int) -> tuple[np.ndarray, float]:
    """The table, integers from -127 to 127, and the error relative to the weights (root mean squares).

    The table is symmetric: the sign of a block's scale then changes nothing.
    """
    scales = np.abs(blocks).max(axis=1, keepdims=True)
    table = np.linspace(-1, 1, entries)
    for _ in range(ROUNDS):
        codes = np.searchsorted((table[1:] + table[:-1]) / 2, blocks / scales)
        # Both updates minimize the squared error of the weights, so a block counts by its scale squared.
        share, total = (scales**2 * np.ones_like(blocks)).ravel(), (scales * blocks).ravel()
        weight = np.bincount(codes.ravel(), share, entries)
        table = np.bincount(codes.ravel(), total, entries) / np.maximum(weight, 1e-30)
        table = (table - table[::-1]) / 2
        table /= table[-1]
        values = table[codes]
        scales = (values * blocks).sum(axis=1, keepdims=True) / (values**2).sum(axis=1, keepdims=True)
        scales = np.maximum(scales, 1e-12)
    table = np.rint(127 * table).astype(int)
    error = blocks - scales * table[codes] / 127
    return table, float(np.sqrt((error**2).sum() / (blocks**2).sum()))


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else embedded_model_path()
    entries = int(sys.argv[2]) if len(sys.argv) > 2 else 11
    table, error = learn(blocks_of(path), entries)
    print(f"TABLE = ({', '.join(map(str, table))})")
    print(f"error: {error:.2%} of the weights")


if __name__ == "__main__":
    main()

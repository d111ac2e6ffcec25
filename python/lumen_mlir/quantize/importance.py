# SPDX-License-Identifier: Apache-2.0
"""Importance matrices: how much each column of a weight matters, from files that ``llama-imatrix`` writes.

The importance of a column is the mean square of the activation it is multiplied with. There are two forms:
GGUF (tensors ``NAME.in_sum2`` and ``NAME.counts``), and the older ``.dat``.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf import types as T


class ImportanceMatrix:
    """The importance of columns, by the name of the tensor.

    Attributes:
      path: of the file.
      columns: name -> float32 [experts * columns].
    """

    def __init__(self, path: str, columns: dict[str, np.ndarray]):
        self.path, self.columns = path, columns
        for name, values in columns.items():
            if not np.isfinite(values).all() or (values < 0).any():
                raise LumenError(f"{path}: the importance of '{name}' holds negative or non-finite numbers")

    @staticmethod
    def open(path: str | os.PathLike[str]) -> ImportanceMatrix:
        """Reads ``path``; LumenError where it is neither form."""
        path = os.fspath(path)
        try:
            with open(path, "rb") as file:
                magic = file.read(len(T.MAGIC))
        except OSError as error:
            raise LumenError(f"{path}: cannot be read: {error.strerror}") from None
        columns = _from_gguf(path) if magic == T.MAGIC else _from_dat(path)
        if not columns:
            raise LumenError(f"{path}: holds the importance of no tensor")
        return ImportanceMatrix(path, columns)

    def rows(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """The importance for a tensor of ``shape`` [..., N, K]: float32 [experts or 1, K]; None if unknown.

        ``LumenError`` where the file knows the tensor with another number of columns.
        """
        values = self.columns.get(name)
        if values is None:
            return None
        matrices = int(np.prod(shape[:-2], dtype=np.int64))
        if len(values) not in (shape[-1], matrices * shape[-1]):
            raise LumenError(
                f"{self.path}: the importance of '{name}' has {len(values)} columns; the tensor has "
                f"{' x '.join(map(str, shape))}"
            )
        return values.reshape(-1, shape[-1])


def _from_gguf(path: str) -> dict[str, np.ndarray]:
    file = GGUFFile.open(path)
    kind = file.metadata.string("general.type", "imatrix")
    sums = [name for name in file.tensors if name.endswith(".in_sum2")]
    if kind != "imatrix" or not sums:
        raise LumenError(f"{path}: is a GGUF file of type '{kind}', not an importance matrix")
    columns = {}
    for name in sums:
        name = name.removesuffix(".in_sum2")
        squares = file.array(f"{name}.in_sum2").astype(np.float32)
        counts = file.array(f"{name}.counts").astype(np.float32).reshape(-1, 1)
        squares = squares.reshape(len(counts), -1)
        # An expert that was never asked has no activations: it is quantized as if all columns were alike.
        with np.errstate(invalid="ignore", divide="ignore"):
            columns[name] = np.where(counts > 0, squares / counts, 1).astype(np.float32).reshape(-1)
    return columns


def _from_dat(path: str) -> dict[str, np.ndarray]:
    data, columns, position = Path(path).read_bytes(), {}, 4
    try:
        (entries,) = struct.unpack_from("<i", data, 0)
        for _ in range(entries):
            (length,) = struct.unpack_from("<i", data, position)
            name, position = data[position + 4 : position + 4 + length], position + 4 + length
            calls, count = struct.unpack_from("<ii", data, position)
            if length < 1 or len(name) != length or count < 1:
                raise ValueError
            values = np.frombuffer(data, "<f4", count, position + 8)
            columns[name.decode()] = values / np.float32(max(calls, 1))
            position += 8 + 4 * count
    except (struct.error, ValueError):
        raise LumenError(f"{path}: is not an importance matrix (GGUF or .dat)") from None
    return columns

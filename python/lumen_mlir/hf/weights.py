# SPDX-License-Identifier: Apache-2.0
"""How the tensors of a GGUF file are made from those of a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lumen_mlir import formats
from lumen_mlir.errors import LumenError, quoted
from lumen_mlir.formats.quantize import quantize
from lumen_mlir.hf.errors import HFError
from lumen_mlir.hf.safetensors import SafetensorsFile

# Weights are converted so many at a time, which bounds the memory that takes.
_PIECE = 4 << 20
_WIDE_TYPE = "f64"


class Recipe(Protocol):
    """Makes one tensor."""

    shape: tuple[int, ...]

    def rows(self, type_name: str, columns: int) -> Iterator[np.ndarray]:
        """The tensor's bytes as ``type_name``: uint8 [rows, bytes per row], some rows at a time."""


@dataclass(frozen=True)
class Computed:
    """A tensor that follows from the configuration."""

    values: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def rows(self, type_name: str, columns: int) -> Iterator[np.ndarray]:
        yield _converted(self.values.reshape(-1, columns), "f32", type_name)

    def direct(self, type_name: str) -> None:
        return None

    def release(self) -> None:
        """Nothing is mapped."""


@dataclass(frozen=True)
class FromFiles:
    """A tensor of the files, or the same tensor of each expert behind another.

    Attributes:
      parts: file and name of each.
      shape: of the whole.
      heads: where not 0, the rows of each of so many heads are reordered: pairs that turn together are half a
        head apart in ``transformers`` and neighbours in GGUF files of architectures like Llama.
    """

    parts: Sequence[tuple[SafetensorsFile, str]]
    shape: tuple[int, ...]
    heads: int = 0

    @property
    def stored_type(self) -> str:
        """The type in the files, but float32 for what is wider: no kernel reads that."""
        file, name = self.parts[0]
        stored = file.type_name(name)
        return "f32" if stored == _WIDE_TYPE else stored

    def direct(self, type_name: str) -> np.ndarray | None:
        """The mapped bytes (uint8), where they are what is wanted; else None."""
        file, name = self.parts[0]
        if self.heads or len(self.parts) > 1 or file.type_name(name) != type_name:
            return None
        return file.words(name).reshape(-1).view(np.uint8)

    def rows(self, type_name: str, columns: int) -> Iterator[np.ndarray]:
        step = max(1, _PIECE // columns)
        for file, name in self.parts:
            words = file.words(name)
            if self.heads:
                words = _neighbours(words, self.heads)
            words = words.reshape(-1, columns)
            for begin in range(0, len(words), step):
                try:
                    yield _converted(words[begin : begin + step], file.type_name(name), type_name)
                except LumenError as error:
                    raise HFError(f"{file.path}: tensor {quoted(name)}: {error}") from None

    def release(self) -> None:
        """Lets the pages that were read leave resident memory."""
        for file, name in self.parts:
            file.release(name)


def _neighbours(rows: np.ndarray, heads: int) -> np.ndarray:
    """Row i of the first half of each head, then row i of its second half, for each i."""
    halves = rows.reshape(heads, 2, len(rows) // (2 * heads), -1)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


def _converted(words: np.ndarray, stored: str, wanted: str) -> np.ndarray:
    """Rows of words of the type ``stored`` (or float32 values) as bytes of the type ``wanted``."""
    raw = np.ascontiguousarray(words).view(np.uint8)
    if stored == wanted:
        return raw
    if stored == _WIDE_TYPE:
        with np.errstate(over="ignore"):  # to infinity
            values = raw.view("<f8").astype(np.float32)
    else:
        values = formats.get(stored).dequantize(raw)
    return np.ascontiguousarray(quantize(wanted, values)).view(np.uint8)

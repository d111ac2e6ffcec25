# SPDX-License-Identifier: Apache-2.0
"""A memory-mapped reader of safetensors files that trusts nothing it reads.

The file is a length (8 bytes, little-endian), that many bytes of JSON, which give each tensor's type, shape
and place, then the data. NumPy has no bfloat16, in which most models come, so the format's own package (which
gives NumPy arrays or PyTorch's) cannot be used here.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from lumen_mlir.errors import quoted, shown
from lumen_mlir.hf.errors import HFError
from lumen_mlir.hf.json_files import parse_json
from lumen_mlir.storage import mapping

# Types by the format's names: Lumen's name, NumPy's code for the words, bytes.
_TYPES = {
    "F32": ("f32", "<u4", 4), "F16": ("f16", "<u2", 2), "BF16": ("bf16", "<u2", 2), "F64": ("f64", "<u8", 8),
}  # fmt: skip
# Those without a use for weights here; their sizes still have to fit.
_OTHERS = {
    "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
}  # fmt: skip
# The format allows more, but no file has a tenth of the 100,000 tensors that these are enough for.
_MOST_HEADER_BYTES = 16 << 20
_MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Stored:
    """One tensor of a file: ``dtype`` by the format's name, logical shape, first byte and bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


class SafetensorsFile:
    """An open file: ``tensors`` by name, and their mapped bytes."""

    def __init__(self, path: str):
        self.path = path
        self._mapping, self.identity = mapping.map_file(path, "a safetensors file", HFError)
        self._data = np.frombuffer(self._mapping, np.uint8)
        self.tensors = {entry.name: entry for entry in self._entries()}

    @property
    def mapped(self) -> mapping.MappedFile:
        """What is mapped."""
        return self._mapping

    def sample(self) -> bytes:
        """A digest of some bytes of every tensor; ``LumenError`` where they cannot be read."""
        header = min((stored.offset for stored in self.tensors.values()), default=self.size)
        return self._mapping.sample([(0, header), *((s.offset, s.nbytes) for s in self.tensors.values())])

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._data.size

    def words(self, name: str) -> np.ndarray:
        """Tensor ``name`` in its shape, as unsigned words of its elements' size: a read-only view."""
        stored = self.tensors[name]
        if stored.dtype not in _TYPES:
            raise self._error(f"tensor {quoted(name)} is {stored.dtype}; supported are {', '.join(_TYPES)}")
        data = self._data[stored.offset : stored.offset + stored.nbytes]
        return np.frombuffer(data, _TYPES[stored.dtype][1]).reshape(stored.shape)

    def type_name(self, name: str) -> str:
        """The type of tensor ``name`` as Lumen calls it. ``HFError`` where it is none for weights."""
        self.words(name)
        return _TYPES[self.tensors[name].dtype][0]

    def release(self, name: str) -> None:
        """Lets the pages of tensor ``name`` leave resident memory."""
        stored = self.tensors[name]
        mapping.release(self._mapping, stored.offset, stored.offset + stored.nbytes)

    def _error(self, message: str) -> HFError:
        return HFError(f"{self.path}: {message}")

    def _entries(self) -> list[Stored]:
        if self.size < 8:
            raise self._error(f"truncated: {self.size} bytes; a safetensors header takes 8")
        (length,) = struct.unpack_from("<Q", self._mapping)
        if length > self.size - 8:
            raise self._error(
                f"not a safetensors file, or truncated: it announces a header of {length} bytes, "
                f"of {self.size - 8} that follow"
            )
        if length > _MOST_HEADER_BYTES:
            raise self._error(f"its header has {length} bytes; at most {_MOST_HEADER_BYTES} are allowed")
        try:
            header = parse_json(self._mapping[8 : 8 + length], _without_repetition)
        except ValueError as error:
            raise self._error(f"not a safetensors file: its header is not JSON: {error}") from None
        if not isinstance(header, dict):
            raise self._error("not a safetensors file: its header is no JSON object")
        header.pop("__metadata__", None)
        entries = [self._entry(name, value, 8 + length) for name, value in header.items()]
        previous = None
        for entry in sorted(entries, key=lambda entry: (entry.offset, entry.nbytes)):
            if previous is not None and entry.offset < previous.offset + previous.nbytes:
                raise self._error(f"tensor {quoted(entry.name)} overlaps tensor {quoted(previous.name)}")
            previous = entry
        return entries

    def _entry(self, name: str, value: Any, data_offset: int) -> Stored:
        what = f"tensor {quoted(name)}"
        parts: list[Any] = (
            [value.get(key) for key in ("dtype", "shape", "data_offsets")] if isinstance(value, dict) else []
        )
        if list(map(type, parts)) != [str, list, list] or len(parts[2]) != 2:
            raise self._error(f"{what} is not described by dtype, shape and data_offsets")
        dtype, shape, (begin, end) = parts
        if len(shape) > _MOST_DIMENSIONS:
            raise self._error(f"{what} has {len(shape)} dimensions; at most {_MOST_DIMENSIONS} are allowed")
        numbers = [*shape, begin, end]
        if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 1 << 63 for n in numbers):
            raise self._error(f"{what} has a size or an offset that is no whole number of at least 0")
        size = _TYPES[dtype][2] if dtype in _TYPES else _OTHERS.get(dtype)
        if size is None:
            raise self._error(f"{what} has the unknown type {quoted(dtype)}")
        nbytes = size * math.prod(shape)
        if end - begin != nbytes:
            raise self._error(
                f"{what} ({dtype}, {' x '.join(map(str, shape)) or 'scalar'}) takes {nbytes} bytes, "
                f"but its offsets are {end - begin} bytes apart"
            )
        if data_offset + end > self.size:
            raise self._error(
                f"truncated: {what} ends at {data_offset + end}, past the end of the file at {self.size}"
            )
        return Stored(name, dtype, tuple(shape), data_offset + begin, nbytes)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose keys must differ: readers do not agree on which of two counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        last = {name: index for index, (name, _) in enumerate(pairs)}
        repeated = next(name for index, (name, _) in enumerate(pairs) if last[name] != index)
        raise ValueError(f"it has {shown(repeated)} twice")
    return found

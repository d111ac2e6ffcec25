# SPDX-License-Identifier: Apache-2.0
"""A small streaming GGUF writer: metadata and tensor descriptions first, then the weights piece by piece."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from lumen_mlir.errors import quoted, shown
from lumen_mlir.gguf import described
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.errors import GGUFError
from lumen_mlir.gguf.metadata import Metadata
from lumen_mlir.storage.atomic_file import replacing

Pieces = Callable[[], Iterable[np.ndarray]]


class GGUFWriter:
    """Collects metadata and tensors, then writes the file: version 3, little-endian, all or nothing.

    The data of a tensor is a function that yields its bytes as arrays of any size, so that a file larger than
    the memory can be written.
    """

    def __init__(self, path: str | os.PathLike[str], alignment: int = T.DEFAULT_ALIGNMENT):
        try:
            self.path = os.fsdecode(path)
        except TypeError:
            raise GGUFError(f"the path of a file was expected, got {type(path).__name__}") from None
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1) or alignment >= 1 << 31:
            raise GGUFError(f"{self.path}: the alignment is {shown(alignment)}, not a power of two")
        self._alignment = alignment
        self._fields: list[bytes] = []
        self._keys: set[str] = set()
        self._tensors: dict[str, tuple[tuple[int, ...], T.TensorType, Pieces, int]] = {}
        self._described: dict[str, described.DescribedType] = {}
        if alignment != T.DEFAULT_ALIGNMENT:
            self.add("general.alignment", alignment, T.U32)

    def add(self, key: str, value: Any, kind: int) -> None:
        """Add metadata of value type ``kind`` (of ``gguf.types``); a list or array becomes an array of it.

        What names the types of formats from outside is the writer's own: it is left out of copied metadata.
        """
        if not isinstance(key, str):
            raise GGUFError(f"{self.path}: a metadata key is a string, not {shown(key)}")
        if key.startswith(described.PREFIX):
            return
        self._add(key, value, kind)

    def _add(self, key: str, value: Any, kind: int) -> None:
        if key in self._keys:
            raise GGUFError(f"{self.path}: metadata key {quoted(key)} is added twice")
        try:
            if isinstance(value, (list, tuple, np.ndarray)):
                payload = struct.pack("<IIQ", T.ARRAY, kind, len(value)) + _array(value, kind)
            else:
                payload = struct.pack("<I", kind) + _scalar(value, kind)
            name = _string(key)
        except (TypeError, ValueError, LookupError, OverflowError, AttributeError, struct.error):
            raise GGUFError(
                f"{self.path}: metadata key {quoted(key)}: {shown(value)} cannot be written as value type "
                f"{shown(kind)}"
            ) from None
        self._keys.add(key)
        self._fields.append(name + payload)

    def copy_metadata(self, metadata: Metadata, without: Collection[str] = ()) -> None:
        """Add what another file says, but for the keys ``without`` and its alignment."""
        for key in metadata:
            if key not in without and key != "general.alignment":
                self.add(key, metadata.raw(key), metadata.value_type(key))

    def add_tensor(self, name: str, shape: tuple[int, ...], type_name: str, pieces: Pieces) -> None:
        """Add tensor ``name`` of logical ``shape`` (outermost first), whose bytes ``pieces()`` yields.

        ``type_name`` is a type of ggml's or any format that ``lumen_mlir.formats`` knows.
        """
        if not isinstance(name, str) or not isinstance(type_name, str):
            raise GGUFError(
                f"{self.path}: the name and type of a tensor are strings, not {shown(name)} and "
                f"{shown(type_name)}"
            )
        kind = described.for_writing(type_name, self._described)
        if name in self._tensors:
            raise GGUFError(f"{self.path}: tensor {quoted(name)} is added twice")
        if not isinstance(shape, (tuple, list)) or not all(isinstance(n, (int, np.integer)) for n in shape):
            raise GGUFError(f"{self.path}: tensor {quoted(name)}: {shown(shape)} is no shape")
        if not shape or min(shape) < 1:
            raise GGUFError(f"{self.path}: tensor {quoted(name)}: shape {shape} has no elements")
        shape = tuple(map(int, shape))
        if shape[-1] % kind.block:
            raise GGUFError(
                f"{self.path}: tensor {quoted(name)}: row length {shape[-1]} is not a multiple of "
                f"{kind.block}, the block size of {kind.name}"
            )
        if isinstance(kind, described.DescribedType) and kind.name not in self._described:
            self._described[kind.name] = kind
            for entry in described.metadata(kind):
                self._add(*entry)
        nbytes = kind.row_bytes(shape[-1]) * math.prod(shape[:-1])
        if nbytes >= 1 << 63:
            raise GGUFError(f"{self.path}: tensor {quoted(name)}: a shape of {shown(shape)} is too large")
        self._tensors[name] = shape, kind, pieces, nbytes

    def write(self) -> int:
        """Write everything; the file's size in bytes. ``GGUFError`` (and no file) where that fails."""
        head, data_bytes = self._header()
        total = len(head) + data_bytes
        try:
            with replacing(self.path, total) as file:
                file.write(head)
                for name, (_, _, pieces, nbytes) in self._tensors.items():
                    written = 0
                    for piece in pieces():
                        written += file.write(memoryview(piece).cast("B"))  # type: ignore[arg-type]
                    if written != nbytes:
                        raise GGUFError(
                            f"{self.path}: tensor {quoted(name)} takes {nbytes} bytes, got {written}"
                        )
                    file.write(bytes(-nbytes % self._alignment))
        except OSError as error:
            raise GGUFError(f"{self.path}: cannot write {total} bytes: {error.strerror or error}") from None
        return total

    def _header(self) -> tuple[bytes, int]:
        """The bytes before the data section, padded, and the size of that section."""
        parts = [T.MAGIC, struct.pack("<IQQ", 3, len(self._tensors), len(self._fields)), *self._fields]
        offset = 0
        for name, (shape, kind, _, nbytes) in self._tensors.items():
            parts.append(_string(name))
            parts.append(struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind.id, offset))
            offset += -(-nbytes // self._alignment) * self._alignment
        head = b"".join(parts)
        return head + bytes(-len(head) % self._alignment), offset


def _string(value: str | bytes) -> bytes:
    data = value.encode("utf-8") if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def _scalar(value: Any, kind: int) -> bytes:
    return _string(value) if kind == T.STRING else struct.pack("<" + T.SCALAR_CODES[kind], value)


def _array(values: Any, kind: int) -> bytes:
    if kind == T.STRING:
        return b"".join(map(_string, values))
    try:
        return np.asarray(values, dtype="<" + T.NUMPY_CODES[kind]).tobytes()
    except MemoryError:
        raise GGUFError(f"there is no memory for an array of {len(values)} values") from None

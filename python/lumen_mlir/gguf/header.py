# SPDX-License-Identifier: Apache-2.0
"""Reads the header of a GGUF file, and trusts nothing in it.

Every count, length, offset and alignment is compared with the size of the file before anything is allocated
or read for it, so that a damaged or hostile file costs time and memory in proportion to its size and ends in
one ``GGUFError``.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import Any

from lumen_mlir.errors import LumenError, quoted
from lumen_mlir.gguf import described
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.errors import GGUFError
from lumen_mlir.gguf.metadata import ArrayField, Metadata

# The least bytes one metadata entry (key length, key of one byte, type, value of one byte) and one tensor
# entry (name length, name of one byte, dimension count, one dimension, type, offset) can take: they bound the
# counts of the header.
_MIN_FIELD_BYTES = 8 + 1 + 4 + 1
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8
_HEADER_BYTES = 24


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of the file.

    ``shape`` is the logical shape, outermost dimension first (rows N, columns K for a matrix); ``type`` a
    ggml type name such as ``q4_k`` or the name of a format from outside; ``offset`` the position of its
    first byte in the file; ``nbytes`` its size.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
      byteorder: "little" or "big".
      alignment: bytes of which the place of each tensor is a multiple.
      data_offset: where the section of the tensors begins.
      tensors: by name, in the order of the file.
    """

    version: int
    byteorder: str
    alignment: int
    data_offset: int
    metadata: Metadata
    tensors: dict[str, TensorInfo]


def read_header(path: str, mapping: mmap.mmap) -> Header:
    """The header of the mapped file ``path``. Raises ``GGUFError`` where it is not a sound GGUF file."""
    if len(mapping) < _HEADER_BYTES:
        raise GGUFError(f"{path}: truncated: {len(mapping)} bytes; a GGUF header takes {_HEADER_BYTES}")
    return _Parser(path, mapping).parse()


class _Parser:
    """Reads the header front to back; ``self.position`` never passes ``self.size``."""

    def __init__(self, path: str, mapping: mmap.mmap):
        self.path = path
        self.mapping = mapping
        self.size = len(mapping)
        self.position = 0
        self.order = "<"
        self.strings = 0

    def error(self, message: str) -> GGUFError:
        return GGUFError(f"{self.path}: {message}")

    def need(self, count: int, what: str) -> None:
        """Check that ``count`` more bytes are there."""
        if count > self.size - self.position:
            raise self.error(
                f"truncated: {what} needs {count} bytes at offset {self.position}, "
                f"but the file has {self.size} bytes"
            )

    def scalar(self, code: str, what: str) -> Any:
        form = struct.Struct(self.order + code)
        self.need(form.size, what)
        (value,) = form.unpack_from(self.mapping, self.position)
        self.position += form.size
        return value

    def raw(self, what: str, limit: int | None = None) -> bytes:
        length = self.scalar("Q", f"the length of {what}")
        if limit is not None and length > limit:
            raise self.error(f"{what} is {length} bytes long; at most {limit} are allowed")
        self.need(length, what)
        data = self.mapping[self.position : self.position + length]
        self.position += length
        return data

    def text(self, what: str, limit: int) -> str:
        data = self.raw(what, limit)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(
                f"{what} at offset {self.position - len(data)} is not valid UTF-8 ({error.reason})"
            ) from None

    def parse(self) -> Header:
        self.position = len(T.MAGIC)
        version = self.version()
        tensor_count = self.scalar("Q", "the tensor count")
        field_count = self.scalar("Q", "the metadata count")
        self.check_count(field_count, _MIN_FIELD_BYTES, "metadata entries", T.MAX_FIELDS)
        fields = self.fields(field_count)
        self.check_count(tensor_count, _MIN_TENSOR_BYTES, "tensors", T.MAX_TENSORS)
        alignment = self.alignment(fields)
        self.types: dict[int, T.TensorType] = dict(T.TYPES_BY_ID)
        infos = [self.tensor(index, fields) for index in range(tensor_count)]
        data_offset = -(-self.position // alignment) * alignment
        return Header(
            version=version,
            byteorder="little" if self.order == "<" else "big",
            alignment=alignment,
            data_offset=min(data_offset, self.size),
            metadata=Metadata(self.path, self.mapping, self.order, fields),
            tensors=self.place(infos, data_offset, alignment),
        )

    def version(self) -> int:
        # The magic is the same four bytes in both byte orders; the version, a small number, tells them apart.
        version = self.scalar("I", "the version")
        if version & 0xFFFF == 0 and version:
            self.order = ">"
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in T.VERSIONS:
            raise self.error(f"GGUF version {version} is not supported; versions 2 and 3 are")
        return version

    def check_count(self, count: int, minimum: int, what: str, most: int) -> None:
        if count * minimum > self.size - self.position:
            raise self.error(
                f"the header announces {count} {what}, at least {minimum} bytes each, "
                f"but only {self.size - self.position} bytes are left of {self.size}"
            )
        if count > most:
            raise self.error(f"the header announces {count} {what}; at most {most} are allowed")

    def fields(self, count: int) -> dict[str, tuple[int, Any]]:
        fields: dict[str, tuple[int, Any]] = {}
        for index in range(count):
            key = self.text(f"metadata key {index}", T.MAX_NAME_BYTES)
            if not key:
                raise self.error(f"metadata key {index} is empty")
            if key in fields:
                raise self.error(f"metadata key {quoted(key)} appears twice")
            kind = self.scalar("I", f"the type of {quoted(key)}")
            if kind == T.ARRAY:
                fields[key] = kind, self.skip_array(key)
            else:
                fields[key] = kind, self.value(key, kind)
        return fields

    def value(self, key: str, kind: int) -> Any:
        if kind == T.STRING:
            # Decoded when it is asked for: what nobody needs may be anything.
            return self.raw(quoted(key))
        if kind not in T.SCALAR_CODES:
            raise self.error(f"{quoted(key)} has the unknown metadata type {kind} (0 to 12 are known)")
        if kind == T.BOOL:
            byte = self.scalar("B", quoted(key))
            if byte > 1:
                raise self.error(f"{quoted(key)}: a bool is {byte}; only 0 and 1 are allowed")
            return bool(byte)
        return self.scalar(T.SCALAR_CODES[kind], quoted(key))

    def skip_array(self, key: str) -> ArrayField:
        """Check an array's extent and step over it; its elements are decoded when they are asked for."""
        element = self.scalar("I", f"the element type of {quoted(key)}")
        count = self.scalar("Q", f"the length of {quoted(key)}")
        if element == T.ARRAY:
            raise self.error(f"{quoted(key)} is an array of arrays; nested arrays are not supported")
        if element != T.STRING and element not in T.SCALAR_CODES:
            raise self.error(f"{quoted(key)} has the unknown element type {element} (0 to 12 are known)")
        width = 8 if element == T.STRING else struct.calcsize("=" + T.SCALAR_CODES[element])
        start = self.position
        if count * width > self.size - start:
            least = "at least " if element == T.STRING else ""
            raise self.error(
                f"{quoted(key)} announces {count} elements of {T.VALUE_TYPE_NAMES[element]}, "
                f"{least}{width} bytes each, but only {self.size - start} bytes are left of {self.size}"
            )
        if element == T.STRING:
            self.skip_strings(key, count)
        else:
            self.position += count * width
        return ArrayField(element, count, start, self.position)

    def skip_strings(self, key: str, count: int) -> None:
        # 300,000 strings are walked over here at each start, so the loop does nothing but add: a length that
        # leads outside the file makes the next unpack fail (or the sum end past the file), and only then is
        # it looked into.
        self.strings += count
        if self.strings > T.MAX_STRINGS:
            raise self.error(
                f"{quoted(key)} has {count} strings; at most {T.MAX_STRINGS} in all arrays are allowed"
            )
        unpack, mapping, position = struct.Struct(self.order + "Q").unpack_from, self.mapping, self.position
        try:
            for _ in range(count):
                position += 8 + unpack(mapping, position)[0]
        except (struct.error, OverflowError):
            position = self.size + 1
        if position > self.size:
            raise self.string_error(key, count)
        self.position = position

    def string_error(self, key: str, count: int) -> GGUFError:
        """Walk again, slowly, to name the element at which an array of strings leaves the file."""
        for index in range(count):
            what = f"element {index} of {count} of {quoted(key)}"
            length = self.scalar("Q", f"the length of {what}")
            self.need(length, what)
            self.position += length
        raise AssertionError("an array of strings that does not fit was walked to its end")

    def alignment(self, fields: dict[str, tuple[int, Any]]) -> int:
        kind, value = fields.get("general.alignment", (T.U32, T.DEFAULT_ALIGNMENT))
        if kind != T.U32:
            raise self.error(f"'general.alignment' has type {T.VALUE_TYPE_NAMES[kind]}; expected uint32")
        if not 1 <= value <= T.MAX_ALIGNMENT or value & (value - 1):
            raise self.error(
                f"'general.alignment' is {value}; a power of two from 1 to {T.MAX_ALIGNMENT} was expected"
            )
        return value

    def tensor(self, index: int, fields: dict[str, tuple[int, Any]]) -> TensorInfo:
        """One entry of the tensor table; the offset still counts from the start of the data section."""
        name = self.text(f"the name of tensor {index}", T.MAX_NAME_BYTES)
        if not name:
            raise self.error(f"the name of tensor {index} is empty")
        what = f"tensor {quoted(name)}"
        dimensions = self.scalar("I", f"the dimension count of {what}")
        if not 1 <= dimensions <= T.MAX_DIMENSIONS:
            raise self.error(f"{what} has {dimensions} dimensions; 1 to {T.MAX_DIMENSIONS} are allowed")
        extents = [self.scalar("Q", f"dimension {axis} of {what}") for axis in range(dimensions)]
        kind = self.tensor_type(what, self.scalar("I", f"the type of {what}"), fields)
        offset = self.scalar("Q", f"the offset of {what}")
        elements = 1
        for axis, extent in enumerate(extents):
            if extent == 0:
                raise self.error(f"{what}: dimension {axis} is 0")
            elements *= extent
        if elements >= 1 << 63:
            raise self.error(f"{what}: dimensions {extents} make {elements} elements, past 2^63")
        if extents[0] % kind.block:
            raise self.error(
                f"{what}: row length {extents[0]} is not a multiple of {kind.block}, "
                f"the block size of {kind.name}"
            )
        nbytes = kind.row_bytes(extents[0]) * (elements // extents[0])
        return TensorInfo(name, tuple(reversed(extents)), kind.name, offset, nbytes)

    def tensor_type(self, what: str, number: int, fields: dict[str, tuple[int, Any]]) -> T.TensorType:
        if number in T.REMOVED_TYPES:
            raise self.error(
                f"{what} has type {number} ({T.REMOVED_TYPES[number]}), which was removed from GGUF; "
                "convert the model again"
            )
        if number not in self.types:
            try:
                self.types[number] = described.for_reading(number, fields)
            except LumenError as error:
                raise self.error(f"{what} {error}") from None
        return self.types[number]

    def place(self, infos: list[TensorInfo], data_offset: int, alignment: int) -> dict[str, TensorInfo]:
        """Turn offsets into positions in the file; every tensor must lie in it and none may overlap."""
        tensors: dict[str, TensorInfo] = {}
        for info in infos:
            what = f"tensor {quoted(info.name)}"
            if info.name in tensors:
                raise self.error(f"{what} appears twice")
            if info.offset % alignment:
                raise self.error(
                    f"{what}: offset {info.offset} is not a multiple of the alignment {alignment}"
                )
            begin = data_offset + info.offset
            if begin + info.nbytes > self.size:
                raise self.error(
                    f"{what} ({info.nbytes} bytes at {begin}) ends at {begin + info.nbytes}, "
                    f"past the end of the file at {self.size}"
                )
            tensors[info.name] = TensorInfo(info.name, info.shape, info.type, begin, info.nbytes)
        previous = None
        for info in sorted(tensors.values(), key=lambda info: info.offset):
            if previous is not None and info.offset < previous.offset + previous.nbytes:
                raise self.error(
                    f"tensor {quoted(info.name)} at {info.offset} overlaps tensor {quoted(previous.name)}, "
                    f"which ends at {previous.offset + previous.nbytes}"
                )
            previous = info
        return tensors

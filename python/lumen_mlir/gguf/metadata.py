# SPDX-License-Identifier: Apache-2.0
"""Metadata of a GGUF file: a mapping whose arrays are decoded when they are first looked at."""

from __future__ import annotations

import logging
import mmap
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from lumen_mlir.errors import quoted
from lumen_mlir.gguf.errors import GGUFError
from lumen_mlir.gguf.types import ARRAY, BOOL, F32, NUMPY_CODES, STRING, VALUE_TYPE_NAMES

_MISSING = object()

logger = logging.getLogger(__name__)

SAMPLING_KEYS = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repeat_penalty": "general.sampling.penalty_repeat",
}
"""The keys of a file that say how to sample, as llama.cpp names them."""


@dataclass(frozen=True)
class ArrayField:
    """Where an array of the metadata lies: ``count`` elements in bytes ``start`` to ``end`` of the file."""

    element_type: int
    count: int
    start: int
    end: int


class StringArray(Sequence):
    """The strings of one metadata array, decoded on demand.

    Indexing gives ``str``; ``raw(i)`` gives the bytes. Length-prefixed strings can only be found by walking
    over all of them, which happens once, at the first access (``to_list`` and ``to_bytes`` walk by
    themselves).
    """

    def __init__(self, buffer: mmap.mmap | bytes, field: ArrayField, order: str, where: str):
        self._buffer = buffer
        self._field = field
        self._length = struct.Struct(order + "Q")
        self._where = where
        self._offsets: list[int] | None = None

    def __len__(self) -> int:
        return self._field.count

    def _walk(self) -> list[int]:
        if self._offsets is None:
            unpack, buffer, position = self._length.unpack_from, self._buffer, self._field.start
            offsets = []
            for _ in range(self._field.count):
                offsets.append(position)
                position += 8 + unpack(buffer, position)[0]
            self._offsets = offsets
        return self._offsets

    def _decode(self, data: bytes, index: int) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise GGUFError(f"{self._where}: element {index} is not valid UTF-8 ({error.reason})") from None

    def raw(self, index: int) -> bytes:
        """The bytes of element ``index``."""
        start = self._walk()[index]
        return self._buffer[start + 8 : start + 8 + self._length.unpack_from(self._buffer, start)[0]]

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._decode(self.raw(index), index)

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_list())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (StringArray, list, tuple)):
            return len(self) == len(other) and self.to_list() == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"StringArray({len(self)} strings)"

    def to_list(self) -> list[str]:
        """Every string, in order."""
        return [self._decode(data, index) for index, data in enumerate(self.raws())]

    def to_bytes(self) -> list[bytes]:
        """The UTF-8 of every string, in order."""
        raws = self.raws()
        try:
            # Separated by a character that is no part of another, all are valid only if each is: one call
            # instead of 300,000.
            str(b"\n".join(raws), "utf-8")
        except UnicodeDecodeError:
            for index, data in enumerate(raws):
                self._decode(data, index)
            raise
        return raws

    def raws(self) -> list[bytes]:
        """The bytes of every string, in order, whether or not they are valid UTF-8."""
        field, unpack = self._field, self._length.unpack_from
        data, position, raws = bytes(self._buffer[field.start : field.end]), 0, []
        for _ in range(field.count):
            begin = position + 8
            position = begin + unpack(data, position)[0]
            raws.append(data[begin:position])
        return raws


class StringList(list):
    """Strings in memory, used like a ``StringArray``."""

    def to_list(self) -> list[str]:
        """Every string, in order."""
        return self

    def to_bytes(self) -> list[bytes]:
        """The UTF-8 of every string, in order."""
        return [text.encode("utf-8") for text in self]


class Metadata(Mapping):
    """Key-value metadata.

    Scalars are Python values, strings ``str``, numeric arrays read-only NumPy arrays in the machine's byte
    order (bool arrays have dtype ``bool``), string arrays ``StringArray``. The typed getters raise
    ``GGUFError`` with the key's name and both types where a value is missing (and has no default) or has
    another type. So does asking for a string that is not valid UTF-8; ``label`` takes those too.
    """

    def __init__(self, path: str, buffer: mmap.mmap | bytes, order: str, fields: dict[str, tuple[int, Any]]):
        self._path = path
        self._buffer = buffer
        self._order = order
        self._fields = fields
        self._arrays: dict[str, StringArray | StringList | np.ndarray] = {}
        self._odd_labels: set[str] = set()

    @staticmethod
    def of(path: str, entries: Mapping[str, tuple[Any, int]]) -> Metadata:
        """Metadata that does not come from a GGUF file: key to value and value type (of ``gguf.types``).

        A list or array is an array of that type.
        """
        metadata = Metadata(path, b"", "<", {})
        for key, (value, kind) in entries.items():
            if isinstance(value, (list, np.ndarray)):
                metadata._fields[key] = (ARRAY, ArrayField(kind, len(value), 0, 0))
                is_bool = kind == BOOL
                metadata._arrays[key] = (
                    StringList(value)
                    if kind == STRING
                    else np.asarray(value, np.bool_ if is_bool else NUMPY_CODES[kind])
                )
            else:
                # As it would be read from a file.
                with np.errstate(over="ignore"):
                    value = float(np.float32(value)) if kind == F32 else value
                metadata._fields[key] = (kind, value)
        return metadata

    def value_type(self, key: str) -> int:
        """The value type of ``key`` (of ``gguf.types``); for an array that of its elements."""
        kind, value = self._fields[key]
        return value.element_type if isinstance(value, ArrayField) else kind

    def is_array(self, key: str) -> bool:
        """Whether ``key`` is there and an array."""
        return isinstance(self._fields.get(key, (None, None))[1], ArrayField)

    def __len__(self) -> int:
        return len(self._fields)

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __contains__(self, key: object) -> bool:
        return key in self._fields

    def __getitem__(self, key: str) -> Any:
        value = self._fields[key][1]
        if isinstance(value, bytes):
            return self._decoded(key, value)
        if not isinstance(value, ArrayField):
            return value
        if key not in self._arrays:
            self._arrays[key] = self._array(key, value)
        return self._arrays[key]

    def raw(self, key: str) -> Any:
        """The value of ``key``, strings (an array's too) as the bytes in the file, valid UTF-8 or not."""
        value = self._fields[key][1]
        if isinstance(value, bytes):
            return value
        value = self[key]
        return value.raws() if isinstance(value, StringArray) else value

    def _decoded(self, key: str, data: bytes) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise GGUFError(f"{self._path}: {quoted(key)} is not valid UTF-8 ({error.reason})") from None

    def _array(self, key: str, field: ArrayField) -> StringArray | np.ndarray:
        if field.element_type == STRING:
            return StringArray(self._buffer, field, self._order, f"{self._path}: {quoted(key)}")
        dtype = np.dtype(NUMPY_CODES[field.element_type]).newbyteorder("<" if self._order == "<" else ">")
        array = np.frombuffer(self._buffer, dtype=dtype, count=field.count, offset=field.start)
        if field.element_type == BOOL:
            if field.count and array.max() > 1:
                raise GGUFError(
                    f"{self._path}: {quoted(key)}: a bool is {array.max()}; only 0 and 1 are allowed"
                )
            return array.view(np.bool_)
        if not dtype.isnative:
            array = array.astype(dtype.newbyteorder("="))
            array.flags.writeable = False
        return array

    def type_name(self, key: str) -> str:
        """The value type of ``key`` in words, such as ``uint32`` or ``array of string``."""
        kind, value = self._fields[key]
        if isinstance(value, ArrayField):
            return f"array of {VALUE_TYPE_NAMES[value.element_type]}"
        return VALUE_TYPE_NAMES[kind]

    def _typed(self, key: str, default: Any, expected: str, accepts: Callable[[Any], bool]) -> Any:
        if key not in self._fields:
            if default is _MISSING:
                raise GGUFError(f"{self._path}: metadata has no {quoted(key)}")
            return default
        value = self._fields[key][1]
        if isinstance(value, (ArrayField, bytes)):
            value = self[key]
        if not accepts(value):
            raise GGUFError(
                f"{self._path}: {quoted(key)} is {_article(self.type_name(key))}; expected {expected}"
            )
        return value

    def integer(self, key: str, default: Any = _MISSING) -> int:
        """An integer of any width."""
        return self._typed(
            key, default, "an integer", lambda v: isinstance(v, int) and not isinstance(v, bool)
        )

    def number(self, key: str, default: Any = _MISSING) -> float:
        """A float or an integer, as ``float``."""
        value = self._typed(
            key, default, "a number", lambda v: isinstance(v, (int, float)) and not isinstance(v, bool)
        )
        return value if value is default else float(value)

    def boolean(self, key: str, default: Any = _MISSING) -> bool:
        """A bool."""
        return self._typed(key, default, "a bool", lambda v: isinstance(v, bool))

    def string(self, key: str, default: Any = _MISSING) -> str:
        """A string."""
        return self._typed(key, default, "a string", lambda v: isinstance(v, str))

    def label(self, key: str, default: Any = _MISSING) -> str:
        """A string that only people read: what is not valid UTF-8 in it becomes U+FFFD, with a warning."""
        value = self._fields.get(key, (STRING, None))[1]
        if not isinstance(value, bytes):
            return self.string(key, default)
        text = value.decode("utf-8", "replace")
        if "\ufffd" in text and key not in self._odd_labels:
            self._odd_labels.add(key)
            logger.warning("%s: %s is not valid UTF-8", self._path, quoted(key))
        return text

    def strings(self, key: str, default: Any = _MISSING) -> StringArray:
        """An array of strings."""
        return self._typed(
            key, default, "an array of strings", lambda v: isinstance(v, (StringArray, StringList))
        )

    def integers(self, key: str, default: Any = _MISSING) -> np.ndarray:
        """An array of integers of any width."""
        return self._typed(
            key,
            default,
            "an array of integers",
            lambda v: isinstance(v, np.ndarray) and np.issubdtype(v.dtype, np.integer),
        )

    def numbers(self, key: str, default: Any = _MISSING) -> np.ndarray:
        """An array of floats."""
        return self._typed(
            key,
            default,
            "an array of floats",
            lambda v: isinstance(v, np.ndarray) and np.issubdtype(v.dtype, np.floating),
        )


def _article(type_name: str) -> str:
    return ("an " if type_name[0] in "ai" else "a ") + type_name

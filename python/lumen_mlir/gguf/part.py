# SPDX-License-Identifier: Apache-2.0
"""One mapped GGUF file: a whole model, or one of several parts of it."""

from __future__ import annotations

import hashlib
import mmap
import os

import numpy as np

from lumen_mlir.errors import quoted
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.errors import GGUFError
from lumen_mlir.gguf.header import Header, TensorInfo, read_header
from lumen_mlir.storage.mapping import MappedFile, map_file, release
from lumen_mlir.support.guard import guarded


class Part:
    """A file of that name: its ``header``, and the mapped bytes of each of its tensors."""

    def __init__(self, path: str, mapping: MappedFile, header: Header, identity: tuple[int, int, int, int]):
        self.path = path
        self.mapping = mapping
        self.header = header
        self._identity = identity
        self._data = np.frombuffer(mapping, dtype=np.uint8)

    @staticmethod
    def open(path: str | os.PathLike[str]) -> Part:
        """Maps ``path`` and reads its header. Raises ``GGUFError`` where it is not a sound GGUF file."""
        name = os.fspath(path)
        mapping, identity = map_file(name, "a GGUF file", GGUFError, T.MAGIC)
        with guarded(name, GGUFError):
            header = read_header(name, mapping)
            mapping.check_unchanged()
        return Part(name, mapping, header, identity)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._data.size

    def raw(self, info: TensorInfo) -> np.ndarray:
        """The bytes of a tensor as they stand in the file: a read-only uint8 view of the mapping."""
        return self._data[info.offset : info.offset + info.nbytes]

    def to_little_endian(self, info: TensorInfo, data: np.ndarray) -> np.ndarray:
        """``data`` of a tensor in little-endian order (a copy where the file is big-endian)."""
        if self.header.byteorder == "little":
            return data
        kind = T.TYPES_BY_NAME.get(info.type)
        if kind is None or kind.words is None:
            raise GGUFError(
                f"{self.path}: tensor {quoted(info.name)}: type {info.type} cannot be read from a big-endian "
                "file"
            )
        return kind.to_little_endian(data)

    def release(self, info: TensorInfo | None = None) -> None:
        """Lets the pages of a tensor, or of the whole file, leave resident memory."""
        if info is None:
            self.mapping.madvise(mmap.MADV_DONTNEED)
        else:
            release(self.mapping, info.offset, info.offset + info.nbytes)

    def fingerprint(self) -> str:
        """32 hexadecimal digits over size, time, inode, header, samples of weights."""
        digest = hashlib.blake2b(repr(self._identity).encode(), digest_size=16)
        digest.update(self._data[: self.header.data_offset].data)
        digest.update(self.mapping.sample((i.offset, i.nbytes) for i in self.header.tensors.values()))
        # A header that was cut while it was read is no key.
        self.mapping.check_unchanged()
        return digest.hexdigest()

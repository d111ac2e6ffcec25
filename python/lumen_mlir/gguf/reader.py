# SPDX-License-Identifier: Apache-2.0
"""GGUF files: opened, checked and mapped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np

from lumen_mlir.errors import quoted
from lumen_mlir.gguf import split
from lumen_mlir.gguf.errors import GGUFError
from lumen_mlir.gguf.header import TensorInfo
from lumen_mlir.gguf.metadata import Metadata
from lumen_mlir.gguf.part import Part
from lumen_mlir.storage.mapping import MappedFile
from lumen_mlir.support.guard import guarded

_PLAIN_CODES = {
    "f32": "<f4",
    "f16": "<f2",
    "f64": "<f8",
    "i8": "i1",
    "i16": "<i2",
    "i32": "<i4",
    "i64": "<i8",
}


class GGUFFile:
    """An open GGUF file: ``metadata``, ``tensors`` by name, and the mapped bytes of each tensor.

    A model that is split into several files is one too: it has the tensors of all ``parts``, and everything
    else is that of the first. ``TensorInfo.offset`` counts in the tensor's own file.
    """

    def __init__(self, parts: Sequence[Part]):
        first = parts[0]
        self.path = first.path
        self.version = first.header.version
        self.byteorder = first.header.byteorder
        self.alignment = first.header.alignment
        self.data_offset = first.header.data_offset
        self.metadata: Metadata = first.header.metadata
        self.parts = parts
        self.tensors = {name: info for part in parts for name, info in part.header.tensors.items()}
        self._part_of = {name: part for part in parts for name in part.header.tensors}
        self._fingerprint: str | None = None

    @staticmethod
    def open(path: str | os.PathLike[str], whole: bool = True) -> GGUFFile:
        """Map ``path`` and read its header. Raises ``GGUFError`` where it is not a sound GGUF file.

        One part of a split model stands for all of them, unless not the ``whole`` is asked for.
        """
        part = Part.open(path)
        with guarded(part.path, GGUFError):
            return GGUFFile(split.open_parts(part) if whole else [part])

    @property
    def files(self) -> Sequence[MappedFile]:
        """What is mapped: whoever uses it checks that it did not change."""
        return [part.mapping for part in self.parts]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(part.size for part in self.parts)

    @property
    def kind(self) -> str:
        """What this is, in words."""
        files = f", in {len(self.parts)} files" if len(self.parts) > 1 else ""
        return f"GGUF v{self.version}, {self.byteorder}-endian{files}"

    def tensor(self, name: str) -> TensorInfo:
        """The description of tensor ``name``; ``GGUFError`` where the file has none."""
        try:
            return self.tensors[name]
        except KeyError:
            raise GGUFError(
                f"{self.path}: no tensor {quoted(name)} among {len(self.tensors)} tensors"
            ) from None

    def raw(self, name: str) -> np.ndarray:
        """The bytes of tensor ``name`` as they stand in the file: a read-only uint8 view of the mapping."""
        info = self.tensor(name)
        return self._part_of[name].raw(info)

    def little_endian(self, name: str) -> np.ndarray:
        """The bytes of tensor ``name`` in little-endian order (a copy where the file is big-endian)."""
        info = self.tensor(name)
        return self._part_of[name].to_little_endian(info, self.raw(name))

    def array(self, name: str) -> np.ndarray:
        """Tensor ``name`` of a plain numeric type, in its logical shape; bf16 comes as float32.

        A view of the mapping where no conversion is needed. ``GGUFError`` for quantized types.
        """
        info = self.tensor(name)
        data = self.little_endian(name)
        if info.type == "bf16":
            return (data.view("<u2").astype(np.uint32) << 16).view(np.float32).reshape(info.shape)
        if info.type not in _PLAIN_CODES:
            raise GGUFError(
                f"{self.path}: tensor {quoted(name)} has type {info.type}; a plain type was expected"
            )
        # An alignment below the element size leaves the view unaligned; NumPy reads it all the same.
        return np.frombuffer(data, dtype=_PLAIN_CODES[info.type]).reshape(info.shape)

    def release(self, name: str | None = None) -> None:
        """Let the pages of tensor ``name``, or of all files, leave resident memory.

        Reading them again maps them again.
        """
        info = None if name is None else self.tensor(name)
        for part in self.parts if name is None else [self._part_of[name]]:
            part.release(info)

    def stand_for(self, path: str, fingerprint: str) -> None:
        """Be called ``path`` and have this fingerprint: for a file that was made from another model."""
        self.path, self._fingerprint = path, fingerprint

    def fingerprint(self) -> str:
        """A key for caches: 32 hexadecimal digits that depend on all files."""
        if self._fingerprint is None:
            texts = [part.fingerprint() for part in self.parts]
            joined = hashlib.blake2b("".join(texts).encode(), digest_size=16).hexdigest()
            self._fingerprint = joined if len(texts) > 1 else texts[0]
        return self._fingerprint

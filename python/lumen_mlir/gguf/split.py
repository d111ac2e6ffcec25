# SPDX-License-Identifier: Apache-2.0
"""Models that are split into several GGUF files (``NAME-00001-of-00003.gguf`` …), seen as one.

Each file says which part it is (``split.no``, counted from 0), how many there are (``split.count``) and how
many tensors all of them have (``split.tensors.count``). The metadata of the model is that of the first file.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence

import numpy as np

from lumen_mlir.gguf.errors import GGUFError, quoted
from lumen_mlir.gguf.reader import GGUFFile
from lumen_mlir.storage.mapping import MappedFile

_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.S)


class SplitGGUFFile(GGUFFile):
    """A GGUF file whose tensors lie in several files; ``TensorInfo.offset`` counts in the tensor's own."""

    def __init__(self, parts: list[GGUFFile]):
        first = parts[0]
        # Everything but the tensors and their bytes is the first part's.
        vars(self).update(vars(first))
        self.parts = parts
        self.tensors = {name: info for part in parts for name, info in part.tensors.items()}
        self._part_of = {name: part for part in parts for name in part.tensors}
        self._fingerprint = None

    @property
    def kind(self) -> str:
        return f"{super().kind}, in {len(self.parts)} files"

    @property
    def files(self) -> Sequence[MappedFile]:
        return [file for part in self.parts for file in part.files]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    def raw(self, name: str) -> np.ndarray:
        self.tensor(name)
        return self._part_of[name].raw(name)

    def little_endian(self, name: str) -> np.ndarray:
        self.tensor(name)
        return self._part_of[name].little_endian(name)

    def release(self, name: str | None = None) -> None:
        if name is not None:
            self.tensor(name)
        for part in self.parts if name is None else [self._part_of[name]]:
            part.release(name)

    def fingerprint(self) -> str:
        if self._fingerprint is None:
            texts = "".join(part.fingerprint() for part in self.parts)
            self._fingerprint = hashlib.blake2b(texts.encode(), digest_size=16).hexdigest()
        return self._fingerprint


def is_split(file: GGUFFile) -> bool:
    """Whether ``file`` is one of several parts."""
    return file.metadata.integer("split.count", 0) > 1


def open_parts(file: GGUFFile) -> SplitGGUFFile:
    """The whole that ``file`` is a part of. ``GGUFError`` where a part is missing or belongs elsewhere."""
    count = file.metadata.integer("split.count")
    match = _NAME.fullmatch(file.path)
    if match is None:
        raise GGUFError(
            f"{file.path}: is part {_number(file)} of {count} of a split model, but is not called "
            f"NAME-{_number(file):05d}-of-{count:05d}.gguf, so the other parts cannot be found"
        )
    if int(match[3]) != count:
        raise GGUFError(
            f"{file.path}: is one of {int(match[3])} parts by its name, of {count} by 'split.count'"
        )
    paths = [f"{match[1]}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        names = ", ".join(map(os.path.basename, missing[:3])) + (", …" if len(missing) > 3 else "")
        raise GGUFError(f"{file.path}: {len(missing)} of {count} parts of the model are missing: {names}")
    parts = [file if path == file.path else GGUFFile.open(path, whole=False) for path in paths]
    _check(parts)
    return SplitGGUFFile(parts)


def _number(file: GGUFFile) -> int:
    """Which part ``file`` is, counted from 1 as in file names."""
    return file.metadata.integer("split.no") + 1


def _check(parts: list[GGUFFile]) -> None:
    """All parts must be those of one model."""
    first = parts[0]
    total = first.metadata.integer("split.tensors.count")
    owner: dict[str, GGUFFile] = {}
    for number, part in enumerate(parts, 1):
        if _number(part) != number:
            raise GGUFError(f"{part.path}: is part {number} by its name, {_number(part)} by 'split.no'")
        for key, expected in (("split.count", len(parts)), ("split.tensors.count", total)):
            value = part.metadata.integer(key)
            if value != expected:
                raise GGUFError(
                    f"{part.path}: '{key}' is {value}, but {expected} in {first.path}: "
                    "these are parts of different models"
                )
        for name in part.tensors:
            if name in owner:
                raise GGUFError(
                    f"{part.path}: tensor {quoted(name)} is in {owner[name].path} too: "
                    "these are parts of different models"
                )
            owner[name] = part
    if len(owner) != total:
        raise GGUFError(
            f"{first.path}: the {len(parts)} parts have {len(owner)} tensors, "
            f"but 'split.tensors.count' is {total}"
        )

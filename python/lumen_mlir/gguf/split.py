# SPDX-License-Identifier: Apache-2.0
"""Models that are split into several GGUF files (``NAME-00001-of-00003.gguf`` …), seen as one.

Each file says which part it is (``split.no``, counted from 0), how many there are (``split.count``) and how
many tensors all of them have (``split.tensors.count``). The metadata of the model is that of the first file.
"""

from __future__ import annotations

import os
import re

from lumen_mlir.errors import quoted
from lumen_mlir.gguf.errors import GGUFError
from lumen_mlir.gguf.part import Part

_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.S)


def open_parts(file: Part) -> list[Part]:
    """All parts of the model that ``file`` is a part of, or the whole of, in order.

    Raises ``GGUFError`` where a part is missing or belongs elsewhere.
    """
    count = file.header.metadata.integer("split.count", 0)
    if count <= 1:
        return [file]
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
    parts = [file if path == file.path else Part.open(path) for path in paths]
    _check(parts)
    return parts


def _number(file: Part) -> int:
    """Which part ``file`` is, counted from 1 as in file names."""
    return file.header.metadata.integer("split.no") + 1


def _check(parts: list[Part]) -> None:
    """All parts must be those of one model."""
    first = parts[0]
    total = first.header.metadata.integer("split.tensors.count")
    owner: dict[str, Part] = {}
    for number, part in enumerate(parts, 1):
        if _number(part) != number:
            raise GGUFError(f"{part.path}: is part {number} by its name, {_number(part)} by 'split.no'")
        for key, expected in (("split.count", len(parts)), ("split.tensors.count", total)):
            value = part.header.metadata.integer(key)
            if value != expected:
                raise GGUFError(
                    f"{part.path}: '{key}' is {value}, but {expected} in {first.path}: "
                    "these are parts of different models"
                )
        for name in part.header.tensors:
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

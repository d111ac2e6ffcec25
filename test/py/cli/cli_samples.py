# SPDX-License-Identifier: Apache-2.0
"""Small models for the tests of the command line, and changed copies of them."""

from __future__ import annotations

from pathlib import Path

from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.writer import GGUFWriter
from lumen_mlir.testing.synthetic import Shape

# Small enough that the reference interpreter answers at once.
SHAPE = Shape(64, 2, 2, 1, 32, 96, 301, 64, True)


def rewrite(source: Path, path: Path, metadata: dict | None = None, tensors: dict | None = None) -> Path:
    """A copy of a GGUF file with some entries replaced, added or (None) left out.

    ``metadata``: key to (value, value type). ``tensors``: name to (shape, type, bytes).
    """
    file, metadata, tensors = GGUFFile.open(source), metadata or {}, tensors or {}
    writer = GGUFWriter(path)
    kept = {key: (_plain(file.metadata[key]), _value_type(file, key)) for key in file.metadata}
    for key, entry in {**kept, **metadata}.items():
        if entry is not None:
            writer.add(key, *entry)
    infos = file.tensors.items()
    for name, entry in {**{n: (i.shape, i.type, file.raw(n)) for n, i in infos}, **tensors}.items():
        if entry is not None:
            shape, kind, data = entry
            writer.add_tensor(name, shape, kind, lambda data=data: [data])
    writer.write()
    return path


def _plain(value):
    return value.to_list() if hasattr(value, "to_list") else value


def _value_type(file: GGUFFile, key: str) -> int:
    name = file.metadata.type_name(key).removeprefix("array of ")
    return T.VALUE_TYPE_NAMES.index(name)

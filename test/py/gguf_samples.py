# SPDX-License-Identifier: Apache-2.0
"""The model that comes with Lumen as a file in several parts."""

from __future__ import annotations

from pathlib import Path

from lumen_mlir.data import embedded_model_path
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.writer import GGUFWriter


def write_part(path: Path, source: GGUFFile, names: list[str], split: dict, metadata: bool) -> None:
    writer = GGUFWriter(path)
    for key in source.metadata if metadata else []:
        value = source.metadata[key]
        kind = T.VALUE_TYPE_NAMES.index(source.metadata.type_name(key).removeprefix("array of "))
        writer.add(key, value.to_list() if hasattr(value, "to_list") else value, kind)
    for key, value in split.items():
        writer.add(f"split.{key}", value, T.I32 if key == "tensors.count" else T.U16)
    for name in names:
        info = source.tensors[name]
        writer.add_tensor(name, info.shape, info.type, lambda name=name: [source.raw(name)])
    writer.write()


def split_model(folder: Path, changes: dict[int, dict] | None = None, names: dict[int, list] | None = None):
    """The embedded model in three parts, of which the first has no tensors; ``changes`` by part."""
    source = GGUFFile.open(embedded_model_path())
    tensors = list(source.tensors)
    shares = {0: [], 1: tensors[:20], 2: tensors[20:]} | (names or {})
    paths = []
    for number, share in shares.items():
        paths.append(folder / f"model-{number + 1:05d}-of-00003.gguf")
        split = {"no": number, "count": 3, "tensors.count": len(tensors)} | (changes or {}).get(number, {})
        write_part(paths[-1], source, share, split, number == 0)
    return source, paths

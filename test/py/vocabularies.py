# SPDX-License-Identifier: Apache-2.0
"""Vocabularies: one made for a test, or references with texts and the ids that the models' own code gives."""

from __future__ import annotations

import lzma
from pathlib import Path

from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf.writer import GGUFWriter

DATA = Path(__file__).parent / "data"
CASES = (DATA / "ggml-vocab-qwen2.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")


def references(name: str) -> list[list[int]]:
    """The ids of each of ``CASES`` in the vocabulary ``name``."""
    lines = (DATA / f"{name}.out").read_text().split("\n")
    return [[int(number) for number in line.split()] for line in lines]


def open_vocabulary(name: str, folder: Path) -> GGUFFile:
    """The vocabulary ``name``, unpacked into ``folder``."""
    path = folder / f"{name}.gguf"
    path.write_bytes(lzma.decompress((DATA / f"{name}.gguf.xz").read_bytes()))
    return GGUFFile.open(path)


def write_vocabulary(folder: Path, fields: dict) -> GGUFFile:
    """A file of nothing but metadata: ``fields`` has a value and its GGUF type for each key."""
    writer = GGUFWriter(folder / "v.gguf")
    for key, entry in fields.items():
        writer.add(key, *entry)
    writer.write()
    return GGUFFile.open(folder / "v.gguf")

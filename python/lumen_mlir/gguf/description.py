# SPDX-License-Identifier: Apache-2.0
"""What a model file is, in words and numbers, whether or not Lumen can run it."""

from __future__ import annotations

import math
import os
from collections import Counter

from lumen_mlir.errors import LumenError
from lumen_mlir.gguf.model_file import ModelFile

# ``general.file_type``, llama.cpp's enum of mixtures.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0",
    37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip


def parameter_count(file: ModelFile) -> int:
    """Elements of all tensors."""
    return sum(math.prod(info.shape) for info in file.tensors.values())


def tensor_bytes(file: ModelFile) -> int:
    """Bytes of all tensors."""
    return sum(info.nbytes for info in file.tensors.values())


def file_type(file: ModelFile) -> str:
    """The mixture that the file says it is, such as ``Q4_K_M``; else the type of most of its weights."""
    number = file.metadata.integer("general.file_type", None)
    if number in _FILE_TYPES:
        return _FILE_TYPES[number]
    sizes: Counter[str] = Counter()
    for info in file.tensors.values():
        sizes[info.type] += math.prod(info.shape)
    return sizes.most_common(1)[0][0].upper() if sizes else "no tensors"


def model_type(file: ModelFile) -> str:
    """Architecture, size and mixture, such as ``qwen2 494.03M Q8_0``."""
    architecture = file.metadata.string("general.architecture", "unknown")
    return f"{architecture} {short_count(parameter_count(file))} {file_type(file)}"


def name_of(path: str | os.PathLike[str]) -> str:
    """The name of a model's file or folder. That of a folder in the hub's cache is its repository's."""
    *_, repository, folder, name = ("", "", *os.path.abspath(path).split(os.sep))
    # huggingface_hub calls folders by their commits.
    in_cache = folder == "snapshots" and repository.startswith("models--")
    return repository.rpartition("--")[2] if in_cache else name


def label(file: ModelFile, path: str | os.PathLike[str] | None = None) -> str:
    """What people call a model: the name of its file or folder (``path``, if given) and its type."""
    name = name_of(file.path if path is None else path)
    try:
        return f"{name} ({model_type(file)})"
    except LumenError:  # metadata of other types than they should have
        return name


def short_count(count: int) -> str:
    """``6.82M``, ``7.62B``."""
    for unit, factor in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= factor:
            return f"{count / factor:.2f}{unit}"
    return str(count)


def size_text(size: int) -> str:
    """``7.66 MB``: decimal units."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.2f} {unit}"
    return f"{size} bytes"

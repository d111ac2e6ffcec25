# SPDX-License-Identifier: Apache-2.0
"""A tiny model to start with, for kinds that disturb starts and what is kept of them."""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lumen_mlir import LLM
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.synthetic import Shape, write_synthetic

sys.path.append(str(Path(__file__).parents[1] / "py"))
from hf_samples import write_folder  # noqa: E402

_SHAPE = Shape(64, 1, 2, 1, 32, 64, 301, 64, False)
FORMAT = "q4_0"


@dataclass(frozen=True)
class Models:
    """A GGUF file, a Hugging Face folder that is quantized to ``FORMAT``; logits and seconds of a start."""

    file: Path
    folder: Path
    tokens: dict[str, list[float]]
    seconds: dict[str, float]


def prepare(folder: Path) -> Models:
    """Writes the models, and asks them once."""
    file = folder / "model.gguf"
    write_synthetic(file, _SHAPE, "q8_0", seed=1)
    models = Models(file, Path(write_folder(folder / "model", "qwen2", "F32")), {}, {})
    for which in ("file", "folder"):
        begin = time.monotonic()
        models.tokens[which] = start(models, which, folder / "expected")
        models.seconds[which] = time.monotonic() - begin
    return models


def start(models: Models, which: str, cache: Path) -> list[float]:
    """Starts "file" or "folder" with a cache folder, as a process does; some of its logits."""
    options = {"format": FORMAT} if which == "folder" else {}
    llm = LLM(getattr(models, which), cache=Cache(cache, 10**9), threads=1, context=32, **options)
    return llm.last_logits([*llm.tokenize("abc"), 5, 7])[:64].tolist()


def in_a_child(function, *arguments) -> tuple[int, str]:
    """Runs a function in a fork: how that ended (as ``os.waitpid`` says it), and what it returns, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        try:
            text = str(function(*arguments))
            code = 0
        except BaseException as error:
            text = f"{type(error).__module__}.{type(error).__name__}: {error}"
        os.write(writer, text.encode("utf-8", "replace")[:60_000])
        os._exit(code)
    os.close(writer)
    with open(reader, "rb") as pipe:
        text = pipe.read().decode()
    return os.waitpid(child, 0)[1], text


def damage(data: bytes, rng: random.Random, other: bytes = b"") -> tuple[str, bytes]:
    """``data`` with something wrong, as disks, transfers and crashes do it, and what it is called.

    ``other`` is a file that might have been there before.
    """
    kind = rng.choice(_DAMAGES)
    array = np.frombuffer(data, np.uint8).copy()
    place, length = rng.randrange(array.size), min(rng.choice((1, 8, 64, 512, 4096)), array.size)
    place = min(place, array.size - length)
    span = slice(place, place + length)
    pages = array[: array.size // 4096 * 4096].reshape(-1, 4096)
    if kind == "bit":
        array[place] ^= 1 << rng.randrange(8)
    elif kind == "bits":
        for _ in range(rng.randrange(2, 6)):
            array[rng.randrange(array.size)] ^= 1 << rng.randrange(8)
    elif kind == "bytes":
        array[span] = np.frombuffer(rng.randbytes(length), np.uint8)
    elif kind == "zeros":
        array[span] = 0
    elif kind == "end of zeros":
        array[place:] = 0
    elif kind == "cut":
        array = array[: rng.choice((place, place // 4096 * 4096))]
    elif kind == "longer":
        array = np.concatenate([array, array[span]])
    elif kind == "shifted":
        array[place:] = np.roll(array[place:], rng.choice((1, 8, -8, 64)))
    elif kind == "order" and len(pages) > 1:
        first, last = sorted(rng.sample(range(len(pages) + 1), 2))
        pages[first:last] = pages[first:last][::-1].copy()
    elif kind == "exchange" and len(pages) > 1:
        a, b = rng.sample(range(len(pages)), 2)
        pages[[a, b]] = pages[[b, a]]
    elif kind == "words":
        words = array[: array.size // 8 * 8].view(np.uint64)
        a, b = rng.sample(range(words.size), 2)
        words[[a, b]] = words[[b, a]]
    elif kind == "repeated" and len(pages) > 1:
        a, b = rng.sample(range(len(pages)), 2)
        pages[a] = pages[b]
    elif kind == "mixed" and other:
        size = min(place, len(other))
        array[:size] = np.frombuffer(other[:size], np.uint8)
    elif kind == "another":
        return kind, other
    return kind, array.tobytes()


_DAMAGES = (
    "bit", "bits", "bytes", "zeros", "end of zeros", "cut", "longer", "shifted", "order", "exchange", "words",
    "repeated", "mixed", "another",
)  # fmt: skip

__all__ = ["FORMAT", "Models", "damage", "in_a_child", "prepare", "start"]

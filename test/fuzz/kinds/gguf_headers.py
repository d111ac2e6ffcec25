# SPDX-License-Identifier: Apache-2.0
"""GGUF files whose headers were changed: in structure (keys, types, values, counts, tensors) and in bytes.

Each is opened, its metadata looked at, checked as a model, and some give a tokenizer. A fault is everything
but a model or one clear error: another exception, a crash, 2 seconds, 64 MB, angles that are no numbers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuzz import gguf_files
from fuzz.strict import unguarded
from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.models import Model, rope_table
from lumen_mlir.text.tokenizer import Tokenizer

GOAL = 1_000_000
SMOKE = 500
SECONDS = 2.0
MEMORY = 64 << 20


@dataclass
class State:
    samples: list[gguf_files.Header]
    kept: list[bytes]


def prepare(folder: Path) -> State:
    return State(gguf_files.samples(folder), gguf_files.kept())


def attempt(state: State, rng: random.Random) -> str:
    if state.kept and rng.random() < 0.1:
        data, size = gguf_files.with_data(gguf_files.flipped(rng.choice(state.kept), rng))
    else:
        data, size = gguf_files.changed(rng.choice(state.samples), rng)
    with gguf_files.in_memory(data, size) as path:
        return look(path, tokens=rng.random() < 0.1)


def look(path: Path, tokens: bool) -> str:
    """Opens a file and everything that its header describes; how far that went."""
    with unguarded():
        file = GGUFFile.open(path)
    for key in file.metadata:
        with _refusal():
            value = file.metadata[key]
            if tokens and hasattr(value, "to_list"):
                value.to_list()
    if tokens and "tokenizer.ggml.model" in file.metadata:
        with _refusal():
            Tokenizer.from_gguf(file)
    try:
        with unguarded():
            config = Model.open(file).config
    except LumenError:
        return "read"
    for rope in config.ropes:
        assert np.isfinite(rope_table(rope, 8)).all(), f"angles of {rope}"
    return "model"


class _refusal:
    """Lets an error pass that ``unguarded`` lets pass."""

    def __enter__(self) -> None:
        self._inner = unguarded()
        self._inner.__enter__()

    def __exit__(self, kind, error, traceback) -> bool:
        try:
            self._inner.__exit__(kind, error, traceback)
        except LumenError:
            return True
        return False

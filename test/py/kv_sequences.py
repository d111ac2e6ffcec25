# SPDX-License-Identifier: Apache-2.0
"""Executors of tiny models and sequences of random tokens, for tests of keys and values in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lumen_mlir.gguf import GGUFFile
from lumen_mlir.models import Model
from lumen_mlir.run.executor import Executor, Part, Sequence
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.families import VOCABULARY

CONTEXT, CHUNK = 256, 32


def opened(
    path: Path | GGUFFile | str, cache: Cache, sequences: int = 2, pool: int | None = None, **options
) -> Executor:
    """An executor of a model with ``VOCABULARY``; it keeps prefixes where it keeps pages on disk."""
    settings = SessionOptions(**{"context": CONTEXT, "chunk": CHUNK, "threads": 1, **options})
    prefixes = settings.kv_disk_bytes > 0
    return Executor(
        Model.open(path), settings, sequences=sequences, pool=pool, prefixes=prefixes, cache=cache
    )


def ids_of(seed: int, length: int) -> np.ndarray:
    """Random tokens."""
    return np.random.default_rng(seed).integers(0, VOCABULARY, length).astype(np.int32)


def step(executor: Executor, sequence: Sequence, tokens: np.ndarray) -> np.ndarray:
    """The logits of tokens behind those of a sequence."""
    rows = []
    for begin in range(0, len(tokens), CHUNK):
        part = Part(sequence, tokens[begin : begin + CHUNK], len(sequence.tokens), 0)
        out = np.empty((len(part.tokens), VOCABULARY), np.float32)
        executor.run([part], out)
        rows.append(out)
    return np.concatenate(rows)


def pages_of(executor: Executor, sequence: Sequence) -> list[list[bytes]]:
    """What the pages of a sequence hold, in each pool."""
    found = []
    for memory, held in zip(executor.memories, sequence.pages, strict=True):
        contents = []
        for column in range(held.begin, held.end):
            page = np.empty(memory.page_bytes, np.uint8)
            positions = min(len(sequence.tokens) - 64 * column, 64)
            memory.read(int(held.table[column]), page, positions)
            contents.append(page.tobytes())
        found.append(contents)
    return found

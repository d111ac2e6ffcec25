# SPDX-License-Identifier: Apache-2.0
"""Damaged files in the cache: bits, bytes, pages in another order, cut, mixed with others.

A fault is anything but the payload as it was stored, or none; some inputs start a whole model.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuzz import cold_start
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.hf import open_quantized
from lumen_mlir.storage.cache import Cache

GOAL = 10_000
SMOKE = 100
SECONDS = 10.0
MEMORY = None
BATCH = 250


@dataclass(frozen=True)
class State:
    models: cold_start.Models
    sound: Path
    cache: Cache
    names: list[str]


def prepare(folder: Path) -> State:
    """Both models started once; the cache that is damaged is a copy of theirs."""
    models = cold_start.prepare(folder)
    shutil.copytree(folder / "expected", folder / "cache")
    names = [str(path.relative_to(folder / "expected")) for path in (folder / "expected").rglob("*.lumen")]
    return State(models, folder / "expected", Cache(folder / "cache", 10**9), sorted(names))


def attempt(state: State, rng: random.Random) -> str:
    name = rng.choice(state.names)
    sound = (state.sound / name).read_bytes()
    kind, _ = name.split("/")
    other = (state.sound / rng.choice([each for each in state.names if each.startswith(kind)])).read_bytes()
    _, damaged = cold_start.damage(sound, rng, other)
    path = state.cache.folder / name
    path.write_bytes(damaged)
    path.chmod(0o644)
    try:
        return f"{kind} {_start(state, name, rng) if rng.random() < 0.02 else _load(state, name, sound)}"
    finally:
        for each in state.names:
            target = state.cache.folder / each
            if not target.exists() or each == name or target.stat().st_size == 0:
                shutil.copyfile(state.sound / each, target)


def _load(state: State, name: str, sound: bytes) -> str:
    kind, file = name.split("/")
    key = file.removesuffix(".lumen")
    if kind == "models" and not key.endswith(".sums"):
        return _open_model(state, name)
    payload = state.cache.load_mapped(kind, key) if kind == "packed" else state.cache.load(kind, key)
    if payload is None:
        return "noticed"
    assert bytes(payload) == sound[4096:], f"{name}: another payload was taken"
    return "harmless"


def _open_model(state: State, name: str) -> str:
    sound = GGUFFile.open(state.sound / name)
    file = open_quantized(state.models.folder, cold_start.FORMAT, cache=state.cache, threads=1)
    for tensor in sound.tensors:
        np.testing.assert_array_equal(file.raw(tensor), sound.raw(tensor))
    assert list(file.metadata) == list(sound.metadata)
    return "made again or harmless"


def _start(state: State, name: str, rng: random.Random) -> str:
    which = rng.choice(("file", "folder"))
    found = cold_start.start(state.models, which, state.cache.folder)
    assert found == state.models.tokens[which], f"{name}: other logits"
    return "right"

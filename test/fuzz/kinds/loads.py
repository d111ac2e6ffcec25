# SPDX-License-Identifier: Apache-2.0
"""Tiny models with something changed (header, weights, files of a folder), loaded whole and run for one step.

The reference engine runs them, and the compiled one some whose weights alone were changed: one program serves
all of these. A fault is everything but logits of the right shape or one clear error.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuzz import folder_files, gguf_files
from fuzz.strict import unguarded
from lumen_mlir import LLM

GOAL = 10_000
SMOKE = 30
SECONDS = 10.0  # of which the first compilation takes some
MEMORY = 2 << 30


@dataclass
class State:
    samples: list[gguf_files.Header]
    folders: folder_files.Changed


def prepare(folder: Path) -> State:
    folders = folder_files.Changed(folder / "changed", folder_files.samples(folder))
    return State(gguf_files.samples(folder, whole=True), folders)


def attempt(state: State, rng: random.Random) -> str:
    what = rng.random()
    if what < 0.2:
        return run(state.folders.make(rng), "reference", rng)
    sample = rng.choice(state.samples)
    if what < 0.6:
        data, size = gguf_files.changed(sample, rng, most=1)
        engine = "reference"
    else:
        compiled = rng.random() < 0.2
        sample, engine = (state.samples[0], "compiled") if compiled else (sample, "reference")
        data, size = gguf_files.weights_changed(sample, rng)
    with gguf_files.in_memory(data, size) as path:
        return run(path, engine, rng)


def run(path: Path, engine: str, rng: random.Random) -> str:
    """Loads a model and computes the logits of some tokens."""
    kv_type = rng.choice(("f16", "f32", "q8_0"))
    with unguarded(), np.errstate(all="ignore"):
        options = {"kv_type": "f16" if engine == "compiled" else kv_type, "context": 16, "threads": 1}
        model = LLM(path, engine=engine, chunk=8, pack_cache=False, **options)
        ids = [rng.randrange(model.model.config.vocabulary) for _ in range(rng.choice((1, 3)))]
        logits = model.logits(ids)
    assert logits.shape == (len(ids), model.model.config.vocabulary), logits.shape
    return engine if np.isfinite(logits).all() else f"{engine}, not finite"

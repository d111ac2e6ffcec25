# SPDX-License-Identifier: Apache-2.0
"""Hugging Face folders with odd values in their JSON, changed headers of safetensors, and odd kinds of files.

Each is opened and checked as a model; some give a tokenizer. A fault is everything but a model or one clear
error: another exception, a crash, a wait for a FIFO, 2 seconds, 64 MB.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from fuzz import folder_files
from fuzz.strict import unguarded
from lumen_mlir.hf import HFFolder
from lumen_mlir.models import Model, rope_table
from lumen_mlir.text.tokenizer import Tokenizer

GOAL = 100_000
SMOKE = 150
SECONDS = 2.0
MEMORY = 64 << 20

State = folder_files.Changed


def prepare(folder: Path) -> State:
    return folder_files.Changed(folder / "changed", folder_files.samples(folder))


def attempt(state: State, rng: random.Random) -> str:
    path = state.make(rng)
    with unguarded():
        model = Model.open(HFFolder.open(path))
        model.file.fingerprint()
        if rng.random() < 0.1:
            Tokenizer.from_gguf(model.file)
    for rope in model.config.ropes:
        assert np.isfinite(rope_table(rope, 8)).all(), f"angles of {rope}"
    return "model"

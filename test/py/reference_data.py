# SPDX-License-Identifier: Apache-2.0
"""Access to ``test/data``: tiny models with transformers' logits, greedy tokens of the embedded model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[1] / "data"
TINY = ("narrow-f16", "narrow-q8_0", "narrow-q4_0", "wide-q4_k_m")


@dataclass(frozen=True)
class Tiny:
    """A tiny model: its file, 40 token ids, transformers' logits f32 [40, vocabulary], and the distance of
    llama.cpp's logits from them (None for float weights)."""

    path: Path
    ids: np.ndarray
    logits: np.ndarray
    llama_cpp_distance: float | None


@cache
def tiny(name: str) -> Tiny:
    """One of ``TINY``."""
    entries = json.loads((DATA / "tiny.json").read_text())
    with np.load(DATA / "tiny-logits.npz") as logits:
        return Tiny(
            DATA / f"tiny-{name}.gguf",
            np.array(entries["ids"][name.split("-")[0]], np.int32),
            logits[name],
            entries["llama_cpp_distance"].get(name),
        )


@cache
def greedy() -> dict:
    """``embedded-greedy.json``."""
    return json.loads((DATA / "embedded-greedy.json").read_text(encoding="utf-8"))


def distance(actual: np.ndarray, expected: np.ndarray) -> float:
    """Relative error, norm over norm."""
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def partings(ours: list[list[int]], theirs: list[dict]) -> list[str]:
    """For each prompt where the tokens part: where, and by how much their choice beat the second."""
    found = []
    for number, (tokens, entry) in enumerate(zip(ours, theirs, strict=True)):
        for i, (a, b) in enumerate(zip(tokens, entry["tokens"], strict=False)):
            if a != b:
                found.append(f"prompt {number}, token {i}: {a} for {b}, logit gap {entry['gaps'][i]:.4f}")
                break
    return found

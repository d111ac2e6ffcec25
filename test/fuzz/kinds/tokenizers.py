# SPDX-License-Identifier: Apache-2.0
"""Texts in tokenizers of every kind, from a folder and from the file it is converted to.

A fault is an id, or a text of ids, that the package ``tokenizers`` does not give for the same tokenizer.json.
"""

from __future__ import annotations

import random
from pathlib import Path

from fuzz.tokenizer_kinds import KINDS, Compared, random_text

GOAL = 100_000
SMOKE = 200
SECONDS = 2.0
MEMORY = None  # texts are short, and the tokenizers built before


def prepare(folder: Path) -> list[Compared]:
    return [Compared(name, folder) for name in KINDS]


def attempt(state: list[Compared], rng: random.Random) -> str:
    compared = rng.choice(state)
    compared.check(random_text(rng), special=rng.random() < 0.7)
    return "alike"

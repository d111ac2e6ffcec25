# SPDX-License-Identifier: Apache-2.0
"""How many instructions a whole prompt takes, in Lumen and in llama.cpp.

Emulating a whole model takes long. But all layers execute the same code, and so do all parts of the output
layer. So models with one and two layers, and with twice the vocabulary, tell what the whole one takes. Two
prompts less one are what a prompt takes without opening the model.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from aarch64 import guest, kept, peers

from lumen_mlir.testing import emulation
from lumen_mlir.testing.synthetic import SHAPES, write_synthetic

VOCABULARY = 4096
# llama.cpp's flash attention takes fewer instructions than its other one.
_FLASH = 1
# Layers and vocabulary of the models that are run.
_MODELS = ((1, VOCABULARY), (2, VOCABULARY), (1, 2 * VOCABULARY))


def measure(shape: str, fmt: str, target: str, tokens: int, folder: Path) -> dict[str, int]:
    """Instructions that a prompt takes in each engine."""
    models = [_model(shape, fmt, layers, vocabulary) for layers, vocabulary in _MODELS]
    theirs = kept.measured(
        f"{target}-{shape}-{fmt}-{tokens}-{_FLASH}",
        partial(_whole, shape, partial(_llama, models, target, tokens, folder)),
    )
    return {"Lumen": _whole(shape, partial(_lumen, models, target, tokens, folder)), "llama.cpp": theirs}


def _whole(shape: str, run: Callable[[int, int], int]) -> int:
    """Instructions of a prompt with the whole model; ``run`` counts those of prompts with a small one."""
    small, deep, wide = (run(number, 2) - run(number, 1) for number in range(len(_MODELS)))
    whole = SHAPES[shape]
    layers, vocabularies = whole.layers - 1, whole.vocabulary / VOCABULARY - 1
    return small + layers * (deep - small) + round(vocabularies * (wide - small))


def _model(shape: str, fmt: str, layers: int, vocabulary: int) -> Path:
    path = guest.FOLDER / f"{shape}-{fmt}-{layers}-{vocabulary}.gguf"
    if not path.exists():
        guest.FOLDER.mkdir(parents=True, exist_ok=True)
        write_synthetic(path, shape, fmt, layers=layers, vocabulary=vocabulary)
    return path


def _lumen(models: list[Path], target: str, tokens: int, folder: Path, number: int, times: int) -> int:
    runner = emulation.build_runner(guest.ROOT, "aarch64", guest.FOLDER)
    environment = {
        **os.environ,
        "LUMEN_RUNNER": shlex.join([*guest.counting(folder), str(runner)]),
        "LUMEN_CACHE_DIR": str(guest.FOLDER / "cache"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-m", "aarch64.prompt_worker", models[number], target, tokens]
    # Weights are packed before what is counted.
    guest.run([*command, 0], env=environment)
    guest.counted(folder)
    guest.run([*command, times], env=environment)
    return guest.executed(folder)


def _llama(models: list[Path], target: str, tokens: int, folder: Path, number: int, times: int) -> int:
    program = peers.llama_prompt(peers.TARGETS[target])
    guest.run([*guest.counting(folder), program, models[number], tokens, times, _FLASH])
    return guest.executed(folder)

# SPDX-License-Identifier: Apache-2.0
"""How many instructions a whole prompt takes, in Lumen and in llama-bench.

Emulating a whole model takes long. But all layers execute the same code, and so do all parts of the output
layer. So models with one and two layers, and with twice the vocabulary, tell what the whole one takes. Two
prompts less one are what a prompt takes without opening the model.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from aarch64 import guest, peers

from lumen_mlir.testing import emulation
from lumen_mlir.testing.synthetic import SHAPES, write_synthetic

VOCABULARY = 4096
# Layers and vocabulary of the models that are run.
_MODELS = ((1, VOCABULARY), (2, VOCABULARY), (1, 2 * VOCABULARY))


def measure(shape: str, fmt: str, target: str, tokens: int, folder: Path) -> dict[str, int]:
    """Instructions that a prompt takes in each engine."""
    models = [_model(shape, fmt, layers, vocabulary) for layers, vocabulary in _MODELS]
    found = {"Lumen": _whole(shape, lambda i, times: _lumen(models[i], target, tokens, times, folder))}
    # With and without its flash attention.
    found["llama.cpp"] = min(
        _whole(shape, lambda i, times, flash=flash: _llama(models[i], target, tokens, times, flash, folder))
        for flash in ("0", "1")
    )
    return found


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


def _lumen(model: Path, target: str, tokens: int, times: int, folder: Path) -> int:
    runner = emulation.build_runner(guest.ROOT, "aarch64", guest.FOLDER)
    environment = {
        **os.environ,
        "LUMEN_RUNNER": " ".join([*guest.counting(folder), str(runner)]),
        "LUMEN_CACHE_DIR": str(guest.FOLDER / "cache"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-m", "aarch64.prompt_worker", str(model), target, str(tokens), str(times)]
    # Packed weights are made before what is counted.
    if times > 1:
        guest.run([*command[:-1], "0"], env=environment)
        guest.counted(folder)
    guest.run(command, env=environment)
    return guest.executed(folder)


def _llama(model: Path, target: str, tokens: int, times: int, flash: str, folder: Path) -> int:
    guest.run(
        [*guest.counting(folder), peers.llama_bench(peers.TARGETS[target]), "-m", model, "-p", tokens,
         "-n", 0, "-t", 1, "-r", times, "-fa", flash, "--no-warmup"]
    )  # fmt: skip
    return guest.executed(folder)

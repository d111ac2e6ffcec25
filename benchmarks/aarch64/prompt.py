# SPDX-License-Identifier: Apache-2.0
"""How many instructions a prompt takes in Lumen and in llama.cpp, and a token behind it.

Emulating a whole model takes long. But all layers execute the same code, and so do all parts of the output
layer. So models with one and two layers, and with twice the vocabulary, tell what the whole one takes. The
output layer computes a single token, of a prompt too.
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
_SMALL, _DEEP, _WIDE = (1, VOCABULARY), (2, VOCABULARY), (1, 2 * VOCABULARY)

Models = dict[tuple[int, int], Path]
# Counts what a model executes that opens, and reads so many prompts and single tokens.
Run = Callable[[tuple[int, int], int, int], int]


def measure(shape: str, fmt: str, target: str, tokens: int, folder: Path) -> dict[str, dict[str, int]]:
    """Instructions in each engine: of a ``prompt`` of so many tokens, and of a ``token`` behind it."""
    models = {sizes: _model(shape, fmt, *sizes) for sizes in (_SMALL, _DEEP, _WIDE)}
    theirs = kept.measured(
        f"{target}-{shape}-{fmt}-{tokens}-{_FLASH}",
        partial(_whole, shape, partial(_llama, models, target, tokens, folder)),
        "llama_prompt.cpp",
    )
    ours = _whole(shape, partial(_lumen, models, target, tokens, folder))
    return {what: {"Lumen": ours[what], "llama.cpp": theirs[what]} for what in ours}


def _whole(shape: str, run: Run) -> dict[str, int]:
    """Instructions with the whole model."""
    whole = SHAPES[shape]
    counts = {sizes: [run(sizes, *turns) for turns in ((0, 0), (1, 0), (1, 1))] for sizes in (_SMALL, _DEEP)}
    opened = {_SMALL: counts[_SMALL][0], _WIDE: run(_WIDE, 0, 0)}
    small, wide = (run(sizes, 0, 1) - least for sizes, least in opened.items())
    rest = round((wide - small) * (whole.vocabulary / VOCABULARY - 1))
    result = {}
    for number, what in enumerate(("prompt", "token")):
        one, two = (counts[sizes][number + 1] - counts[sizes][number] for sizes in (_SMALL, _DEEP))
        result[what] = one + (whole.layers - 1) * (two - one) + rest
    return result


def _model(shape: str, fmt: str, layers: int, vocabulary: int) -> Path:
    path = guest.FOLDER / f"{shape}-{fmt}-{layers}-{vocabulary}.gguf"
    if not path.exists():
        guest.FOLDER.mkdir(parents=True, exist_ok=True)
        write_synthetic(path, shape, fmt, layers=layers, vocabulary=vocabulary)
    return path


def _lumen(
    models: Models, target: str, tokens: int, folder: Path, sizes: tuple[int, int], prompts: int, single: int
) -> int:
    runner = emulation.build_runner(guest.ROOT, "aarch64", guest.FOLDER)
    environment = {
        **os.environ,
        "LUMEN_RUNNER": shlex.join([*guest.counting(folder), str(runner)]),
        "LUMEN_CACHE_DIR": str(guest.FOLDER / "cache"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-m", "aarch64.prompt_worker", models[sizes], target, tokens]
    if not prompts and not single:
        # Weights are packed before what is counted.
        guest.run([*command, 0, 0], env=environment)
        guest.counted(folder)
    guest.run([*command, prompts, single], env=environment)
    return guest.executed(folder)


def _llama(
    models: Models, target: str, tokens: int, folder: Path, sizes: tuple[int, int], prompts: int, single: int
) -> int:
    program = peers.llama_prompt(peers.TARGETS[target])
    guest.run([*guest.counting(folder), program, models[sizes], tokens, prompts, single, _FLASH])
    return guest.executed(folder)

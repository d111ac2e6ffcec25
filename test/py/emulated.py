# SPDX-License-Identifier: Apache-2.0
"""Targets that tests run: on this machine's CPU, or in an emulator of another.

Tests with the mark ``emulated`` run with ``DEVICE`` (conftest.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lumen_mlir.compiler import targets
from lumen_mlir.compiler.targets import Target
from lumen_mlir.testing.emulation import EMULATORS, Emulated

ROOT = Path(__file__).parents[2]
RUNNERS = ROOT / "build" / "runner"
DEVICE = Emulated(ROOT, RUNNERS)


def is_emulated(target: Target) -> bool:
    """Whether tests run code for a target in an emulator."""
    return target.is_foreign() and target.architecture in EMULATORS


EMULATED = tuple(target for target in targets.TARGETS if is_emulated(target))
"""From the most capable to the least."""


def marks_of(name: str) -> list[pytest.MarkDecorator]:
    """Of a parameter that is this target."""
    target = targets.get(name)
    if is_emulated(target):
        return [pytest.mark.emulated]
    missing = target.missing()
    return [pytest.mark.skipif(bool(missing), reason=f"this CPU lacks {', '.join(missing)}")]


def check_installed() -> None:
    """Fails where an emulator is missing, instead of leaving out what it would run."""
    for emulator in EMULATORS.values():
        for program in (emulator.compiler, emulator.command[0]):
            if shutil.which(program) is None:
                pytest.fail(
                    f"{program} is missing: `make test` installs it; or leave these tests out: "
                    "-m 'not (matrix or emulated)'",
                    pytrace=False,
                )

# SPDX-License-Identifier: Apache-2.0
"""Runs the command line as users do: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_samples import SHAPE

from lumen_mlir.testing.synthetic import write_synthetic


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """A cache folder that the tests share, so that each model is compiled once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def environment(cache) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LUMEN_")}
    return {**kept, "LUMEN_CACHE_DIR": str(cache)}


@pytest.fixture
def lumen(environment) -> Callable[..., subprocess.CompletedProcess]:
    """Runs ``lumen`` with the given arguments; ``env`` adds variables, ``input`` is what stdin has."""

    def run(*arguments: object, input: str | bytes = b"", env: dict[str, str] | None = None):
        data = input.encode() if isinstance(input, str) else input
        done = subprocess.run(
            [sys.executable, "-m", "lumen_mlir", *map(str, arguments)],
            input=data,
            capture_output=True,
            env={**environment, **(env or {})},
            timeout=120,
        )
        done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
        return done

    return run


@pytest.fixture
def refused(lumen) -> Callable[..., str]:
    """Runs ``lumen``, which must fail in one line of stderr and say nothing else; that line's message."""

    def run(*arguments: object, code: int = 1, **options) -> str:
        done = lumen(*arguments, **options)
        assert (done.returncode, done.stdout) == (code, ""), done
        (line,) = done.stderr.splitlines()
        assert line.startswith("lumen: error: "), line
        return line.removeprefix("lumen: error: ")

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A sound model, made once."""
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_synthetic(path, SHAPE, "q8_0", seed=1)
    return path

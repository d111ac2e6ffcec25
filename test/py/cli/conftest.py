# SPDX-License-Identifier: Apache-2.0
"""Runs the command line: in the process of the tests, which is quicker, or as users do."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_samples import SHAPE
from own_hub import hub, hub_cache, hub_server

from lumen_mlir.cli import main
from lumen_mlir.testing.synthetic import write_synthetic

__all__ = ["hub", "hub_cache", "hub_server"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """A cache folder that the tests share, so that each model is compiled once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def environment(cache) -> dict[str, str]:
    """The variables of a process of Lumen's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LUMEN_")}
    return {**kept, "LUMEN_CACHE_DIR": str(cache)}


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


@pytest.fixture
def lumen(monkeypatch, capsysbinary, environment) -> Callable[..., SimpleNamespace]:
    """Runs ``lumen`` with the given arguments in this process.

    ``env`` adds variables, ``input`` is what stdin has. What is a process's own (plug-ins, signals, the
    streams themselves) is a matter for ``process``.
    """
    monkeypatch.setenv("LUMEN_CACHE_DIR", environment["LUMEN_CACHE_DIR"])
    logger = logging.getLogger("lumen_mlir")

    def run(*arguments: object, input: str | bytes = b"", env: dict[str, str] | None = None):
        capsysbinary.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(_bytes(input)), encoding="utf-8"))
            patch.setattr(logger, "handlers", [])
            patch.setattr(logger, "propagate", True)
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            code = main([str(argument) for argument in arguments])
        stdout, stderr = capsysbinary.readouterr()
        return SimpleNamespace(returncode=code, stdout=stdout.decode(), stderr=stderr.decode())

    return run


@pytest.fixture
def process(environment) -> Callable[..., subprocess.CompletedProcess]:
    """Like ``lumen``, in a process of its own."""

    def run(*arguments: object, input: str | bytes = b"", env: dict[str, str] | None = None):
        done = subprocess.run(
            [sys.executable, "-m", "lumen_mlir", *map(str, arguments)],
            input=_bytes(input),
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

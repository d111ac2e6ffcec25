# SPDX-License-Identifier: Apache-2.0
"""Fixtures for all tests."""

import shutil
import sys
from pathlib import Path

import pytest

from lumen_mlir import formats
from lumen_mlir.formats import plugins


@pytest.fixture
def lumen_opt():
    """The path of ``lumen-opt``: on the path, beside Python, or in a build folder."""
    beside = Path(sys.executable).with_name("lumen-opt")
    built = Path(__file__).parents[2].glob("build*/**/bin/lumen-opt")
    found = shutil.which("lumen-opt") or next(map(str, (p for p in (beside, *built) if p.exists())), None)
    return found or pytest.skip("lumen-opt is not built")


@pytest.fixture
def own_registry(monkeypatch):
    """What a test registers and loads is forgotten behind it (built-in formats stay)."""
    monkeypatch.setattr(plugins, "_files", {})
    monkeypatch.setattr(plugins, "_environment", set())
    formats._entry_points.cache_clear()
    before = set(formats._registered)
    yield
    formats._entry_points.cache_clear()
    for name in set(formats._registered) - before - set(formats._BUILTIN):
        del formats._registered[name]

# SPDX-License-Identifier: Apache-2.0
"""Fixtures for all tests."""

import shutil
import sys
from pathlib import Path

import pytest

from lumen_mlir.formats import plugins, registry


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
    registry._entry_points.cache_clear()
    before = set(registry._registered)
    yield
    registry._entry_points.cache_clear()
    for name in set(registry._registered) - before - set(registry._BUILTIN):
        del registry._registered[name]

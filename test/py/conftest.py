# SPDX-License-Identifier: Apache-2.0
"""Fixtures for all tests."""

import pytest

from lumen_mlir import formats, plugins


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

# SPDX-License-Identifier: Apache-2.0
"""Fixtures: tests have a home of their own, and may write nothing there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

__all__ = ["user_home", "nothing_is_written_at_home"]


@pytest.fixture(autouse=True, scope="session")
def user_home():
    """The home folder of this process, whatever tests say that it is."""
    return Path(os.environ["HOME"])


@pytest.fixture(autouse=True)
def nothing_is_written_at_home(user_home):
    """Fails a test that uses the cache, or anything else, of whoever runs it."""
    yield
    written = [path.relative_to(user_home) for path in user_home.rglob("*")]
    if written:
        shutil.rmtree(user_home)
        user_home.mkdir()
        pytest.fail(f"written into the user's home folder: {', '.join(map(str, written))}")

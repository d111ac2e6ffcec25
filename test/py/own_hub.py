# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a hub on this machine, and a cache of its own for each test that uses it."""

from __future__ import annotations

from pathlib import Path

import pytest
import stand_in

__all__ = ["hub", "hub_cache", "hub_server"]

_UNSET = ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")


@pytest.fixture(scope="session")
def hub_server():
    with stand_in.running() as server:
        yield server


@pytest.fixture
def hub(hub_server, monkeypatch, tmp_path) -> stand_in.Hub:
    """The stand-in, without repositories; ``huggingface_hub`` asks it and nobody else."""
    from huggingface_hub import constants

    hub_server.reset()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", hub_server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for name in (
        "HF_TOKEN",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
    ):
        monkeypatch.delenv(name, raising=False)
    # These were read when the package was imported.
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "hf" / "stored_tokens"))
    # Else so much would be read before any of it is written.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 14)
    return hub_server


@pytest.fixture
def hub_cache(tmp_path) -> Path:
    """The cache of the test's hub."""
    return tmp_path / "hf" / "hub"

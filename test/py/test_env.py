# SPDX-License-Identifier: Apache-2.0
"""Environment variables: defaults, values, and errors that name the variable."""

from pathlib import Path

import pytest

from lumen_mlir import env
from lumen_mlir.errors import LumenError


def test_defaults(monkeypatch):
    for variable in env.VARIABLES:
        monkeypatch.delenv(variable.name, raising=False)
        assert variable.get() == variable.default
        assert variable.name.startswith("LUMEN_") and variable.help
        monkeypatch.setenv(variable.name, "  ")
        assert variable.get() == variable.default


def test_values(monkeypatch):
    monkeypatch.setenv("LUMEN_THREADS", " 3 ")
    monkeypatch.setenv("LUMEN_CACHE_DIR", "~/x")
    monkeypatch.setenv("HOME", "/home/someone")
    assert env.THREADS.get() == 3 and env.CACHE_DIR.get() == Path("/home/someone/x")


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500M", 500_000_000), ("1.5 g", 1_500_000_000), ("2TB", 2 * 10**12), ("7b", 7)],
)
def test_sizes(monkeypatch, text, size):
    monkeypatch.setenv("LUMEN_CACHE_LIMIT", text)
    assert env.CACHE_LIMIT.get() == size


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LUMEN_THREADS", "0"),
        ("LUMEN_THREADS", "two"),
        ("LUMEN_THREADS", "1025"),
        ("LUMEN_THREADS", "99999"),
        ("LUMEN_THREADS", "9" * 5000),
        ("LUMEN_CACHE_LIMIT", "9" * 400),
        ("LUMEN_CACHE_LIMIT", "-1"),
        ("LUMEN_CACHE_LIMIT", "20X"),
        ("LUMEN_CACHE_DIR", "~no-such-user-here/x"),
    ],
)
def test_errors(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    variable = next(variable for variable in env.VARIABLES if variable.name == name)
    with pytest.raises(LumenError, match=f"{name} is '{text}'; expected a"):
        variable.get()


@pytest.mark.parametrize("home", ["", None, "relative"])
def test_no_home(monkeypatch, home):
    """A folder called ``~`` is not what anybody means."""
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # a user without an entry
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    for text in ("~", "~/c"):
        monkeypatch.setenv("LUMEN_CACHE_DIR", text)
        with pytest.raises(LumenError, match="LUMEN_CACHE_DIR is '~.*needs a home"):
            env.CACHE_DIR.get()
    monkeypatch.setenv("LUMEN_CACHE_DIR", "c~")
    assert env.CACHE_DIR.get() == Path("c~")

# SPDX-License-Identifier: Apache-2.0
"""What commands write fits the terminal, has colours for people, and neither in a pipe."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import re
import struct
import sys
import termios
import threading

import pytest
from cli_samples import rewrite
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from lumen_mlir.cli import app, main
from lumen_mlir.cli.fitting import fitted
from lumen_mlir.cli.table import GAP, width
from lumen_mlir.cli.wrapping import cut, shortened, wrapped
from lumen_mlir.gguf import types as T

COLOUR = re.compile(r"\x1b\[[\d;]*m")
# What moves the cursor, for bars of progress: a line begins anew.
MOVE = re.compile(r"\r|\x1b\[[\d;?]*[A-Za-ln-z]")


@pytest.fixture
def terminal(monkeypatch, environment):
    """Runs ``lumen`` in this process on a terminal of so many columns; what it wrote."""
    monkeypatch.setenv("LUMEN_CACHE_DIR", environment["LUMEN_CACHE_DIR"])

    def run(columns: int, *arguments: object, code: int = 0, **variables: str) -> str:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        parts: list[bytes] = []

        def read() -> None:
            try:
                while part := os.read(ours, 65536):
                    parts.append(part)
            except OSError:  # the other end is closed
                pass

        reader = threading.Thread(target=read)
        reader.start()
        with monkeypatch.context() as patch:
            patch.setattr(logging.getLogger("lumen_mlir"), "handlers", [])
            for name in ("NO_COLOR", "COLUMNS"):
                patch.delenv(name, raising=False)
            for name, value in {"TERM": "xterm", **variables}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115
            for name in ("stdout", "stderr"):
                patch.setattr(sys, name, os.fdopen(os.dup(theirs), "w", buffering=1))
            streams = sys.stdout, sys.stderr
            found = main([str(argument) for argument in arguments])
            for stream in streams:
                stream.close()
        os.close(theirs)
        reader.join()
        os.close(ours)
        text = b"".join(parts).decode().replace("\r\n", "\n")
        assert found == code, text
        return text

    return run


@pytest.fixture(scope="module")
def korean(tiny, tmp_path_factory):
    """A model whose names are Hangul."""
    path = tmp_path_factory.mktemp("모델") / "한국어로-길게-이름을-지은-시험용-모델-파일.gguf"
    name = "아주 긴 이름을 가진 한국어 모델, 시험에만 쓰이고 다른 곳에는 쓰이지 않습니다"
    return rewrite(tiny, path, {"general.name": (name, T.STRING), f"own.{name}": (name, T.STRING)})


COMMANDS = {
    "inspect": ("inspect", "MODEL", "--metadata", "--tensors"),
    "formats": ("formats",),
    "formats show": ("formats", "show", "q4_0"),
    "tokenize": ("tokenize", "-p", "배우들의 연기가"),
    "stats": ("tokenize", "MODEL", "--stats", "TEXT"),
    "dry run": ("generate", "MODEL", "--dry-run"),
    "bench": ("bench", "MODEL", "-p", "4", "-n", "2", "-r", "1"),
    "profile": ("bench", "MODEL", "-p", "4", "-n", "0", "-r", "1", "--profile"),
    "bench kernels": ("bench", "kernels", "--formats", "q8_0", "--shape", "32x64", "-r", "1"),
    "quantize": ("quantize", "MODEL", "--dry-run", "--format", "q4_0", "--requantize"),
    "cache": ("cache",),
    "compile": ("compile", "MODEL", "--emit", "fused"),
    "perplexity": ("perplexity", "MODEL", "TEXT", "-c", "16"),
    "verbose": ("generate", "MODEL", "-p", "a", "-n", "1", "-v"),
    "list": ("list",),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_lines_fit(terminal, korean, tmp_path, name):
    (tmp_path / "글.txt").write_text("한국어 문장 " * 20, encoding="utf-8")
    named = {"MODEL": korean, "TEXT": tmp_path / "글.txt"}
    for columns in (80, 60):
        shown = terminal(columns, *(named.get(word, word) for word in COMMANDS[name]))
        # The text of a description is shown as it is.
        shown = shown.split("# Description")[0] + shown.split("# A block")[-1]
        lines = MOVE.sub("\n", COLOUR.sub("", shown)).split("\n")
        # Only paths are not broken.
        wide = [line for line in lines if width(line) > columns and " " in line.strip()]
        assert lines and not wide


@pytest.mark.parametrize("command", [(), *((name,) for name in app.COMMANDS), ("bench", "kernels")])
def test_help_fits(terminal, command):
    for columns in (80, 60):
        # ``click`` asks the process's own terminal, which this one is not.
        shown = terminal(columns, *command, "--help", COLUMNS=str(columns))
        assert not [line for line in shown.split("\n") if width(line) > columns]


def test_colours(terminal, lumen, korean, refused):
    coloured = terminal(80, "inspect", korean, "--tensors")
    assert "\x1b[1mtensor" in coloured
    plain = COLOUR.sub("", coloured)
    assert terminal(80, "inspect", korean, "--tensors", NO_COLOR="1") == plain
    assert terminal(80, "inspect", korean, "--tensors", TERM="dumb") == plain
    assert "\x1b" not in lumen("inspect", korean, "--tensors").stdout
    # A pipe has everything, whatever the terminal is.
    piped = lumen("inspect", korean, "--tensors", env={"COLUMNS": "30"}).stdout
    assert str(korean) in piped and "…" not in piped
    assert max(map(width, terminal(200, "inspect", korean).split("\n"))) > 80
    assert max(map(width, terminal(200, "inspect", korean, COLUMNS="50").split("\n"))) <= 50


def test_what_is_left_out(terminal):
    table, legend = terminal(60, "formats").split("\n\n")
    assert table.endswith("(columns that do not fit: ggml id, packed, scale, minimum,\ntargets)")
    assert "minimum  what is subtracted" in legend
    with_all = terminal(200, "formats").split("\n\n")[0]
    assert "targets" in with_all.split("\n")[0] and "do not fit" not in with_all


@given(st.text(st.sampled_from("ab 한글가나다漢字ｗ…─│é\u0301")))
def test_width(text):
    assert width(text) == cell_len(text)
    assert width("한글 é…") == width("한글 e\u0301…") == 7


TEXTS = st.text(st.sampled_from("ab 가나-/\u0301"), max_size=40)


@given(TEXTS, st.integers(2, 30))
def test_wrapping(text, limit):
    lines = wrapped(text, limit)
    assert all(width(line) <= limit for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    whole = wrapped(text, limit, inside=False)
    assert [word for line in whole for word in line.split()] == text.split()
    assert all(width(line) <= limit or " " not in line.strip() for line in whole)


@given(TEXTS, st.integers(2, 30))
def test_shortening(text, limit):
    short = shortened(text, limit)
    assert width(short) <= limit and (short == text) == (width(text) <= limit)
    assert text.startswith(cut(text, limit)) and width(cut(text, limit)) <= limit


@given(st.lists(st.integers(1, 90), min_size=1, max_size=8), st.data(), st.integers(20, 120))
def test_fitting(natural, data, limit):
    right = data.draw(st.lists(st.sampled_from(range(len(natural))), unique=True))
    spare = data.draw(st.lists(st.sampled_from(range(1, max(len(natural), 2))), unique=True))
    spare = [number for number in spare if number < len(natural)]
    widths = fitted(natural, right, limit, spare)
    total = sum(widths.values()) + len(GAP) * (len(widths) - 1)
    assert 0 in widths and total <= limit
    if sum(natural) + len(GAP) * (len(natural) - 1) <= limit:
        assert list(widths.values()) == natural
    # Numbers are whole.
    assert all(widths[number] == natural[number] for number in widths if number in right and len(widths) > 1)


def test_messages_are_wrapped_at_words(terminal, tmp_path):
    path = tmp_path / ("이름" * 30)
    shown = COLOUR.sub("", terminal(60, "inspect", path, code=1))
    assert shown.split() == f"lumen: error: {path}: cannot be opened: No such file or directory".split()
    assert f"{path}:" in shown.split("\n") and shown.count("\n") > 1
    assert "\x1b[1;31mlumen: error:\x1b[0m" in terminal(60, "inspect", path, code=1)

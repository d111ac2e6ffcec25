# SPDX-License-Identifier: Apache-2.0
"""What is thought is told apart from what is said, however an answer is cut into pieces."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from lumen_mlir.cli.repl.display import AnswerWriter, ThoughtFinder


def found(text, size, prompt=""):
    """Neighbours that are both thought, or both said, are joined."""
    finder, parts = ThoughtFinder(prompt), []
    pieces = [text[begin : begin + size] for begin in range(0, len(text), size)]
    for part, thought in [*(each for piece in pieces for each in finder.feed(piece)), *finder.finish()]:
        if parts and parts[-1][1] == thought:
            parts[-1] = parts[-1][0] + part, thought
        else:
            parts.append((part, thought))
    return parts


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", [("plain", False)]),
        ("<think>음</think>네", [("<think>음</think>", True), ("네", False)]),
        ("a<thought>b</thought>c", [("a", False), ("<thought>b</thought>", True), ("c", False)]),
        ("[THINK]a</think>b[/THINK]c", [("[THINK]a</think>b[/THINK]", True), ("c", False)]),
        ("a < b <thin k", [("a < b <thin k", False)]),
        ("<think>cut of", [("<think>cut of", True)]),
        ("said</think>", [("said</think>", False)]),
        ("ends <thi", [("ends <thi", False)]),
    ],
)
def test_marks(text, parts, size):
    assert found(text, size) == parts


def test_thinking_that_the_prompt_begins():
    assert found("hm</think>yes", 2, "<|assistant|><think>\n") == [("hm</think>", True), ("yes", False)]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def written(monkeypatch, stream, *pieces, prompt="", **environment):
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", stream)
    writer = AnswerWriter(SimpleNamespace(prompt_end=prompt))
    for piece in pieces:
        writer.write(piece)
    writer.close()
    assert writer.text == "".join(pieces)
    return stream.getvalue()


def test_styles(monkeypatch):
    pieces = ("<think>", "a", "</think>", "b\x1b[2J", "\n")
    plain = "<think>a</think>b\x1b[2J\n"
    assert written(monkeypatch, io.StringIO(), *pieces, TERM="xterm") == plain
    shown = written(monkeypatch, Terminal(), *pieces, TERM="xterm")
    assert "\x1b[2ma\x1b[0m" in shown and shown.endswith("b\\x1b[2J\n")
    shown = written(monkeypatch, Terminal(), "a", "</think>b", prompt="x" * 20 + "<think>\n", TERM="xterm")
    assert shown == "\x1b[2ma\x1b[0m\x1b[2m</think>\x1b[0mb\n"
    for off in ({"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}):
        assert "\x1b[2m" not in written(monkeypatch, Terminal(), *pieces, **off)
    assert written(monkeypatch, io.StringIO(), "no line's end") == "no line's end\n"

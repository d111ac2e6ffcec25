# SPDX-License-Identifier: Apache-2.0
"""The script that records a terminal: what is shown where and when, and that pictures need nothing else."""

import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import terminal

    return terminal


def places(picture: str) -> dict[str, list[float]]:
    """The texts of a picture and where their characters are."""
    texts = ElementTree.fromstring(picture).iter(f"{SVG}text")
    return {text.text: [float(x) for x in text.get("x").split()] for text in texts}


def test_wide_characters_and_colours(terminal):
    recording = terminal.Recording()
    terminal.record(recording, r"printf '가a<\033[31m나\033[0m'", dict(os.environ))
    picture = terminal.svg(recording, "A & B")
    found = places(picture)
    cell = terminal._CELL
    assert [x - found["가a<"][0] for x in found["가a<"]] == pytest.approx([0, 2 * cell, 3 * cell], abs=0.11)
    assert found["나"][0] - found["가a<"][0] == pytest.approx(4 * cell, abs=0.11)
    assert re.search(r'class="\w+ red"[^>]*>나<', picture) and "A &amp; B" in picture


def test_what_is_overwritten_disappears(terminal):
    recording = terminal.Recording()
    terminal.record(recording, r"printf '10%%\r'; sleep 0.2; printf 'done\n'; sleep 1.5", dict(os.environ))
    first, second = (piece for piece in recording.pieces if piece.line == 1)
    assert first.cells[0].text == "1" and second.cells[0].text == "d"
    assert first.end == second.start and second.end is None
    assert 0.1 < second.start - first.start < 0.9
    end = second.start + terminal._LONGEST + terminal._READING
    assert recording.now <= end + 1e-6  # a second is left of the wait of 1.5
    picture = terminal.svg(recording, "x")
    assert re.search(r'class="\w+ o"[^>]*>10%<', picture)


def test_failure(terminal):
    with pytest.raises(SystemExit, match="exit 3 ended with status 3"):
        terminal.record(terminal.Recording(), "exit 3", dict(os.environ))


def test_the_picture_of_the_readme():
    """It is small, and a page may show it as an image: nothing in it runs or is loaded."""
    picture = (ROOT / "docs" / "images" / "terminal.svg").read_text()
    assert len(picture.encode()) < 60_000
    assert not re.search(r"<script|<foreignObject|href|url\(|@import", picture)
    assert any("가" <= character <= "힣" for text in places(picture) for character in text)

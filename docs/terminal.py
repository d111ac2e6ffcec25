# SPDX-License-Identifier: Apache-2.0
"""Records commands in a terminal and writes an animated picture of it.

    python docs/terminal.py SmolLM2.gguf     the picture of the README: docs/images/terminal.svg

The model answers a question, so it needs a chat template. The commands run in a pseudo-terminal, and the
picture shows what they print when they print it. Waits of more than a second are cut to one. The animation is
CSS: it works in an ``<img>``, needs no script and no font of its own, and stands still for readers who want
that.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import shlex
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyte

ROOT = Path(__file__).resolve().parents[1]
COLUMNS, LINES = 80, 28  # of the picture
PROMPT = b"\x1b[1;32m$\x1b[0m "
_TALL = 400  # lines of the terminal that is recorded, so that nothing scrolls out of it
_TYPING, _THINKING, _READING, _LONGEST = 0.04, 0.5, 1.6, 1.0  # seconds

# Per cell and line, in pixels.
_CELL, _LINE, _SIZE, _MARGIN, _BAR = 8.4, 19, 14, 16, 30
_COLORS = {
    "black": "#5c6370", "red": "#ff7b72", "green": "#7ee787", "brown": "#e3b341", "blue": "#79c0ff",
    "magenta": "#d2a8ff", "cyan": "#76e3ea", "white": "#c9d1d9",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A character, the column where it begins, and how it looks."""

    column: int
    text: str
    style: tuple[str, bool]


@dataclass
class Piece:
    """Cells of a line that appear together at ``start``; at ``end`` something else takes their place."""

    line: int
    cells: tuple[Cell, ...]
    start: float
    end: float | None = None


@dataclass
class Recording:
    """What a screen shows over time, in seconds from the beginning."""

    now: float = 0.0
    pieces: list[Piece] = field(default_factory=list)
    cursor: list[tuple[float, int]] = field(default_factory=list)  # time, line
    _shown: dict[int, list[Piece]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._screen = pyte.Screen(COLUMNS, _TALL)
        self._stream = pyte.ByteStream(self._screen)

    def wait(self, seconds: float) -> None:
        """Lets time pass, at most a second of it."""
        self.now += min(seconds, _LONGEST)

    def feed(self, data: bytes) -> None:
        """Shows what a program printed now."""
        self._screen.dirty.clear()
        self._stream.feed(data)
        for line in sorted(self._screen.dirty):
            self._show(line, self._cells(line))
        self.cursor.append((self.now, self._screen.cursor.y))

    def _cells(self, line: int) -> tuple[Cell, ...]:
        row, cells = self._screen.buffer[line], []
        for column in range(COLUMNS):
            char = row[column]
            if char.data.strip():  # the second half of a wide character is empty
                cells.append(Cell(column, char.data, (char.fg, char.bold)))
        return tuple(cells)

    def _show(self, line: int, cells: tuple[Cell, ...]) -> None:
        pieces = self._shown.setdefault(line, [])
        before = tuple(cell for piece in pieces for cell in piece.cells)
        if cells[: len(before)] != before:
            for piece in pieces:
                piece.end = self.now
            pieces.clear()
            before = ()
        if len(cells) > len(before):
            pieces.append(Piece(line, cells[len(before) :], self.now))
            self.pieces.append(pieces[-1])


def record(recording: Recording, command: str, environment: dict[str, str]) -> None:
    """Types ``command`` at a prompt and shows what it prints. ``SystemExit`` where it fails."""
    recording.feed(PROMPT)
    recording.wait(_THINKING)
    for character in command:
        recording.feed(character.encode())
        recording.wait(_TYPING)
    recording.wait(_THINKING)
    recording.feed(b"\r\n")
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", LINES, COLUMNS, 0, 0))
        os.execvpe("bash", ["bash", "-c", command], environment)
    last = time.monotonic()
    for data in _output(terminal):
        recording.wait(time.monotonic() - last)
        last = time.monotonic()
        recording.feed(data)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{command} ended with status {os.waitstatus_to_exitcode(status)}")
    recording.wait(_READING)


def _output(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # Linux reports the end of a terminal as an error
            data = b""
        if not data:
            os.close(terminal)
            return
        yield data


def svg(recording: Recording, title: str) -> str:
    """The recording as a picture whose animation starts again after a pause."""
    end = recording.now + 4
    bottom = max((line for _, line in recording.cursor), default=0) + 1
    rows = min(bottom, LINES)
    width, height = COLUMNS * _CELL + 2 * _MARGIN, rows * _LINE + _BAR + _MARGIN
    names: dict[str, str] = {}  # keyframes and their name

    def animation(frames: str) -> str:
        return names.setdefault(frames, f"k{len(names)}")

    def at(seconds: float) -> str:
        return f"{100 * round(seconds, 2) / end:.2f}".rstrip("0").rstrip(".") + "%"

    texts = []
    for piece in recording.pieces:
        if piece.end is not None and piece.end - piece.start < 0.02:
            continue
        frames = f"0%{{opacity:0}}{at(piece.start)}{{opacity:1}}"
        if piece.end is not None:
            frames += f"{at(piece.end)},100%{{opacity:0}}"
        name = animation(frames)
        for style in dict.fromkeys(cell.style for cell in piece.cells):
            texts.append(_text(piece, [c for c in piece.cells if c.style == style], style, name))
    moves, first = ["0%{transform:translateY(0)}"], 0
    for moment, line in recording.cursor:
        if line - rows + 1 > first:
            first = line - rows + 1
            moves.append(f"{at(moment)}{{transform:translateY(-{first * _LINE}px)}}")
    scroll = animation("".join(moves))
    styles = [
        f"text{{font:{_SIZE}px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',"
        "'Noto Sans Mono CJK KR','NanumGothicCoding','Malgun Gothic',monospace;fill:#c9d1d9;white-space:pre}",
        f"text,g{{animation:{end:.2f}s step-end infinite}}",
        ".b{font-weight:bold}.o{opacity:0}",
        *(f".{name}{{fill:{color}}}" for name, color in _COLORS.items()),
        f"#s{{transform:translateY(-{first * _LINE}px);animation-name:{scroll}}}",
        *(f"@keyframes {name}{{{frames}}}.{name}{{animation-name:{name}}}" for frames, name in names.items()),
        "@media(prefers-reduced-motion:reduce){text,g{animation:none!important}}",
    ]
    lights = "".join(
        f'<circle cx="{_MARGIN + 4 + 18 * i}" cy="15" r="5.5" fill="{color}"/>'
        for i, color in enumerate(("#ff5f56", "#ffbd2e", "#27c93f"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img"><title>{_escape(title)}</title><style>{"".join(styles)}</style>'
        f'<rect width="100%" height="100%" rx="8" fill="#161b22"/>{lights}'
        f'<svg y="{_BAR}" width="{width:g}" height="{height - _BAR - 4:g}"><g id="s">'
        + "\n".join(texts)
        + "</g></svg></svg>\n"
    )


def _text(piece: Piece, cells: list[Cell], style: tuple[str, bool], name: str) -> str:
    """Every character has its place, so that wide ones line up in any font."""
    color, bold = style
    classes = [name] + ["b"] * bold + ["o"] * (piece.end is not None)
    fill = ""
    if color in _COLORS:
        classes.append(color)
    elif re.fullmatch("[0-9a-f]{6}", color):
        fill = f' fill="#{color}"'
    places = " ".join(f"{_MARGIN + cell.column * _CELL:.1f}".removesuffix(".0") for cell in cells)
    y = (piece.line + 1) * _LINE - 5
    text = _escape("".join(cell.text for cell in cells))
    return f'<text class="{" ".join(classes)}" x="{places}" y="{y}"{fill}>{text}</text>'


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_MODEL = "smollm2.gguf"
_SCENES = (
    'lumen generate -p "이 영화는" --echo --seed 1',
    f'lumen chat {_MODEL} -p "Explain gravity in one sentence." --temp 0',
    "lumen formats show q4_0 | head -17",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path, help="a GGUF file with a chat template")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "terminal.svg")
    options = parser.parse_args()
    out = options.out.resolve()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "bin" / "lumen"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m lumen_mlir "$@"\n')
        program.chmod(0o755)
        (Path(folder) / _MODEL).symlink_to(options.model.resolve())
        os.chdir(folder)
        environment = {name: text for name, text in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
        environment |= {"TERM": "xterm-256color", "PATH": f"{program.parent}:{os.environ['PATH']}"}
        for _ in range(2):  # the first time only fills the caches
            recording = Recording()
            for command in _SCENES:
                record(recording, command, environment)
            recording.feed(PROMPT)
    out.write_text(svg(recording, "Lumen in a terminal"), encoding="utf-8")
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB, {recording.now:.0f} seconds")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The examples in the pages: fenced blocks, and the commands in them.

A block that cannot run in a test stands behind a comment, ``<!-- not run: why -->``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

_BLOCK = re.compile(r"(?:^<!-- not run: (.+?) -->\n+)?^(```+)(\w*)\n(.*?)^\2$", re.M | re.S)
# What begins a command in a block that is no transcript.
_PROGRAMS = "lumen|lumen-opt|make|python3?|pip|git|apt-get|sudo|cmake|ninja|docker|echo"
_PROGRAM = re.compile(rf"\w+=\S|(?:\S*/)?(?:{_PROGRAMS})(?= \S|\s*$)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its line there, its language, and why it is not run, if it is not."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page}, line {self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a page, and what it is said to print; None where the page does not say."""

    block: Block
    text: str
    output: str | None


def pages() -> list[Path]:
    """All pages but experiments, which tell of the code of their day."""
    docs = ROOT / "docs"
    found = [
        *ROOT.glob("*.md"),
        *docs.glob("*.md"),
        *docs.glob("decisions/*.md"),
        *docs.glob("reference/*.md"),
    ]
    return sorted([*found, *docs.glob("tutorials/*.md")])


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(name, text.count("\n", 0, match.start(2)) + 1, match[3], match[4], match[1])
        for match in _BLOCK.finditer(text)
    ]


def commands(block: Block) -> list[Command]:
    """The commands of a block, in order."""
    if block.language not in ("", "console", "shell", "sh", "bash"):
        return []
    text = re.sub(r"\\\n\s*", " ", block.text)
    if re.search(r"^\$ ", text, re.M):
        parts = re.split(r"^\$ ", text, flags=re.M)[1:]
        return [Command(block, *_with_output(part)) for part in parts]
    lines = [line for line in text.splitlines() if _PROGRAM.match(line)]
    # A description may stand behind a command, in a column of its own.
    return [Command(block, re.split(r"\s{2,}", line)[0], None) for line in lines]


def _with_output(part: str) -> tuple[str, str | None]:
    command, _, output = part.partition("\n")
    return command, output if output.strip() else None


def pattern(expected: str) -> str:
    """What a page says that a command prints: "…" stands for anything, alone in a line for any lines."""
    lines = []
    for line in expected.rstrip("\n").splitlines():
        if line.strip() == "…":
            lines.append(r"(?:.*\n)*?")
        else:
            # Runs of spaces may be longer where columns are aligned.
            pieces = [re.sub(r"(\\ )+", " +", re.escape(piece)) for piece in line.split("…")]
            lines.append(".*".join(pieces) + r"\n")
    return "".join(lines)

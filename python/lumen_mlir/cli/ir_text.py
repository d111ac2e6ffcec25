# SPDX-License-Identifier: Apache-2.0
"""IR for people to read: long lines of MLIR's text, broken where that changes nothing for its parser.

MLIR prints an operation's head on one line, however many operands it has. Its parser takes any white space
between tokens, so spaces outside of strings may become line breaks. What is broken, and how far continued
lines are indented, follows the brackets: lists are filled like text, and types begin lines of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

# Columns of a line, where nobody says otherwise.
WIDTH = 100

_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|->|[<>=]=|//|[()\[\]{}<>,]| +|[^"()\[\]{}<>,\-/= ]+|[-/="]', re.DOTALL
)
_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}
# The text of types and attributes of other dialects may be kept as it is, with its spaces.
_FOREIGN = re.compile(r"[!#](?!lumen\.|llvm\.)[\w$]+\.[\w$.]*\Z")
_FOREIGN_TEXT = re.compile(_FOREIGN.pattern.removesuffix(r"\Z") + "<")
# What is left open on a line, or closed by it: the region of an operation, which goes on below or ends here.
_ENDS, _BEGINS = re.compile(r" ?\(?\{\Z"), re.compile(r"[)}\]]+,? ?")

# A block's head, and where control comes from.
_PREDECESSORS = re.compile(r"( *\^\w+.*:) +(// .*)")

_CONTINUED, _NESTED = 4, 2
# Room for text in a line, however deep it stands.
_LEAST = 40


class _NotBroken(Exception):
    """The line is not what this module expects: it stays as it is."""


@dataclass
class _Group:
    """Brackets, and what stands between them: lists of words with commas between them."""

    opening: str
    elements: list[list[_Word]] = field(default_factory=lambda: [[]])
    whole: bool = False

    @cached_property
    def flat(self) -> str:
        inside = ", ".join(" ".join(word.flat for word in element) for element in self.elements)
        return f"{self.opening}{inside}{_CLOSING[self.opening]}"


@dataclass
class _Word:
    """What has no space in it outside of brackets."""

    parts: list[str | _Group] = field(default_factory=list)

    @cached_property
    def flat(self) -> str:
        return "".join(part if isinstance(part, str) else part.flat for part in self.parts)


def broken(text: str, width: int = WIDTH) -> str:
    """``text``, printed by MLIR, with lines of at most ``width`` columns where that is possible."""
    return "\n".join(piece for line in text.split("\n") for piece in _lines(line, width))


def _lines(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    if match := _PREDECESSORS.fullmatch(line):
        *before, last = _lines(match[1], width)
        note = f"  {match[2]}"
        return [*before, last + note] if len(last + note) <= width else [*before, last, note]
    body = line.strip(" ")
    indent = len(line) - len(line.lstrip(" "))
    begin = match[0] if (match := _BEGINS.match(body)) else ""
    end = match[0] if (match := _ENDS.search(body)) else ""
    text = body[len(begin) : len(body) - len(end)]
    try:
        words = _words(text)
    except _NotBroken:
        return [line]
    if not _is_same(" ".join(word.flat for word in words), text):
        return [line]
    writer = _Writer(" " * indent + begin, max(width, indent + _LEAST))
    writer.sequence(_joined(words), indent + _CONTINUED, end)
    return writer.lines


def _words(text: str) -> list[_Word]:
    """The words of a line. Raises ``_NotBroken`` where its brackets are not in pairs, or it has a comment."""
    root = _Group("(")
    stack, fresh = [root], True
    for match in _TOKEN.finditer(text):
        token, group = match[0], stack[-1]
        if token == "//":
            raise _NotBroken
        if token.startswith(" "):
            fresh = True
        elif token == "," and len(stack) > 1:
            group.elements.append([])
        elif token in _CLOSING.values():
            if len(stack) == 1 or _CLOSING[group.opening] != token:
                raise _NotBroken
            stack.pop()
            fresh = False
        else:
            element = group.elements[-1]
            if fresh or not element:
                element.append(_Word())
            fresh = False
            word = element[-1]
            if token in _CLOSING:
                foreign = token == "<" and bool(word.parts) and _is_foreign(word.parts[-1])
                word.parts.append(inner := _Group(token, whole=foreign))
                stack.append(inner)
            elif word.parts and isinstance(word.parts[-1], str):
                word.parts[-1] += token
            else:
                word.parts.append(token)
    if len(stack) > 1:
        raise _NotBroken
    return root.elements[0]


def _is_same(shown: str, text: str) -> bool:
    """Whether two texts differ in spaces at most, and in none that may be kept."""
    return shown == text or (
        shown.replace(" ", "") == text.replace(" ", "") and not _FOREIGN_TEXT.search(text)
    )


def _is_foreign(part: str | _Group) -> bool:
    return isinstance(part, str) and _FOREIGN.search(part) is not None


def _joined(words: Sequence[_Word]) -> list[_Word]:
    """Words between which a line may end: not before or behind ``=``, and not behind ``:`` and ``->``."""
    found: list[_Word] = []
    glued = False
    for word in words:
        text = word.flat
        if found and (glued or text == "="):
            found[-1] = _Word([*found[-1].parts, " ", *word.parts])
        else:
            found.append(word)
        glued = text in ("=", "->") or text.endswith(":")
    return found


class _Writer:
    """Fills ``lines`` of at most ``width`` columns; the first has its beginning."""

    def __init__(self, beginning: str, width: int):
        self.lines = [beginning]
        self._width = width
        self._glued = True

    def sequence(self, words: Sequence[_Word], indent: int, tail: str = "") -> None:
        """Words with spaces between them, ``tail`` behind the last; further lines begin with ``indent``."""
        for number, word in enumerate(words):
            self._word(word, indent, tail if number == len(words) - 1 else "")
        if not words:
            self._write(tail)

    def _word(self, word: _Word, indent: int, tail: str) -> None:
        text = word.flat + tail
        if self._has_room(text):
            self._write(text)
        elif indent + len(text) <= self._width:
            self._begin_line(indent)
            self._write(text)
        else:
            self._inside(word, indent, tail)

    def _inside(self, word: _Word, indent: int, tail: str) -> None:
        """A word that no line has room for: lines end between its brackets."""
        first = word.parts[0] if isinstance(word.parts[0], str) else ""
        if first.startswith((":", "->")) or not self._has_room(first + "("):
            self._begin_line(indent)
        for number, part in enumerate(word.parts):
            after = word.parts[number + 1 :]
            # Text behind the last brackets cannot begin a line.
            end = "".join(after) + tail if all(isinstance(other, str) for other in after) else ""
            flat = part if isinstance(part, str) else part.flat
            if isinstance(part, str) or part.whole or self._has_room(flat + end):
                self._write(flat)
            else:
                self._write(part.opening)
                self._group(part, indent + _NESTED, _CLOSING[part.opening] + end)
                if end:
                    return
            self._glued = True
        self._write(tail)

    def _group(self, group: _Group, indent: int, tail: str) -> None:
        self._glued = True
        for number, element in enumerate(group.elements):
            end = "," if number < len(group.elements) - 1 else tail
            text = " ".join(word.flat for word in element) + end
            fits = indent + len(text) <= self._width
            if not self._has_room(text) and (fits or number):
                self._begin_line(indent)
            self.sequence(_joined(element), indent + _NESTED, end)

    def _has_room(self, text: str) -> bool:
        return len(self.lines[-1]) + (not self._glued) + len(text) <= self._width

    def _begin_line(self, indent: int) -> None:
        if self.lines[-1].strip(" "):
            self.lines.append(" " * indent)
        self._glued = True

    def _write(self, text: str) -> None:
        self.lines[-1] += text if self._glued else f" {text}"
        self._glued = False

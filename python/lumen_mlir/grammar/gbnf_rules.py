# SPDX-License-Identifier: Apache-2.0
"""Reads GBNF, the grammars of llama.cpp: rules of characters."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lumen_mlir.grammar.grammar import GBNF, GrammarError

MOST_CODE = 0x10FFFF
# Halves of surrogate pairs are no characters.
_ALL = ((0, 0xD7FF), (0xE000, MOST_CODE))

# Parentheses in one another, and times that a part may be repeated.
_DEEP, _TIMES = 100, 10_000

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TOKEN = re.compile(r"<(\[\d+\]|[^<>\[\]\s]+)>")
_COUNT = re.compile(r"\{\s*(\d{1,9})\s*(,?)\s*(\d{0,9})\s*\}")
_HEX = re.compile(r"[0-9a-fA-F]+")
_DIGITS = {"x": 2, "u": 4, "U": 8}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(eq=False)
class Node:
    """A part of a rule. Two parts are never equal."""


@dataclass(eq=False)
class Characters(Node):
    """One of some characters: ``ranges`` of codes, first and last, in order."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(eq=False)
class Sequence(Node):
    """One part after the other; nothing at all where there are none."""

    parts: list[Node] = field(default_factory=list)


@dataclass(eq=False)
class Choice(Node):
    """One of the parts."""

    parts: list[Node]


@dataclass(eq=False)
class Repeat(Node):
    """A part, at least and at most so many times; ``most`` None: any number."""

    part: Node
    least: int
    most: int | None


@dataclass(eq=False)
class Reference(Node):
    """What the rule ``name`` says. ``line``: where that is asked for."""

    name: str
    line: int


@dataclass(eq=False)
class Token(Node):
    """A token of the model, as ``<name>`` or ``<[id]>``."""

    text: str


def read_rules(text: str) -> dict[str, Node]:
    """The rules by their names. Raises ``GrammarError`` that names the line."""
    return _Reader(text).rules()


class _Reader:
    def __init__(self, text: str):
        self._text, self._place, self._deep = text, 0, 0

    def rules(self) -> dict[str, Node]:
        found: dict[str, Node] = {}
        references: list[Reference] = []
        self._references = references
        self._space(lines=True)
        while self._place < len(self._text):
            name = self._match(_NAME, "the name of a rule")[0]
            if name in found:
                raise self._error(f"the rule '{name}' is there twice")
            self._space()
            self._expect("::=")
            self._space(lines=True)
            found[name] = self._choice(nested=False)
            if self._place < len(self._text) and self._text[self._place] not in "\r\n":
                raise self._error("the end of the rule was expected")
            self._space(lines=True)
        for each in references:
            if each.name not in found:
                what = f"line {each.line}: there is no rule '{each.name}'"
                raise GrammarError(f"the {GBNF} cannot be used: {what}")
        if "root" not in found:
            raise GrammarError(f"the {GBNF} cannot be used: there is no rule 'root'")
        return found

    def _choice(self, nested: bool) -> Node:
        parts = [self._sequence(nested)]
        while True:
            end = self._place
            # (A line that begins with | belongs to the rule before it.)
            self._space(lines=True)
            if not self._next("|"):
                self._place = self._place if nested else end
                break
            self._space(lines=True)
            parts.append(self._sequence(nested))
        return parts[0] if len(parts) == 1 else Choice(parts)

    def _sequence(self, nested: bool) -> Node:
        parts: list[Node] = []
        while (part := self._part(nested)) is not None:
            self._space(lines=nested)
            while (times := self._times()) is not None:
                part = Repeat(part, *times)
                self._space(lines=nested)
            parts.append(part)
        return parts[0] if len(parts) == 1 else Sequence(parts)

    def _part(self, nested: bool) -> Node | None:
        letter = self._text[self._place : self._place + 1]
        if letter == '"':
            return self._literal()
        if letter == "[":
            return self._characters()
        if self._next("."):
            return Characters(_ALL)
        if self._next("("):
            self._deep += 1
            if self._deep > _DEEP:
                raise self._error(f"more than {_DEEP} parentheses are open")
            self._space(lines=True)
            inner = self._choice(nested=True)
            self._expect(")")
            self._deep -= 1
            return inner
        if letter == "<":
            return Token(self._match(_TOKEN, "<name> or <[id]>")[0])
        if letter and _NAME.match(letter):
            name = self._match(_NAME, "a name")[0]
            self._references.append(Reference(name, self._line()))
            return self._references[-1]
        return None

    def _times(self) -> tuple[int, int | None] | None:
        for sign, times in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._next(sign):
                return times
        if self._text[self._place : self._place + 1] != "{":
            return None
        found = self._match(_COUNT, "{N}, {N,} or {N,M}")
        least = int(found[1])
        most = least if not found[2] else int(found[3]) if found[3] else None
        if max(least, most or 0) > _TIMES or (most is not None and most < least):
            raise self._error(f"{found[0]} is no number of times up to {_TIMES:,}")
        return least, most

    def _literal(self) -> Node:
        self._expect('"')
        codes: list[Node] = []
        while not self._next('"'):
            code = self._code()
            codes.append(Characters(((code, code),)))
        return codes[0] if len(codes) == 1 else Sequence(codes)

    def _characters(self) -> Characters:
        self._expect("[")
        others, ranges = self._next("^"), []
        while not self._next("]"):
            first = last = self._code()
            if self._text.startswith("-", self._place) and not self._text.startswith("-]", self._place):
                self._place += 1
                last = self._code()
            if last < first:
                raise self._error("a range of characters ends before it begins")
            ranges.append((first, last))
        found = united(ranges)
        return Characters(without(_ALL, found) if others else found)

    def _code(self) -> int:
        letter = self._text[self._place : self._place + 1]
        self._place += 1
        if letter in ("", "\n"):
            self._place -= 1
            raise self._error("the end of a text or of a class of characters was expected")
        if letter != "\\":
            return ord(letter)
        letter = self._text[self._place : self._place + 1]
        self._place += 1
        if letter in _DIGITS:
            digits = self._text[self._place : self._place + _DIGITS[letter]]
            self._place += len(digits)
            code = int(digits, 16) if _HEX.fullmatch(digits) and len(digits) == _DIGITS[letter] else -1
            if not any(first <= code <= last for first, last in _ALL):
                raise self._error(f"\\{letter}{digits} is no character")
            return code
        if not letter or letter.isalnum() and letter not in _ESCAPES:
            raise self._error(f"\\{letter} has no meaning")
        return ord(_ESCAPES.get(letter, letter))

    # --- places ---------------------------------------------------------------------------------------------

    def _space(self, lines: bool = False) -> None:
        pattern = r"(?:[ \t\r\n]|#[^\n]*)*" if lines else r"[ \t]*(?:#[^\n]*)?"
        self._place = re.compile(pattern).match(self._text, self._place).end()  # type: ignore[union-attr]

    def _next(self, sign: str) -> bool:
        found = self._text.startswith(sign, self._place)
        self._place += len(sign) * found
        return found

    def _expect(self, sign: str) -> None:
        if not self._next(sign):
            raise self._error(f"{sign} was expected")

    def _match(self, pattern: re.Pattern, what: str) -> re.Match:
        found = pattern.match(self._text, self._place)
        if found is None:
            raise self._error(f"{what} was expected")
        self._place = found.end()
        return found

    def _line(self) -> int:
        return self._text.count("\n", 0, self._place) + 1

    def _error(self, what: str) -> GrammarError:
        behind = self._text[self._place : self._place + 20].split("\n")[0]
        at = f" before {behind!r}" if behind else ""
        return GrammarError(f"the {GBNF} cannot be used: line {self._line()}{at}: {what}")


Ranges = tuple[tuple[int, int], ...]


def united(ranges: list[tuple[int, int]]) -> Ranges:
    """The same characters, in order and each once."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return tuple(found)


def without(ranges: Ranges, others: Ranges) -> Ranges:
    """The characters of one set that are not in another."""
    found = []
    for first, last in ranges:
        for begin, end in others:
            if begin > last:
                break
            if end < first:
                continue
            if begin > first:
                found.append((first, begin - 1))
            first = end + 1
        if first <= last:
            found.append((first, last))
    return tuple(found)

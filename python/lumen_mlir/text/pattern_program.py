# SPDX-License-Identifier: Apache-2.0
"""Regular expressions of pre-tokenizers as programs for a small matcher that knows no Unicode.

A program is a list of instructions of four numbers each, and matches as Oniguruma does: alternatives in their
order, loops as long as possible, going back where the rest fails. What stands for one character becomes a set
of code points (``code_points``); so a program needs none of the package that the patterns were written for.

===============  ====================================================================================
``CLASS a``      one character of set a
``LOOP a m n``   m to n characters of set a, as many as possible (n ``MANY``: without a limit)
``TAKE a m n``   the same, but never fewer than possible
``SPLIT x y``    goes on at x, and where that fails at y
``JUMP x``       goes on at x
``AHEAD a n``    no character (n = 1) or one (n = 0) of set a follows; nothing is taken
``END``          the text or a line ends here
``MATCH``        is the end of the program
===============  ====================================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn

from tokenizers import Regex

from lumen_mlir.errors import shown
from lumen_mlir.text.code_points import Ranges, members
from lumen_mlir.text.token_types import TokenizerError

CLASS, LOOP, TAKE, SPLIT, JUMP, AHEAD, END, MATCH = range(8)
MANY = 0xFFFFFFFF

Instruction = tuple[int, int, int, int]

_MOST_INSTRUCTIONS, _MOST_DEPTH, _MOST_REPEATS = 4096, 50, 256
_REPEAT = re.compile(r"[*+?]|\{(\d+)(,?)(\d*)\}|\{,(\d+)\}")
_ESCAPE = re.compile(
    r"\\(?:x\{[0-9A-Fa-f]{1,6}\}|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[pP]\{\^?[\w\s-]+\}|[dDwWsShHnrtfvae]|[^\w\s])"
)


@dataclass
class Programs:
    """Programs and the sets of code points that they share.

    Attributes:
      sets: the ranges of each set.
      programs: the instructions of each.
    """

    sets: list[Ranges] = field(default_factory=list)
    programs: list[list[Instruction]] = field(default_factory=list)
    _known: dict[Ranges, int] = field(default_factory=dict)
    _patterns: dict[str, int] = field(default_factory=dict)

    def add(self, pattern: str) -> int:
        """The number of the program for ``pattern``.

        Raises ``TokenizerError`` for what programs cannot do, and for patterns that match nothing at all.
        """
        if pattern not in self._patterns:
            Regex(pattern)  # refuses what is none
            node = _Parser(pattern).whole()
            if node.empty:
                raise TokenizerError(f"the pattern {shown(pattern)} matches an empty text")
            code: list[Instruction] = []
            self._emit(node, code)
            code.append((MATCH, 0, 0, 0))
            self._patterns[pattern] = len(self.programs)
            self.programs.append(code)
        return self._patterns[pattern]

    def add_text(self, text: str) -> int:
        """The number of the program for ``text`` as it is written."""
        return self.add("".join(rf"\x{{{ord(letter):X}}}" for letter in text))

    def add_set(self, ranges: Ranges) -> int:
        """The number of a program for one character of ``ranges``."""
        self.programs.append([(CLASS, self._set(ranges), 0, 0), (MATCH, 0, 0, 0)])
        return len(self.programs) - 1

    def _set(self, ranges: Ranges) -> int:
        if ranges not in self._known:
            self._known[ranges] = len(self.sets)
            self.sets.append(ranges)
        return self._known[ranges]

    def _emit(self, node: _Node, code: list[Instruction]) -> None:
        if len(code) > _MOST_INSTRUCTIONS:
            raise TokenizerError(f"a pattern needs more than {_MOST_INSTRUCTIONS} instructions")
        if node.kind == "class":
            code.append((CLASS, self._set(members(node.source)), 0, 0))
        elif node.kind == "end":
            code.append((END, 0, 0, 0))
        elif node.kind == "ahead":
            code.append((AHEAD, self._set(members(node.source)), node.least, 0))
        elif node.kind == "row":
            for part in node.parts:
                self._emit(part, code)
        elif node.kind == "choice":
            self._choice(node.parts, code)
        elif node.parts[0].kind == "class" and node.how != "?":
            kind = TAKE if node.how == "+" else LOOP
            code.append((kind, self._set(members(node.parts[0].source)), node.least, node.most))
        else:
            self._repeat(node, code)

    def _choice(self, parts: list[_Node], code: list[Instruction]) -> None:
        jumps = []
        for part in parts[:-1]:
            split = len(code)
            code.append((SPLIT, 0, 0, 0))
            self._emit(part, code)
            jumps.append(len(code))
            code.append((JUMP, 0, 0, 0))
            code[split] = (SPLIT, split + 1, len(code), 0)
        self._emit(parts[-1], code)
        for jump in jumps:
            code[jump] = (JUMP, len(code), 0, 0)

    def _repeat(self, node: _Node, code: list[Instruction]) -> None:
        body, lazy = node.parts[0], node.how == "?"
        for _ in range(node.least):
            self._emit(body, code)
        splits = []
        for _ in range(1 if node.most == MANY else node.most - node.least):
            splits.append(len(code))
            code.append((SPLIT, 0, 0, 0))
            self._emit(body, code)
        if node.most == MANY:
            code.append((JUMP, splits[0], 0, 0))
        for split in splits:
            ways = (len(code), split + 1) if lazy else (split + 1, len(code))
            code[split] = (SPLIT, *ways, 0)


@dataclass
class _Node:
    """``kind``: "class" (``source``), "row", "choice" (``parts``), "repeat" (one part, ``least`` to ``most``,
    ``how``: "" greedy, "?" lazy, "+" possessive), "ahead" (``source``; ``least`` 1: not), "end".

    ``empty``: it may match an empty text.
    """

    kind: str
    source: str = ""
    parts: list[_Node] = field(default_factory=list)
    least: int = 0
    most: int = 0
    how: str = ""
    empty: bool = False


class _Parser:
    def __init__(self, pattern: str):
        self._text, self._at, self._depth = pattern, 0, 0
        self._fold = False

    def whole(self) -> _Node:
        node = self._choice()
        if self._at < len(self._text):
            self._refuse("')'")
        return node

    def _refuse(self, what: str) -> NoReturn:
        raise TokenizerError(
            f"the pattern {shown(self._text)} has {what} at place {self._at}, which bundles cannot have"
        )

    def _next(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _choice(self) -> _Node:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            self._refuse("too many groups in groups")
        parts = [self._row()]
        while self._next("|"):
            parts.append(self._row())
        self._depth -= 1
        if len(parts) == 1:
            return parts[0]
        return _Node("choice", parts=parts, empty=any(part.empty for part in parts))

    def _row(self) -> _Node:
        parts = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._repeated(self._atom()))
        return parts[0] if len(parts) == 1 else _Node("row", parts=parts, empty=all(p.empty for p in parts))

    def _repeated(self, node: _Node) -> _Node:
        found = _REPEAT.match(self._text, self._at)
        if found is None:
            return node
        if node.empty:
            self._refuse("a repetition of what may be empty")
        self._at = found.end()
        least, comma, most, limit = found.groups()
        simple = {"*": (0, MANY), "+": (1, MANY), "?": (0, 1)}.get(found[0])
        if simple is not None:
            low, high = simple
        elif limit is not None:
            low, high = 0, int(limit)
        else:
            low, high = int(least), int(most) if most else MANY if comma else int(least)
        if low > _MOST_REPEATS or (high != MANY and not low <= high <= _MOST_REPEATS):
            self._refuse("a repetition of so many times")
        how = ""
        if self._at < len(self._text) and self._text[self._at] in "?+":
            how = self._text[self._at]
            if simple is None or (how == "+" and node.kind != "class"):
                self._refuse(f"'{how}' behind a repetition")
            self._at += 1
        repeat = _Node("repeat", parts=[node], least=low, most=high, how=how, empty=low == 0)
        if _REPEAT.match(self._text, self._at):
            self._refuse("a repetition of a repetition")
        return repeat

    def _atom(self) -> _Node:
        if self._next("(?:"):
            return self._group(self._fold)
        if self._next("(?i:"):
            return self._group(True)
        for opening, negative in (("(?!", 1), ("(?=", 0)):
            if self._next(opening):
                node = self._group(self._fold)
                if node.kind != "class":
                    self._refuse("a condition on more than one character before it")
                return _Node("ahead", node.source, least=negative, empty=True)
        if self._text.startswith("(?", self._at):
            self._refuse("a group of an unknown kind")
        if self._next("("):
            return self._group(self._fold)
        if self._next("$"):
            return _Node("end", empty=True)
        letter = self._text[self._at]
        if letter == "[":
            return self._class(self._bracket())
        if letter == "\\":
            found = _ESCAPE.match(self._text, self._at)
            if found is None:
                self._refuse(f"'{self._text[self._at : self._at + 2]}'")
            self._at = found.end()
            return self._class(found[0])
        if letter in "^*+?{":
            self._refuse(f"'{letter}'")
        self._at += 1
        return self._class(letter)

    def _class(self, source: str) -> _Node:
        return _Node("class", f"(?i:{source})" if self._fold else source)

    def _group(self, fold: bool) -> _Node:
        before, self._fold = self._fold, fold
        node = self._choice()
        self._fold = before
        if not self._next(")"):
            self._refuse("a group without an end")
        return node

    def _bracket(self) -> str:
        """The source of a set in brackets, which may have others in it."""
        begin, depth = self._at, 0
        while self._at < len(self._text):
            letter = self._text[self._at]
            self._at += 2 if letter == "\\" else 1
            depth += (letter == "[") - (letter == "]")
            if letter == "[" and self._text[self._at : self._at + 1] == "^":
                self._at += 1
            if depth == 0:
                return self._text[begin : self._at]
        self._refuse("a set without an end")

# SPDX-License-Identifier: Apache-2.0
"""GBNF as rules of Lark, which llguidance takes.

llguidance cuts a text into lexemes, each as long as possible, and GBNF knows nothing but characters. (So its
own converter refuses texts that belong to a grammar.) A part of a rule may be a lexeme where that makes no
difference: where what may follow it cannot also go on with it. The fewer and the longer they are, the quicker
are masks. What remains are lexemes of one character.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from lumen_mlir.grammar.gbnf_automaton import Automaton, conflict
from lumen_mlir.grammar.gbnf_rules import (
    Characters,
    Choice,
    Node,
    Reference,
    Repeat,
    Sequence,
    Token,
    read_rules,
)
from lumen_mlir.grammar.grammar import GBNF, GrammarError

# Characters of a lexeme, each counted once where it is repeated.
_LARGE = 2000
# Pairs of states that are compared. Where there are more, lexemes are single characters.
_PAIRS = 500_000
# Parts that are looked at until it is known what begins and follows what: some seconds of work.
_LOOKS = 4_000_000


def lark_of_gbnf(text: str) -> str:
    """Rules of the same texts. Raises ``GrammarError``."""
    try:
        return _Converter(read_rules(text)).lark()
    except RecursionError:
        raise GrammarError(f"the {GBNF} cannot be used: rules refer to too many others in a row") from None


class _Converter:
    def __init__(self, rules: dict[str, Node]):
        self._rules = rules
        self._left = _LOOKS
        self._sets = _atoms(rules)
        self._nullable: dict[Node, bool] = {}
        self._first: dict[Node, int] = {}
        # What may come behind a part, wherever it stands.
        self._behind: dict[Node, int] = {}
        self._sizes: dict[str, int | None] = {}
        self._split: set[Node] = set()
        self._only_characters = False
        self._automata: dict[Node, Automaton] = {}
        self._until_stable(self._look_at_beginnings)
        self._until_stable(self._look_behind)

    # --- what a part begins with, and what comes behind it --------------------------------------------------

    def _until_stable(self, look: Callable[[], bool]) -> None:
        while look():
            if self._left < 0:
                raise GrammarError(f"the {GBNF} cannot be used: it is too complex")

    def _look_at_beginnings(self) -> bool:
        before = dict(self._nullable), dict(self._first)
        for body in self._rules.values():
            self._begin(body)
        return before != (self._nullable, self._first)

    def _begin(self, node: Node) -> tuple[bool, int]:
        """Whether a part may be nothing, and what it begins with, as far as known."""
        self._left -= 1
        nullable, first = False, 0
        if isinstance(node, Characters):
            first = self._sets[node]
        elif isinstance(node, Reference):
            body = self._rules[node.name]
            nullable, first = self._nullable.get(body, False), self._first.get(body, 0)
        elif isinstance(node, Repeat):
            nullable, first = self._begin(node.part)
            nullable = nullable or node.least == 0
        elif isinstance(node, Choice):
            for part in node.parts:
                also, more = self._begin(part)
                nullable, first = nullable or also, first | more
        elif isinstance(node, Sequence):
            nullable = True
            for part in node.parts:
                also, more = self._begin(part)
                first |= more if nullable else 0
                nullable = nullable and also
        self._nullable[node], self._first[node] = nullable, first
        return nullable, first

    def _look_behind(self) -> bool:
        before = dict(self._behind)
        for body in self._rules.values():
            self._place(body, self._behind.get(body, 0))
        return before != self._behind

    def _place(self, node: Node, behind: int) -> None:
        self._left -= 1
        self._behind[node] = behind = self._behind.get(node, 0) | behind
        if isinstance(node, Reference):
            body = self._rules[node.name]
            self._behind[body] = self._behind.get(body, 0) | behind
        elif isinstance(node, Repeat):
            self._place(node.part, behind | (0 if node.most == 1 else self._first[node.part]))
        elif isinstance(node, Choice):
            for part in node.parts:
                self._place(part, behind)
        elif isinstance(node, Sequence):
            for part in reversed(node.parts):
                self._place(part, behind)
                behind = self._first[part] | (behind if self._nullable[part] else 0)

    # --- lexemes --------------------------------------------------------------------------------------------

    def _size(self, node: Node) -> int | None:
        """Characters of a part; None where it can be no lexeme: it has tokens, or comes round to itself."""
        if isinstance(node, Characters):
            return 1
        if isinstance(node, Token):
            return None
        if isinstance(node, Reference):
            if node.name not in self._sizes:
                self._sizes[node.name] = None  # as long as it is looked at
                self._sizes[node.name] = self._size(self._rules[node.name])
            return self._sizes[node.name]
        parts = [node.part] if isinstance(node, Repeat) else node.parts  # type: ignore[attr-defined]
        total = 0
        for part in parts:
            size = self._size(part)
            if size is None or total + size > _LARGE:
                return None
            total += size
        return total

    def _is_lexeme(self, node: Node) -> bool:
        if self._only_characters:
            return isinstance(node, Characters) or (isinstance(node, Sequence) and not node.parts)
        return node not in self._split and self._size(node) is not None

    def _lexemes(self) -> list[Node]:
        """All parts that are one, from the root on."""
        found: dict[Node, None] = {}
        seen, waiting = set(), [self._rules["root"]]
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            if isinstance(node, Reference):
                waiting.append(self._rules[node.name])
            elif self._is_lexeme(node):
                found[node] = None
            elif isinstance(node, Repeat):
                waiting.append(node.part)
            elif isinstance(node, (Sequence, Choice)):
                waiting += reversed(node.parts)
        return list(found)

    def _divide(self) -> None:
        """Divides lexemes as long as one could take what belongs to what follows another."""
        known: set[tuple[Node, Node]] = set()
        left = _PAIRS
        while True:
            before = len(self._split)
            for one, other in itertools.product(self._lexemes(), repeat=2):
                # (Most have nothing in common from the first character on.)
                if not self._first[one] & self._first[other] or (one, other) in known or other in self._split:
                    continue
                known.add((one, other))
                found, compared = conflict(
                    self._automaton(one), self._automaton(other), self._behind[one], one is other, left
                )
                left -= compared
                if left <= 0:
                    self._only_characters = True
                    return
                if found:
                    self._split.add(other)
            if len(self._split) == before:
                return

    def _automaton(self, node: Node) -> Automaton:
        if node not in self._automata:
            self._automata[node] = Automaton(node, self._sets, self._rules)
        return self._automata[node]

    # --- text -----------------------------------------------------------------------------------------------

    def lark(self) -> str:
        """The rules."""
        self._divide()
        names = {node: f"T{number}" for number, node in enumerate(self._lexemes())}
        rules = {name: f"r{number}" for number, name in enumerate(self._rules)}
        lines = ["%llguidance {}", f"start: {self._text(Reference('root', 0), names, rules)}"]
        reached, waiting = {"root"}, ["root"]
        while waiting:
            body = self._rules[waiting.pop()]
            if body in names:
                continue
            for name in _references(body):
                if name not in reached:
                    reached.add(name)
                    waiting.append(name)
        for name in self._rules:
            body = self._rules[name]
            if name in reached and body not in names:
                lines.append(f"{rules[name]}: {self._text(body, names, rules)}")
        lines += [f"{name}: /{self._regex(node)}/" for node, name in names.items() if self._first[node]]
        return "\n".join(lines) + "\n"

    def _text(self, node: Node, names: dict[Node, str], rules: dict[str, str]) -> str:
        if node in names:
            return names[node] if self._first[node] else '""'
        if isinstance(node, Reference):
            body = self._rules[node.name]
            return self._text(body, names, rules) if body in names else rules[node.name]
        if isinstance(node, Token):
            return node.text
        if isinstance(node, Repeat):
            return f"({self._text(node.part, names, rules)}){_times(node)}"
        parts = [self._text(part, names, rules) for part in node.parts]  # type: ignore[attr-defined]
        return f"({' | '.join(parts)})" if isinstance(node, Choice) else f"({' '.join(parts)})"

    def _regex(self, node: Node) -> str:
        if isinstance(node, Characters):
            ends = [f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in node.ranges]
            return f"[{''.join(ends)}]"
        if isinstance(node, Reference):
            return self._regex(self._rules[node.name])
        if isinstance(node, Repeat):
            return f"(?:{self._regex(node.part)}){_times(node)}"
        parts = [self._regex(part) for part in node.parts]  # type: ignore[attr-defined]
        return f"(?:{'|'.join(parts)})" if isinstance(node, Choice) else "".join(parts)


def _times(node: Repeat) -> str:
    signs: dict[tuple[int, int | None], str] = {(0, None): "*", (1, None): "+", (0, 1): "?"}
    most = "" if node.most is None else node.most
    return signs.get((node.least, node.most)) or f"{{{node.least},{most}}}"


def _references(node: Node) -> list[str]:
    if isinstance(node, Reference):
        return [node.name]
    parts = [node.part] if isinstance(node, Repeat) else getattr(node, "parts", [])
    return [name for part in parts for name in _references(part)]


def _characters(node: Node) -> list[Characters]:
    if isinstance(node, Characters):
        return [node]
    parts = [node.part] if isinstance(node, Repeat) else getattr(node, "parts", [])
    return [found for part in parts for found in _characters(part)]


def _atoms(rules: dict[str, Node]) -> dict[Characters, int]:
    """Sets of characters as numbers: a bit for each range that is never divided."""
    found = [each for body in rules.values() for each in _characters(body)]
    bounds = sorted({bound for each in found for first, last in each.ranges for bound in (first, last + 1)})
    place = {bound: number for number, bound in enumerate(bounds)}

    def bits(first: int, last: int) -> int:
        return (1 << place[last + 1]) - (1 << place[first])

    return {each: sum(bits(*ends) for ends in each.ranges) for each in found}

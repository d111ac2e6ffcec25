# SPDX-License-Identifier: Apache-2.0
"""Parts of GBNF rules as automata of characters, and whether one reads what belongs to others."""

from __future__ import annotations

from lumen_mlir.grammar.gbnf_rules import Characters, Choice, Node, Reference, Repeat, Sequence


class Automaton:
    """A state for each place of a character (Glushkov, "The abstract theory of automata", 1961).

    Attributes:
      sets: of each state, the characters that lead to it, as bits.
      first, last: states behind the first character, and behind the last one of a whole text.
      next: of each state, those that may follow it.
      nullable: the empty text is one.
    """

    def __init__(self, node: Node, sets: dict[Characters, int], rules: dict[str, Node]):
        self.sets: list[int] = []
        self.next: list[set[int]] = []
        self._known, self._rules = sets, rules
        self.nullable, self.first, self.last = self._build(node)

    def _build(self, node: Node) -> tuple[bool, set[int], set[int]]:
        if isinstance(node, Characters):
            self.sets.append(self._known[node])
            self.next.append(set())
            state = {len(self.sets) - 1}
            return False, state, state
        if isinstance(node, Reference):
            return self._build(self._rules[node.name])
        if isinstance(node, Repeat):
            nullable, first, last = self._build(node.part)
            if node.most != 1:
                self._join(last, first)
            return nullable or node.least == 0, first, last
        if isinstance(node, Choice):
            built = [self._build(part) for part in node.parts]
            empty, begins, ends = zip(*built, strict=True)
            return any(empty), set().union(*begins), set().union(*ends)
        assert isinstance(node, Sequence)
        whole: tuple[bool, set[int], set[int]] = True, set(), set()
        for part in node.parts:
            also, begin, end = self._build(part)
            nullable, first, last = whole
            self._join(last, begin)
            whole = nullable and also, first | begin if nullable else first, last | end if also else end
        return whole

    def _join(self, states: set[int], others: set[int]) -> None:
        for state in states:
            self.next[state] |= others


def conflict(one: Automaton, other: Automaton, behind: int, is_same: bool, most: int) -> tuple[bool, int]:
    """Whether ``other`` may go on over the end of ``one``, with a character that may come behind that.

    ``behind``: these characters, as bits. Also says how many pairs of states were compared, about ``most`` at
    most.
    """
    if is_same and one.nullable and any(one.sets[state] & behind for state in one.first):
        return True, 1
    waiting = [(p, q) for p in one.first for q in other.first if one.sets[p] & other.sets[q]]
    seen, compared = set(waiting), 1 + len(one.first) * len(other.first)
    while waiting and compared < most:
        p, q = waiting.pop()
        compared += 1 + len(one.next[p]) * len(other.next[q])
        if p in one.last and any(other.sets[state] & behind for state in other.next[q]):
            return True, compared
        for pair in ((a, b) for a in one.next[p] for b in other.next[q]):
            if pair not in seen and one.sets[pair[0]] & other.sets[pair[1]]:
                seen.add(pair)
                waiting.append(pair)
    return False, compared

# SPDX-License-Identifier: Apache-2.0
"""What a function asks of its arguments, while its ops are followed: what is known of values, and bounds."""

from __future__ import annotations

from dataclasses import dataclass

from lumen_mlir.compiler.bounds import AtMost, Bound, Count, Elements, Equal, Groups, Relation
from lumen_mlir.errors import LumenError

# More than any model has; modules could be written that have more than anyone can wait for.
_MOST_BOUNDS = 10_000


@dataclass(frozen=True)
class Tensor:
    """What is known of a tensor.

    Attributes:
      sizes: of its dimensions.
      argument: the number of the argument that it is, or None.
      limit: whole numbers that a function computes are less than this, and not negative.
      groups: a function computes it as ``groups`` for so many rows.
    """

    sizes: tuple[Count, ...]
    argument: int | None = None
    limit: Count | None = None
    groups: Count | None = None

    @property
    def rows(self) -> Count:
        """The size of the first dimension."""
        return self.sizes[0]


Value = Tensor | Count | None
"""What is known of a value: a tensor, a number, or nothing."""


class Demands:
    """The bounds of the function ``name``, each once, in the order in which they were found.

    What is asked of constants is decided at once: ``LumenError`` where it does not hold.
    """

    def __init__(self, name: str):
        self.name = name
        # As keys, for their order.
        self._bounds: dict[Bound, None] = {}

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What was asked so far."""
        return tuple(self._bounds)

    def ask(self, bound: Bound) -> None:
        """Adds a bound."""
        if len(self._bounds) >= _MOST_BOUNDS:
            raise LumenError(f"'{self.name}' asks more than {_MOST_BOUNDS} things of its arguments")
        self._bounds[bound] = None

    def relate(self, relation: Relation) -> None:
        """Two numbers compare so."""
        terms = (relation.right - relation.left).terms
        if any(symbol[0] < 0 for symbol, _ in terms):
            raise LumenError(
                f"'{self.name}': a size is computed in a way that nothing bounds, so nobody can check that "
                + relation.text.format(left="it", right="another")
            )
        if terms:
            self.ask(relation)
        elif not relation.holds(left := relation.left.constant, right := relation.right.constant):
            raise LumenError(f"'{self.name}': {relation.message(left, right)}")

    def at_most(self, left: Count | int, right: Count | int, text: str) -> None:
        """``left`` <= ``right``; ``text`` as in ``Relation``."""
        self.relate(AtMost(_count(left), _count(right), text))

    def equal(self, left: Count, right: Count, text: str) -> None:
        """``left`` == ``right``; ``text`` as in ``Relation``."""
        self.relate(Equal(left, right, text))

    def elements(self, tensor: Tensor, limit: Count, what: str) -> None:
        """The elements of ``tensor`` are numbers of some ``what``, of which there are ``limit``."""
        if tensor.argument is not None:
            self.ask(Elements(tensor.argument, limit, what))
        elif tensor.limit is None:
            raise LumenError(f"'{self.name}': numbers of {what} are computed in a way that nothing bounds")
        else:
            self.at_most(tensor.limit, limit, f"numbers up to {{left}} of {{right}} {what}")

    def groups(self, tensor: Tensor, limit: Count) -> None:
        """``tensor`` holds the groups of ``limit`` rows."""
        if tensor.argument is not None:
            self.ask(Groups(tensor.argument, limit))
        elif tensor.groups is None:
            raise LumenError(f"'{self.name}': groups are computed in a way that nothing bounds")
        else:
            self.equal(tensor.groups, limit, "groups of {left} rows for {right} rows")


def _count(value: Count | int) -> Count:
    return value if isinstance(value, Count) else Count(value)

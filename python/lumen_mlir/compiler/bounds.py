# SPDX-License-Identifier: Apache-2.0
"""What arguments of a compiled function must keep to, beyond their types, to stay inside of its arrays.

``bound_analysis`` finds it in a module: positions fit the pages and the rotary table, ids are rows of the
table that they index, arrays with rows in common have equally many.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from lumen_mlir import formats
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import packing
from lumen_mlir.formats.kv_cache import BLOCK, PAGE
from lumen_mlir.formats.packing import Tile

Symbol = tuple[int, int | None]
"""The number of an argument and one of its dimensions; None for the value of a number."""


@dataclass(frozen=True)
class Count:
    """A number known at a call: ``constant`` plus the sum of ``terms``, (symbol, factor)."""

    constant: int = 0
    terms: tuple[tuple[Symbol, int], ...] = ()

    @staticmethod
    def of(symbol: Symbol) -> Count:
        """The number that ``symbol`` stands for."""
        return Count(0, ((symbol, 1),))

    def __add__(self, other: Count | int) -> Count:
        other = other if isinstance(other, Count) else Count(other)
        terms = dict(self.terms)
        for symbol, factor in other.terms:
            terms[symbol] = terms.get(symbol, 0) + factor
        kept = sorted(((s, f) for s, f in terms.items() if f), key=str)
        return Count(self.constant + other.constant, tuple(kept))

    def __mul__(self, factor: int) -> Count:
        if not factor:
            return Count()
        return Count(self.constant * factor, tuple((symbol, f * factor) for symbol, f in self.terms))

    def __sub__(self, other: Count | int) -> Count:
        return self + other * -1

    def replaced(self, symbols: Mapping[Symbol, Count]) -> Count:
        """The number in terms of what its symbols are elsewhere."""
        return sum((symbols[symbol] * factor for symbol, factor in self.terms), Count(self.constant))

    def value(self, values: Sequence[Any]) -> int:
        """The number where the arguments are ``values``."""
        total = self.constant
        for (argument, dimension), factor in self.terms:
            value = values[argument]
            total += factor * int(value if dimension is None else value.shape[dimension])
        return total


class Function(Protocol):
    """What messages say of a function: a ``Signature`` is one."""

    @property
    def name(self) -> str: ...

    def describe(self, number: int) -> str:
        """How messages call an argument."""


@dataclass(frozen=True)
class Bound(ABC):
    """Something that arguments must keep to. Subclasses say what.

    The counts are its fields; other numbers of arguments are fields named in ``ARGUMENTS``.
    """

    ARGUMENTS: ClassVar[tuple[str, ...]] = ("argument",)

    def replaced(self, symbols: Mapping[Symbol, Count], arguments: Sequence[int]) -> Bound:
        """The same of other arguments: what symbols and numbers of arguments are elsewhere."""
        fields = {}
        for name, value in vars(self).items():
            if isinstance(value, Count):
                value = value.replaced(symbols)
            fields[name] = arguments[value] if name in self.ARGUMENTS else value
        return type(self)(**fields)

    @abstractmethod
    def check(self, function: Function, values: Sequence[Any]) -> None:
        """Raises ``LumenError`` where ``values`` do not keep to it."""


@dataclass(frozen=True)
class Relation(Bound):
    """How two numbers compare; ``text`` says of what, as in "{left} layers in a cache of {right}"."""

    left: Count
    right: Count
    text: str

    @staticmethod
    @abstractmethod
    def holds(left: int, right: int) -> bool:
        """Whether numbers compare so."""

    def message(self, left: int, right: int) -> str:
        """What is wrong with numbers that do not."""
        return self.text.format(left=left, right=right)

    def check(self, function: Function, values: Sequence[Any]) -> None:
        left, right = self.left.value(values), self.right.value(values)
        if not self.holds(left, right):
            raise LumenError(f"{function.name}: {self.message(left, right)}")


class AtMost(Relation):
    """``left`` <= ``right``."""

    @staticmethod
    def holds(left: int, right: int) -> bool:
        return left <= right


class Equal(Relation):
    """``left`` == ``right``."""

    @staticmethod
    def holds(left: int, right: int) -> bool:
        return left == right


@dataclass(frozen=True)
class WeightBytes(Bound):
    """An array holds a weight of ``rows`` x ``columns`` in a format, packed as ``tile`` says or not.

    ``description`` is the text of a ``lumen.format`` where the package does not know the format.
    """

    argument: int
    format: str
    description: str
    tile: Tile | None
    rows: Count
    columns: Count

    def check(self, function: Function, values: Sequence[Any]) -> None:
        rows, columns = self.rows.value(values), self.columns.value(values)
        where, given = function.describe(self.argument), values[self.argument].size
        if rows < 1 or columns < 1:
            raise LumenError(f"{where}: there is no weight of {rows} x {columns}")
        expected = self._bytes(rows, columns, where)
        if given != expected:
            raise LumenError(
                f"{where}: {given} bytes, but a weight of {rows} x {columns} in {self.format} has {expected}"
            )

    def _bytes(self, rows: int, columns: int, where: str) -> int:
        if self.description:
            try:
                return packing.described_bytes(self.description, rows, columns, self.tile)
            except LumenError as error:
                raise LumenError(f"{where}: {error}") from error
        fmt = formats.get(self.format)
        if columns % fmt.block:
            raise LumenError(
                f"{where}: {columns} columns are no multiple of {self.format}'s block, {fmt.block}"
            )
        if self.tile is None:
            return rows * fmt.row_bytes(columns)
        return packing.packed_bytes(fmt, rows, columns, *self.tile)


@dataclass(frozen=True)
class Elements(Bound):
    """The elements of an array are at least 0 and less than ``limit``, the number of some ``what``."""

    argument: int
    limit: Count
    what: str

    def check(self, function: Function, values: Sequence[Any]) -> None:
        array, limit = values[self.argument], self.limit.value(values)
        if array.size and not 0 <= array.min() <= array.max() < limit:
            raise LumenError(
                f"{function.describe(self.argument)}: elements from {array.min()} to {array.max()}, but "
                f"there are {limit} {self.what}"
            )


@dataclass(frozen=True)
class Pages(Bound):
    """The elements of an array are numbers of pages of a cache of so many ``blocks``."""

    argument: int
    blocks: Count

    def check(self, function: Function, values: Sequence[Any]) -> None:
        pages = Count(self.blocks.value(values) // (PAGE // BLOCK))
        Elements(self.argument, pages, "pages in the cache").check(function, values)


@dataclass(frozen=True)
class Runs(Bound):
    """An array is like the ``runs`` of ``lumen.attention``: (first row, rows, sequence).

    Every one of ``rows`` rows is in one run, there are so many ``sequences``, and the ``positions`` of a run
    follow one another.
    """

    ARGUMENTS = ("argument", "positions")

    argument: int
    positions: int
    rows: Count
    sequences: Count

    def check(self, function: Function, values: Sequence[Any]) -> None:
        runs, positions = values[self.argument].astype(np.int64), values[self.positions].astype(np.int64)
        where, rows = function.describe(self.argument), self.rows.value(values)
        first, count, sequence = runs.T
        sequences = self.sequences.value(values)
        if runs.size and not 0 <= sequence.min() <= sequence.max() < sequences:
            raise LumenError(
                f"{where}: sequences from {sequence.min()} to {sequence.max()}, but there are {sequences}"
            )
        order = np.argsort(first, kind="stable")
        ends = np.cumsum(count[order])
        begins = np.concatenate([[0], ends])
        if (count < 1).any() or (first[order] != begins[:-1]).any() or begins[-1] != rows:
            raise LumenError(f"{where}: the runs do not hold each of {rows} rows once")
        steps = np.diff(positions[:rows])
        breaks = np.setdiff1d(np.flatnonzero(steps != 1) + 1, begins)
        if breaks.size:
            raise LumenError(
                f"{where}: row {breaks[0]} is at position {positions[breaks[0]]}, behind a row of the same "
                f"run at position {positions[breaks[0] - 1]}"
            )


@dataclass(frozen=True)
class Groups(Bound):
    """An array is like the ``groups`` of ``lumen.group_tokens``: (expert, first row), rows in order."""

    argument: int
    limit: Count

    def check(self, function: Function, values: Sequence[Any]) -> None:
        array, limit = values[self.argument], self.limit.value(values)
        experts, rows = array[:, 0], array[:, 1].astype(np.int64)
        if experts.min() < 0 or experts.max() >= len(array) - 1:
            raise LumenError(f"{function.describe(self.argument)}: there are {len(array) - 1} experts")
        if rows[0] or rows[-1] != limit or (np.diff(rows) < 0).any():
            raise LumenError(
                f"{function.describe(self.argument)}: the groups do not begin at row 0, follow one another "
                f"and end at row {limit}"
            )


KINDS = {kind.__name__: kind for kind in (AtMost, Equal, WeightBytes, Elements, Pages, Runs, Groups)}
"""The kinds of bounds, by name."""


def to_json(bound: Bound) -> dict[str, Any]:
    """Plain data that ``from_json`` reads back."""
    fields = {
        name: [value.constant, value.terms] if isinstance(value, Count) else value
        for name, value in vars(bound).items()
    }
    return {"kind": type(bound).__name__, **fields}


def from_json(data: dict[str, Any]) -> Bound:
    """The bound that ``to_json`` was given."""

    def field(name: str, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        if name == "tile":
            return Tile(*value)
        constant, terms = value
        return Count(constant, tuple((tuple(symbol), factor) for symbol, factor in terms))

    return KINDS[data["kind"]](**{name: field(name, value) for name, value in data.items() if name != "kind"})

# SPDX-License-Identifier: Apache-2.0
"""Values of a JSON object, asked for by type: an odd one is one clear error."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lumen_mlir.errors import shown
from lumen_mlir.hf.errors import HFError

# Above every real size, and what GGUF's 32-bit numbers hold.
MOST = (1 << 31) - 1


class Values:
    """An object of a JSON file, checked key by key. A value that is null counts as missing.

    Attributes:
      where: the file, and the place in it of an object inside; messages begin with it.
      values: the object.
    """

    def __init__(self, where: str | Path, values: dict[str, Any]):
        self.where, self.values = where, values

    @staticmethod
    def of(where: str | Path, value: Any) -> Values:
        """``value``, which must be an object. Raises ``HFError``."""
        if not isinstance(value, dict):
            raise HFError(f"{where}: {shown(value)} is no JSON object")
        return Values(where, value)

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def error(self, message: str) -> HFError:
        """What to raise for ``message``."""
        return HFError(f"{self.where}: {message}")

    def wrong(self, key: str, value: Any, expected: str) -> HFError:
        """What to raise where ``value``, which belongs to ``key``, is something else."""
        return self.error(f"'{key}' is {shown(value)}; {expected} was expected")

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, of any type; ``default`` where it is missing."""
        value = self.values.get(key)
        return default if value is None else value

    def integer(self, *keys: str, default: int | None = None, least: int = 0, most: int = MOST) -> int:
        """The first of ``keys`` that is there, a whole number from ``least`` to ``most``."""
        key, value = self._first(keys, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # as JSON of other languages than Python has them
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.wrong(key, value, f"a whole number of at least {least}")
        if value > most:
            raise self.wrong(key, value, f"a whole number of at most {most}")
        return value

    def number(self, *keys: str, default: float | None = None) -> float:
        """The first of ``keys`` that is there, a finite number."""
        key, value = self._first(keys, default)
        return self._finite(key, value)

    def positive(self, *keys: str, default: float | None = None) -> float:
        """The first of ``keys`` that is there, a finite number above 0."""
        key, value = self._first(keys, default)
        value = self._finite(key, value)
        if value <= 0:
            raise self.wrong(key, value, "a number above 0")
        return value

    def numbers(self, key: str, count: int) -> list[float]:
        """An array of ``count`` finite numbers."""
        values = self.get(key)
        if not isinstance(values, list) or len(values) != count:
            found = len(values) if isinstance(values, list) else "no"
            raise self.error(f"has {found} numbers in '{key}'; {count} were expected")
        return [self._finite(key, value) for value in values]

    def text(self, key: str, default: str | None = None) -> str | None:
        """A string."""
        return self._typed(key, default, "a string", lambda value: isinstance(value, str))

    def flag(self, key: str, default: bool | None = False) -> bool | None:
        """True or false; 0 and 1 stand for them."""
        value = self._typed(key, default, "true or false", lambda value: value in (0, 1))
        return None if value is None else bool(value)

    def items(self, key: str) -> list[Any]:
        """An array; an empty one where it is missing."""
        return self._typed(key, [], "an array", lambda value: isinstance(value, list))

    def object(self, key: str) -> Values:
        """An object; an empty one where it is missing."""
        value = self._typed(key, {}, "an object", lambda value: isinstance(value, dict))
        return Values(f"{self.where}: '{key}'", value)

    def objects(self, key: str) -> list[Values]:
        """An array of objects."""
        where = f"{self.where}: '{key}'"
        return [Values.of(f"{where}: element {index}", item) for index, item in enumerate(self.items(key))]

    def index(self, key: str) -> int:
        """A whole number of at least 0, however large, which must be there."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(key, value, "a number of at least 0")
        return value

    def ids(self, key: str) -> list[int]:
        """Whole numbers: an array of them, or one."""
        value = self.values.get(key)
        values = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(each, int) and not isinstance(each, bool) for each in values):
            raise self.wrong(key, value, "a token id or a list of them")
        return values

    def token(self, key: str) -> str | None:
        """A token: a string, or an object with a ``content``."""
        value = self.values.get(key)
        return self.object(key).text("content") if isinstance(value, dict) else self.text(key)

    def _typed(self, key: str, default: Any, expected: str, accepts: Callable[[Any], bool]) -> Any:
        value = self.values.get(key)
        if value is None:
            return default
        if not accepts(value):
            raise self.wrong(key, value, expected)
        return value

    def _first(self, keys: tuple[str, ...], default: Any) -> tuple[str, Any]:
        for key in keys:
            if self.values.get(key) is not None:
                return key, self.values[key]
        if default is None:
            raise self.error(f"has no '{keys[0]}'")
        return keys[0], default

    def _finite(self, key: str, value: Any) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number):
                return number
        raise self.wrong(key, value, "a finite number")

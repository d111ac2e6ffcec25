# SPDX-License-Identifier: Apache-2.0
"""Values of a JSON object, asked for by type."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lumen_mlir.hf.errors import HFError, shown

# Above every real size, and what GGUF's 32-bit numbers hold.
MOST = (1 << 31) - 1


class Values:
    """An object of a JSON file, checked key by key. A value that is null counts as missing.

    Attributes:
      path: of the file.
      values: the object.
    """

    def __init__(self, path: Path, values: dict[str, Any], where: str = ""):
        self.path, self.values, self._where = path, values, where

    def error(self, message: str) -> HFError:
        return HFError(f"{self.path}: {message}")

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
            raise self._wrong(key, value, f"a whole number of at least {least}")
        if value > most:
            raise self._wrong(key, value, f"a whole number of at most {most}")
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
            raise self._wrong(key, value, "a number above 0")
        return value

    def numbers(self, key: str, count: int) -> list[float]:
        """An array of ``count`` finite numbers."""
        values = self.get(key)
        if not isinstance(values, list) or len(values) != count:
            found = len(values) if isinstance(values, list) else "no"
            raise self.error(f"{self._where or 'has '}{found} numbers in '{key}'; {count} were expected")
        return [self._finite(key, value) for value in values]

    def text(self, key: str, default: str) -> str:
        """A string."""
        value = self.get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "a string")
        return value

    def flag(self, key: str, default: bool | None) -> bool | None:
        """True or false; 0 and 1 stand for them."""
        value = self.get(key, default)
        if value is not None and not isinstance(value, bool) and value not in (0, 1):
            raise self._wrong(key, value, "true or false")
        return None if value is None else bool(value)

    def array(self, key: str) -> list[Any] | None:
        """An array; None where it is missing."""
        value = self.get(key)
        if value is not None and not isinstance(value, list):
            raise self._wrong(key, value, "an array")
        return value

    def _first(self, keys: tuple[str, ...], default: Any) -> tuple[str, Any]:
        for key in keys:
            if self.values.get(key) is not None:
                return key, self.values[key]
        if default is None and not self._where:
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
        raise self._wrong(key, value, "a finite number")

    def _wrong(self, key: str, value: Any, expected: str) -> HFError:
        if self._where:
            return self.error(f"{self._where}{key} {shown(value)}; {expected} was expected")
        return self.error(f"'{key}' is {shown(value)}; {expected} was expected")

# SPDX-License-Identifier: Apache-2.0
"""JSON objects of Hugging Face folders, read by type: odd values are one clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lumen_mlir.hf.errors import HFError


class Fields:
    """A JSON object. ``where`` begins the messages; a null is like a key that is not there."""

    def __init__(self, where: str | Path, values: dict[str, Any]):
        self.where, self.values = where, values

    @staticmethod
    def of(where: str | Path, value: Any) -> Fields:
        """``value``, which must be an object. Raises ``HFError``."""
        if not isinstance(value, dict):
            raise HFError(f"{where}: {shown(value)} is no JSON object")
        return Fields(where, value)

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def text(self, key: str, default: Any = None) -> str:
        """A string."""
        return self._typed(key, default, "a string", lambda value: isinstance(value, str))

    def flag(self, key: str, default: Any = False) -> bool:
        """A bool."""
        return self._typed(key, default, "true or false", lambda value: isinstance(value, bool))

    def items(self, key: str) -> list:
        """A list; an empty one where there is none."""
        return self._typed(key, [], "a list", lambda value: isinstance(value, list))

    def object(self, key: str) -> Fields:
        """An object; an empty one where there is none."""
        value = self._typed(key, {}, "an object", lambda value: isinstance(value, dict))
        return Fields(f"{self.where}: '{key}'", value)

    def objects(self, key: str) -> list[Fields]:
        """A list of objects."""
        where = f"{self.where}: '{key}'"
        return [Fields.of(f"{where}: element {index}", item) for index, item in enumerate(self.items(key))]

    def index(self, key: str) -> int:
        """An integer of at least 0, which must be there."""

        def accepts(value: Any) -> bool:
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0

        if not accepts(self.values.get(key)):
            raise self.error(key, "a number of at least 0")
        return self.values[key]

    def ids(self, key: str) -> list[int]:
        """Integers: a list of them, or one."""
        value = self.values.get(key)
        values = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(each, int) and not isinstance(each, bool) for each in values):
            raise self.error(key, "a token id or a list of them")
        return values

    def token(self, key: str) -> str | None:
        """A token: a string, or an object with a ``content``."""
        value = self.values.get(key)
        return self.object(key).text("content") if isinstance(value, dict) else self.text(key)

    def error(self, key: str, expected: str) -> HFError:
        """What to raise where ``key`` is something else."""
        return HFError(f"{self.where}: '{key}' is {shown(self.values.get(key))}; {expected} was expected")

    def _typed(self, key: str, default: Any, expected: str, accepts: Callable[[Any], bool]) -> Any:
        value = self.values.get(key)
        if value is None:
            return default
        if not accepts(value):
            raise self.error(key, expected)
        return value


def shown(value: Any) -> str:
    """A value in a message, in one short line."""
    if isinstance(value, (dict, list)):
        return f"a JSON {type(value).__name__} of {len(value)}"
    text = repr(value) if not isinstance(value, int) or abs(value) < 1 << 64 else "a huge number"
    return text if len(text) <= 60 else f"{text[:57]}..."

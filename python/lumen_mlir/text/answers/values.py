# SPDX-License-Identifier: Apache-2.0
"""Values in the text of a model: where they end, what they are, and how they are written as JSON."""

from __future__ import annotations

import json
import math
import re
from typing import Any

FAILED = -1
"""No value can end here."""
# Levels of lists and objects that a value may have.
_DEPTH = 200
_OPEN, _CLOSED = "([{", ")]}"
_INSIDE = {quote: re.compile(rf"[\\{quote}]") for quote in "\"'"}


# What Python writes otherwise than JSON; a comma before a bracket is left out.
_PYTHON = re.compile(
    r"""(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<stray>['"])"""
    r"""|\b(?P<word>True|False|None)\b|(?P<bracket>[()])|,\s*(?=[\])}])""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:(?P<code>x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\\": "\\", "'": "'", '"': '"', "\n": ""}


class NoValueError(ValueError):
    """Text that is no value."""


class ValueEnd:
    """Finds where a value ends, in a text that grows.

    An object or a list ends at its bracket. ``listed``: a value among others ends before a comma or before
    the bracket that ends them.

    Args:
      at: where in the text it begins, behind white space.
      quotes: the characters that begin and end a string.
    """

    def __init__(self, at: int, quotes: str = '"', listed: bool = False):
        self._at, self._listed = at, listed
        self._open: list[str] = []
        self._quote = ""
        self._outside = re.compile(f"[{quotes}(){{}},\\[\\]]" if listed else f"[{quotes}(){{}}\\[\\]]")

    def find(self, text: str) -> int | None:
        """Where the value ends, None while ``text`` has no end of it, or ``FAILED``."""
        while True:
            found = (_INSIDE[self._quote] if self._quote else self._outside).search(text, self._at)
            if found is None:
                self._at = len(text)
                return None
            mark = found[0]
            if mark == "\\":
                if found.end() == len(text):
                    self._at = found.start()
                    return None
                self._at = found.end() + 1
                continue
            self._at = found.end()
            if self._quote:
                self._quote = ""
            elif mark in _OPEN:
                self._open.append(_CLOSED[_OPEN.index(mark)])
                if len(self._open) > _DEPTH:
                    return FAILED
            elif mark in _CLOSED or mark == ",":
                if not self._open:
                    return found.start() if self._listed else FAILED
                if mark == ",":
                    continue
                if self._open.pop() != mark:
                    return FAILED
                if not self._open and not self._listed:
                    return found.end()
            else:
                self._quote = mark


def from_json(text: str) -> Any:
    """The value of JSON. Raises ``NoValueError``, also for numbers that JSON does not have."""
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise NoValueError(str(error)) from None


def _no_number(name: str) -> None:
    raise NoValueError(f"{name} is no JSON")


def _number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)  # type: ignore[return-value]


def from_literal(text: str) -> Any:
    """The value of JSON, or of a literal of Python that JSON can hold. Raises ``NoValueError``.

    (Python's own parser prints warnings for escapes that it does not know.)
    """
    try:
        return from_json(text)
    except NoValueError:
        return from_json(_PYTHON.sub(_as_json, text))


def _as_json(found: re.Match) -> str:
    string, word, bracket, stray = found.group("string", "word", "bracket", "stray")
    if stray:
        raise NoValueError(f"nothing ends a string: {stray}")
    if string:
        return json.dumps(_ESCAPE.sub(_unescaped, string[1:-1]))
    if word:
        return {"True": "true", "False": "false", "None": "null"}[word]
    return {"(": "[", ")": "]"}[bracket] if bracket else ""


def _unescaped(found: re.Match) -> str:
    code = found["code"]
    if code:
        return chr(int(code[1:], 16))
    # An escape that Python does not know stands for itself.
    return _ESCAPES.get(found[0][1:], found[0])


def to_json(value: Any) -> str:
    """``value`` as JSON, with letters as they are where UTF-8 has them."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, written as an escape
        return json.dumps(value)
    return text
